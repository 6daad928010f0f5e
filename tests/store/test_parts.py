"""Records as Parquet files that exist whole or not at all."""

import errno
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest
from builders import make_problem, make_rationale, make_verdict

from selfimprove.errors import StoreError
from selfimprove.records import (
    KINDS,
    Action,
    Advice,
    Arm,
    Audit,
    Checkpoint,
    Comparison,
    Compliance,
    Critique,
    CrossCheck,
    Decision,
    Distillation,
    Draw,
    Earned,
    Effect,
    Evaluation,
    Example,
    Frontier,
    Health,
    Instance,
    Instruction,
    Overlap,
    Portion,
    Prediction,
    Preference,
    Probed,
    Promotion,
    Proposal,
    Record,
    Revision,
    Reward,
    Rollout,
    Vote,
    derive_seed,
)
from selfimprove.records.files import hash_file
from selfimprove.store import Manifest, StageFolder
from selfimprove.store.manifest import Seconds
from selfimprove.store.parts import (
    count_rows,
    named_full_disk,
    read_part,
    schema_of,
    write_atomically,
    write_part,
)

PROBLEM = make_problem()
RATIONALE = make_rationale(PROBLEM, "7é😀\n\u2028#3\0", seed=derive_seed("large"), logprob=-1 / 3)
RECORDS: list[Record] = [
    PROBLEM,
    make_problem("an open prompt", None, level=-3, group="", parents=("a", "b")),
    RATIONALE,
    make_rationale(
        PROBLEM, "", answer=None, logprob=-1.7976931348623157e308, seed=2**63 - 1, finish="too_long", parents=()
    ),
    make_verdict(RATIONALE),
    make_verdict(RATIONALE, "incorrect", ["correct", "incorrect", "undecided"]),
    Reward(parents=("r", "c"), value=None, by="rank", reward="model"),
    Reward(parents=("r", "c", "d"), value=-0.1, by="rank", reward="model", members=(-0.1, 1e-300)),
    CrossCheck(parents=("r", "v"), first="correct", second="undecided", reason="x", verifier="math-verify", version=1),
    Critique(
        parents=("r", "c"),
        principle="kind",
        constitution="short 1 ab",
        prompt="Q",
        text="é\0",
        found=True,
        line=None,
        round=1,
        step=4,
        seed=2**63 - 1,
        temperature=0.0,
        tokens=3,
        logprob=-1 / 3,
        finish="length",
    ),
    Revision(
        parents=("a", "r"),
        principle="kind",
        constitution="short 1 ab",
        round=1,
        step=1,
        kept=False,
        reason="leak",
        marks=("leak", "refusal"),
        before=None,
        after=None,
    ),
    Revision(
        parents=("a", "r", "c"),
        principle="brief",
        constitution="short 1 ab",
        round=1,
        step=1,
        kept=True,
        reason="kept",
        marks=(),
        before="incorrect",
        after="correct",
    ),
    Comparison(
        parents=("a", "b", "c"),
        principle="kind",
        constitution="short 1 ab",
        prompt="Q",
        reasoning=("one", "two"),
        forward=0.4,
        backward=1 / 3,
        round=2,
        tokens=0,
    ),
    Vote(parents=("p", "r", "s"), answer="42", votes=2, samples=3, answers=2, tie=False),
    Vote(parents=("p", "r"), answer=None, votes=0, samples=1, answers=0, tie=True),
    Proposal(
        parents=("c",),
        prompt="1.",
        text=" Let us see.\n2.",
        trigger="Let us see.",
        kept=True,
        reason="",
        step=1,
        seed=2**63 - 1,
        temperature=1.0,
        tokens=5,
        logprob=None,
        finish="stop",
    ),
    Decision(parents=("r", "v"), kept=True, reason="kept"),
    Decision(parents=("r", "v"), kept=False, reason=""),
    Example(parents=("r", "v"), prompt="1+2=", completion="#3", origin="seed", group="1+1", token_ids=(0, 2**31 - 1)),
    Example(parents=("r", "v"), prompt="1+2=", completion="", origin="sampled", group="1+1", token_ids=()),
    Example(parents=("r", "v"), prompt="1+2=", completion="#3", origin="sampled", group="1+1", sampled_tokens=3),
    Preference(
        parents=("r", "w", "v", "u"),
        prompt="1+2=",
        chosen="#3",
        rejected="#4\n",
        margin=1 / 3,
        weight=1 / 7,
        source="verdicts",
        group="g",
    ),
    Compliance(parents=("r",), principle="kind", constitution="short 1 ab", outcome="undecided", reason="é"),
    Reward(parents=("r", "c"), value=-1 / 3, by="rank", reward="model", members=(-1.0, 1 / 3)),
    Reward(parents=("r", "v"), value=None, by="gold", reward="verdict"),
    Rollout(
        parents=("r", "v"),
        round=1,
        step=4,
        reward=-1 / 3,
        parts=(Earned(reward="verifier", value=1.0), Earned(reward="é", value=-4 / 3)),
        kl=-1e-9,
        advantage=0.5,
    ),
    Rollout(
        parents=("r",), round=1, step=0, reward=None, parts=(Earned(reward="a", value=None),), kl=None, advantage=0.0
    ),
    Checkpoint(path="round-01/sft/checkpoint", method="sft", weights="ab", base=None),
    Checkpoint(parents=("a",) * 1000, path="/m", method="base", weights="ab", base="/base"),
    Evaluation(task="t", level=1, group="g", n=3, correct=1, undecided=2, wrong_reason=1, low=0.1, high=1 / 3),
    Audit(
        parents=("c",),
        gold="é",
        reward_first=-1 / 3,
        reward_last=1e300,
        gold_first=0.0,
        gold_last=-1e-9,
        gold_highest=1 / 3,
        step=7,
        rose=True,
        fell=False,
        worse=True,
    ),
    Overlap(parents=("e", "p"), rule="numbers", where="chosen", share=1 / 3, passage="é\0", dropped=True),
    Draw(
        data_set="d",
        cluster="é\0",
        template="t",
        place="x.jsonl, line 1",
        forms=("few-shot", "options"),
        tokens=3,
        completion_tokens=1,
        kept=False,
        reason="too long: 3 tokens",
        text="a\nb",
    ),
    Portion(
        round=1,
        by="form",
        name="é\0",
        rows=0,
        of=2,
        tokens=0,
        completion_tokens=0,
        token_share=0.0,
        asked=1 / 3,
        empty=1,
        duplicates=0,
        too_long=1,
        held_out=0,
        failed=2,
    ),
    Instruction(
        parents=("c", "i"),
        text="Say é.\0",
        origin="proposed",
        kept=False,
        reason="like another one",
        nearest="Say e.",
        similarity=1 / 3,
        classification=None,
        round=1,
        step=2,
        seed=3,
        verb="say",
        noun="é",
    ),
    Instance(
        parents=("i", "c"),
        input="",
        output="é\0",
        text="Output: é\0",
        kept=True,
        reason="kept",
        output_first=False,
        round=1,
        seed=3,
        tokens=4,
        finish="stop",
    ),
    Promotion(parents=("a", "b"), promoted=False, won=1, lost=2, p_value=1e-300, reason="é"),
    Frontier(round=1, task="t", level=1, group="g", attempts=0, correct=0, state="closed", draw=0, reason="no way"),
    Action(parents=("a",), round=2, changes=("generate.temperature=1.0", "é"), rule="colder", reason="no way"),
    Action(
        parents=("a", "b"),
        round=2,
        changes=(),
        rule="enough",
        reason="",
        before=("é=1",),
        version="mine 1 ab",
        considered=("colder: no", ""),
        stop=True,
    ),
    Health(parents=("p",), round=1, figure="yield", family="é", value=1 / 3, low=0.0, high=1.0, n=3, counted="samples"),
    Prediction(parents=("a", "h"), round=2, figure="yield", family="", direction="up", least=0.1, before=1 / 3, due=3),
    Effect(parents=("p", "h"), round=4, figure="yield", family="", before=0.1, after=-1e-300, came_true="no"),
    Distillation(
        parents=("r", "v"), prompt="é", hinted="1?é", completion="\0", group="", token_ids=(1, 2), sampled_tokens=None
    ),
    Probed(parents=("p", "c"), round=1, temperature=1.0, right=(0, None, 1), tokens=(1, 2, 3)),
    Probed(parents=("p", "c"), round=1, temperature=0.5, right=(), tokens=()),
    Advice(
        parents=("c",),
        round=2,
        offered=("generate.temperature=1.3", ""),
        prompt="é\n1. x",
        text="1",
        taken=True,
        verdict="done",
        model="m",
        weights="ab",
        seed=2**62,
        temperature=0.0,
        top_p=1.0,
        tokens=1,
        logprob=-1 / 3,
        finish="stop",
    ),
    Advice(
        parents=(),
        round=2,
        offered=(),
        prompt="",
        text="",
        taken=False,
        verdict="it is empty",
        model="",
        weights="",
        seed=0,
        temperature=1.0,
        top_p=0.5,
        tokens=0,
        logprob=None,
        finish="too_long",
    ),
    Arm(
        round=1,
        changes=("generate.temperature=1.3",),
        problems=3,
        score=0.5,
        more=0.1,
        low=-1e-300,
        high=0.2,
        right=1,
        samples=2,
        tokens=3,
    ),
    Action(parents=("a",), round=2, changes=(), rule="back", reason="no way", back_to=0),
    Effect(parents=("p",), round=4, figure="yield", family="", before=0.1, after=None, came_true="not measured"),
]


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"note", "ranking"}))  # these are files of their own
def test_every_kind_of_record_survives_parquet(kind: str, tmp_path: Path) -> None:
    records = [one for one in RECORDS if one.kind == kind]
    assert records, f"RECORDS has no {kind}"
    path = tmp_path / "part.parquet"
    write_part(path, KINDS[kind], records)
    again = read_part(path, KINDS[kind])
    assert again == records
    # An id is read and not hashed again, so it must be what the hash of the values that were read would be.
    assert [one.id for one in again] == [KINDS[kind].model_validate(one.model_dump()).id for one in again]
    assert [one.id for one in again] == [one.id for one in records]
    assert pq.read_table(path).column("id").to_pylist() == [one.id for one in records]
    assert count_rows(path) == len(records)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_without_records_keeps_its_columns(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(path, KINDS[kind], [])
    assert read_part(path, KINDS[kind]) == []
    assert pq.read_schema(path).names == ["id", *KINDS[kind].model_fields] == schema_of(KINDS[kind]).names
    assert count_rows(path) == 0


def test_records_of_one_column_are_none_or_a_value_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(path, type(PROBLEM), [make_problem(answer=None), make_problem(answer=""), PROBLEM])
    assert [one.answer for one in read_part(path, type(PROBLEM))] == [None, "", "3"]


def test_equal_records_make_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_part(tmp_path / name, type(PROBLEM), [PROBLEM])
    assert hash_file(tmp_path / "one") == hash_file(tmp_path / "two")
    assert hash_file(tmp_path / "one") == hashlib.sha256((tmp_path / "one").read_bytes()).hexdigest()


def damage_nothing_left(path: Path) -> None:
    path.write_bytes(b"")


def damage_garbage(path: Path) -> None:
    path.write_bytes(b"not Parquet at all" * 10)


def damage_tail(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def damage_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[100:])


def damage_pages(path: Path) -> None:
    """Overwrite the first column's data; the footer, which names where everything is, stays whole."""
    content = bytearray(path.read_bytes())
    content[4:80] = b"\xff" * 76
    path.write_bytes(bytes(content))


def damage_kind(path: Path) -> None:
    write_part(path, Decision, [Decision(parents=("r", "v"), kept=True, reason="kept")])


def damage_value(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("question").append_column("question", table.column("level")), path)


def damage_no_id(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns("id"), path)


def damage_missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing_left,
        damage_garbage,
        damage_tail,
        damage_head,
        damage_pages,
        damage_kind,
        damage_value,
        damage_no_id,
        damage_missing,
    ],
)
def test_a_damaged_file_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "problem-00000.parquet"
    write_part(path, type(PROBLEM), [PROBLEM])
    damage(path)
    with pytest.raises(StoreError, match=f"^{re.escape(str(path))}: damaged .*; move it away and run the same command"):
        read_part(path, type(PROBLEM))


