"""What is typed wrongly after a command is one plain line and exit code 2, and nothing is left of it."""

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from selfimprove.cli import main
from selfimprove.cli.chat import _questions
from selfimprove.records.console import SafeConsole
from selfimprove.running.overoptimise import ROW, read_kept

LONG = "x" * 300
GRID = [part for key in ("steps", "epochs", "batch_size", "accumulate", "clip", "fewest")
        for part in ("--grid", f"sft.{key}={','.join(map(str, range(1, 60)))}")]  # fmt: skip
CASES: Sequence[tuple[Sequence[str], str]] = (
    (("people", "generate", "p.jsonl", "--difference", "nan"), "numbers of at most 1e+06 log-odds"),
    (("people", "generate", "p.jsonl", "--difference", "inf"), "numbers of at most 1e+06 log-odds"),
    (("people", "generate", "p.jsonl", "--people", "100000", "--items", "999", "--each", "999"), "399,600,000 ratings"),
    (("people", "generate", "p.jsonl", "--people", "x"), "Invalid value for '--people': must be a whole number See:"),
    (("people", "generate", "p.jsonl", "--seed", "-1"), "Invalid value for '--seed': must be at least 0 See:"),
    (("people", "pairs", "r.jsonl", "p.jsonl", "--cohort", ""), "--cohort : no trait ''"),
    (("people", "convert", "r.jsonl", "folder.jsonl"), "folder.jsonl: Is a directory"),
    (("people", "convert", "r.jsonl", f"{LONG}.jsonl"), "File name too long"),
    (("run", "arithmetic", "--at-once", "2"), "--at-once goes with --seeds or --grid"),
    (("run", "arithmetic", "--seeds", ""), "--seeds : expected seeds such as 0..4 or 0,3,7"),
    (("run", "arithmetic", *GRID), "a sweep of 42,180,533,641 runs; at most 1,000 are possible"),
    (("run", f"{LONG}.yaml"), "no such recipe"),
    (("run", LONG), "no recipe"),
    (("run", "arithmetic", "--set", "train.path=~nobody/x", "--set", "train.name=jsonl"), "unknown key 'max_digits'"),
    (("status", LONG), f"{LONG[:100]}"),
    (("publish", "small", "--to", ""), ".: is there already; name a folder that is not"),
    (("publish", "small", "--to", "out", "--base", "../x"), "--base ../x: a name on the hub is 'owner/name'"),
    (("overoptimise", "--comparisons", "50.5"), "--comparisons 50.5: expected whole numbers of at most 1,000,000,000"),
    (("overoptimise", "--comparisons", "1e30"), "expected whole numbers of at most 1,000,000,000"),
    (("overoptimise", "--comparisons", "nan"), "expected different numbers of at least 2"),
    (("overoptimise", "--kl", "0.1,0.10000001"), "no two of them with the same numbers"),
    (("overoptimise", "--comparisons", "50", "--seeds", "0", "--kl", "0"), "rlhf-overoptimise: is no folder"),
    (("chat", "small", "--temperature", "inf"), "Invalid value for '--temperature': must be at most 100 See:"),
)  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=[" ".join(one)[:60] for one, _ in CASES])
def test_a_mistake_is_one_plain_line_and_leaves_nothing(
    arguments: Sequence[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rated = [{"rater": f"r{at}", "item": "q", "response": one, "prompt": "p", "text": one, "score": 50 * len(one)}
             for at in range(2) for one in ("a", "bb")]  # fmt: skip
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rated))
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/rlhf-overoptimise").touch()
    before = sorted(map(str, tmp_path.rglob("*")))
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
    finally:
        os.chdir(here)
    shown = capsys.readouterr().err
    assert ended.value.code == 2, shown
    assert said in shown and len(shown.splitlines()) == 1 and len(shown) < 700, shown
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_a_question_that_is_no_text_is_asked_as_such() -> None:
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n\nwhy?\n"), encoding="utf-8")
    try:
        assert list(_questions(SafeConsole())) == ["\ufffd\ufffd", "", "why?"]
    finally:
        sys.stdin = before


def test_figures_that_were_kept_are_used_as_they_were_measured(tmp_path: Path) -> None:
    asked, rows = {"gold": "rising", "samples": 2}, [dict.fromkeys(ROW, 1.0)]
    path = tmp_path / "best-of-n.json"
    assert read_kept(path, asked) is None
    path.write_text(json.dumps({**asked, "rows": rows}))
    assert read_kept(path, asked) == {**asked, "rows": rows}
    for changed in ("", "{", "[" * 100_000, "[]", "{}", "null", '{"rows": 3}', json.dumps({**asked, "rows": []}),
                    json.dumps({**asked, "rows": [{"n": 1}]}), json.dumps({**asked, "rows": [dict.fromkeys(ROW, "x")]}),
                    json.dumps({**asked, "rows": [dict.fromkeys(ROW, float("nan"))]}),
                    json.dumps({**asked, "gold": "other", "rows": rows})):  # fmt: skip
        path.write_text(changed)
        assert read_kept(path, asked) is None, changed