@pytest.mark.parametrize("damage", [damage_nothing_left, damage_garbage, damage_tail, damage_missing])
def test_a_damaged_file_is_named_when_its_rows_are_counted(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "problem-00000.parquet"
    write_part(path, type(PROBLEM), [PROBLEM])
    damage(path)
    with pytest.raises(StoreError, match=f"^{re.escape(str(path))}: damaged"):
        count_rows(path)


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path, seen = tmp_path / "part.parquet", []

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        seen.append([one.name for one in tmp_path.iterdir()])
        file.write(b" and half")

    write_atomically(path, write)
    assert seen == [["part.parquet.partial"]]
    assert [one.name for one in tmp_path.iterdir()] == ["part.parquet"]
    assert path.read_bytes() == b"half and half"


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StoreError, "no room left on the disk"),
        (OSError(errno.EACCES, "Permission denied"), StoreError, "Permission denied"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
    ids=["full", "forbidden", "interrupted"],
)
def test_a_write_that_fails_leaves_the_file_as_it_was(
    error: BaseException, raised: type[BaseException], message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"before")

    def write(file: BinaryIO) -> None:
        file.write(b"after")
        raise error

    with pytest.raises(raised, match=message) as caught:
        write_atomically(path, write)
    assert path.read_bytes() == b"before"
    if raised is StoreError:
        assert str(caught.value).startswith(f"{path}: ")
        assert [one.name for one in tmp_path.iterdir()] == ["part.parquet"]


def test_no_file_takes_the_place_of_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="pipe: is no regular file, and nothing was written"):
        write_atomically(tmp_path / "pipe", lambda file: file.write(b"x"))
    assert (tmp_path / "pipe").is_fifo() and len([*tmp_path.iterdir()]) == 1


def raise_wrapped() -> None:
    """As a library does that wraps the operating system's error in its own."""
    try:
        raise OSError(errno.ENOSPC, "?")
    except OSError as error:
        raise RuntimeError("writing failed") from error


def test_a_full_disk_is_known_by_the_operating_systems_word(tmp_path: Path) -> None:
    for error in (errno.EDQUOT, errno.ENOSPC, errno.EFBIG):
        with pytest.raises(StoreError, match=f"^{re.escape(str(tmp_path))}: no room left"), named_full_disk(tmp_path):
            raise OSError(error, "?")
    with pytest.raises(StoreError, match=r"no room left.*writing failed"), named_full_disk(tmp_path):
        raise_wrapped()


WRITE = """
import resource, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq, torch
from safetensors.torch import save_file
from selfimprove.errors import StoreError
from selfimprove.store.parts import named_full_disk

folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
large, small = torch.rand(2_000_000), torch.rand(10)
for name, write in {
    "torch": lambda: torch.save({str(at): large + at for at in range(3)}, folder / "torch"),
    "tensors": lambda: save_file({str(at): large + at for at in range(3)}, folder / "tensors"),
    "arrow": lambda: pq.write_table(pa.table({"a": large.numpy()}), folder / "arrow"),
    "other": lambda: small + large,
}.items():
    try:
        with named_full_disk(folder / "checkpoint"):
            write()
    except StoreError as error:
        print(name, "StoreError", error)
    except Exception as error:
        print(name, type(error).__name__)
    (folder / name).unlink(missing_ok=True)
"""


def said_by(command: list[str]) -> dict[str, str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_a_file_as_large_as_may_be_is_a_full_disk_to_any_library(tmp_path: Path) -> None:
    said = said_by([sys.executable, "-c", WRITE, str(tmp_path), "1500000"])
    assert {name: text.split()[0] for name, text in said.items()} == {
        "torch": "StoreError", "tensors": "StoreError", "arrow": "StoreError", "other": "RuntimeError",
    }  # fmt: skip
    assert all("no room left on the disk" in said[name] for name in ("torch", "tensors", "arrow"))


@pytest.mark.parametrize("size", ["5m"])
def test_a_disk_without_room_is_a_full_disk_to_any_library(tmp_path: Path, size: str) -> None:
    inside = f'mount -t tmpfs -o size={size} tmpfs "$1" && exec "$2" -c "$3" "$1"'
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, "sh"]
    tried = subprocess.run(["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)])
    if tried.returncode:
        pytest.skip("no file system of its own can be mounted here")
    said = said_by([*shell, str(tmp_path), sys.executable, WRITE])
    assert all("no room left on the disk" in said[name] for name in ("torch", "tensors", "arrow")), said


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape mismatch"),
        RuntimeError("No space left on device"),
        OSError(errno.EACCES, "?"),
        StoreError("damaged"),
    ],
)
def test_other_errors_pass_as_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, named_full_disk(tmp_path):
        raise error
    assert caught.value is error


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "part.parquet"
    with pytest.raises(StoreError, match=f"^{re.escape(str(path))}: No such file or directory"):
        write_part(path, type(PROBLEM), [PROBLEM])


def test_a_partial_file_is_no_part_of_a_stage(tmp_path: Path) -> None:
    stage = StageFolder(tmp_path / "round-01" / "generate", "fingerprint")
    stage.begin({})
    stage.file("rationale", 0).with_name("rationale-00000.parquet.partial").write_bytes(b"half")
    assert not stage.has_part("rationale", 0)
    assert stage.files() == [] and stage.read(type(RATIONALE)) == []
    write_part(stage.file("rationale", 0), type(RATIONALE), [RATIONALE])
    assert stage.has_part("rationale", 0)
    assert stage.read(type(RATIONALE)) == [RATIONALE]
    assert [one.name for one in stage.path.glob("*.partial")] == []


def test_a_part_that_lost_a_file_of_another_kind_is_not_whole(tmp_path: Path) -> None:
    disk = StageFolder(tmp_path / "round-01" / "evaluate", "f")
    disk.begin({})
    rationale = make_rationale(PROBLEM)
    disk.write_part("rationale", 0, [rationale, make_verdict(rationale)])
    assert disk.whole("rationale", 0) and not disk.whole("rationale", 1)
    sizes = {file.name: file.stat().st_size for file in disk.files()}
    plain: dict[str, Any] = {"round": 1, "stage": "evaluate", "version": 1, "fingerprint": "f", "settings": {}}
    plain |= {"main": "rationale", "counts": {}, "parts": 1, "seconds": Seconds(), "tokens": {}, "metrics": {}}
    disk.close(Manifest(**plain, packages={}, files={}, sizes=sizes))
    disk.file("verdict", 0).unlink()
    assert disk.has_part("rationale", 0) and not disk.whole("rationale", 0)
