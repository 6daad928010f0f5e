"""A run written by hand for the viewer's tests, and a real server on the loopback."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builders import make_critique, make_problem, make_rationale, make_revised

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Decision, Evaluation, Example, Preference, Problem, Rationale, Record, Step
from selfimprove.records import Verdict as V
from selfimprove.records.stats import wilson
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.manifest import Seconds

BASE = Checkpoint(path="base", method="base", weights="0" * 8)
Change = Callable[[Record], Record]
"""Makes a record that is written another one."""


def keep(record: Record) -> Record:
    return record


def write_stage(
    folder: RunFolder, round_: int, name: str, main: str, records: Sequence[Record], change: Change = keep, *,
    settings: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """A closed stage of one part."""
    stage = folder.stage(round_, name)
    stage.begin({})
    counts = stage.write_part(main, 0, [change(one) for one in records])
    sizes = {file.name: file.stat().st_size for file in stage.files()}
    stage.close(
        Manifest(
            round=round_, stage=name, version=1, fingerprint="f", settings=dict(settings or {}), main=main,
            counts=counts, parts=1, seconds=Seconds(wall=1.5, model=1.0), tokens={"written": 10},
            metrics=dict(metrics or {}), packages={}, files={}, sizes=sizes,
        )
    )  # fmt: skip


def judge(rationale: Rationale, outcome: str = "correct", **fields: object) -> V:
    """A verdict with a step for each line of the text."""
    steps, start = [], 0
    for at, line in enumerate(rationale.text.split("\n")):
        right = "incorrect" if outcome == "incorrect" and at == 0 else "correct"
        uses = (at - 1,) if at else ()
        steps.append(Step(start=start, end=start + len(line), outcome=right, reason=f"line {at}", uses=uses))
        start += len(line) + 1
    plain = {"parents": (rationale.id,), "outcome": outcome, "reason": "by hand", "steps": tuple(steps),
             "coverage": 1.0, "verifier": "test", "version": 1}  # fmt: skip
    return V.model_validate(plain | fields)


def write_run(
    path: Path, texts: Sequence[str] = ("1+2=3\n#3",), *, rounds: int = 1, name: str = "made", change: Change = keep
) -> RunFolder:
    """A run in which each text is the rationale of a problem of its own in each round, held out and for training.

    Texts at even places are correct and trained; the first one is also revised, and preferred to what it was before.
    """
    folder = RunFolder(path / name)
    folder.path.mkdir(parents=True)
    folder.write_recipe(
        load_recipe("arithmetic", ["name=made" if change is not keep else f"name={name}", f"rounds={rounds}"])
    )
    held_out = [make_problem(f"held out {at}", "3") for at in range(len(texts))]
    write_stage(folder, 0, "problems", "problem", held_out, change)
    write_stage(folder, 0, "base", "checkpoint", [BASE], change)
    for round_ in range(rounds + 1):
        if round_:
            write_round(folder, round_, texts, change)
        write_evaluation(folder, round_, held_out, texts, change)
    return folder


def write_evaluation(
    folder: RunFolder, round_: int, problems: Sequence[Problem], texts: Sequence[str], change: Change = keep
) -> None:
    """Held-out answers of which more are right in later rounds."""
    rationales = [
        make_rationale(problem, text, parents=(problem.id, BASE.id), round=round_)
        for problem, text in zip(problems, texts, strict=True)
    ]
    verdicts = [judge(one, "correct" if at < round_ else "incorrect") for at, one in enumerate(rationales)]
    right = sum(one.outcome == "correct" for one in verdicts)
    low, high = wilson(right, len(verdicts))
    evaluation = Evaluation(
        parents=(BASE.id,), task="arithmetic", level=2, group="1+1", n=len(verdicts), correct=right, undecided=0,
        wrong_reason=0, low=low, high=high,
    )  # fmt: skip
    write_stage(folder, round_, "evaluate", "rationale", [*rationales, *verdicts, evaluation], change)


def write_round(folder: RunFolder, round_: int, texts: Sequence[str], change: Change = keep) -> None:
    problems = [
        make_problem(f"{text[:2000]} round {round_} number {at}", "3", group=f"1+{at % 3}")
        for at, text in enumerate(texts)
    ]
    write_stage(folder, round_, "frontier", "problem", problems, change)
    rationales = [
        make_rationale(problem, text, parents=(problem.id, BASE.id), round=round_, prompt=f"asked: {text}",
                       token_lengths=(1, len(text) - 1), token_costs=(800, 100 * at))
        for at, (problem, text) in enumerate(zip(problems, texts, strict=True))
    ]  # fmt: skip
    write_stage(folder, round_, "generate", "rationale", rationales, change)
    verdicts = [
        judge(one, "incorrect" if at % 2 else "correct", reason=one.text[:500]) for at, one in enumerate(rationales)
    ]
    write_stage(folder, round_, "verify", "verdict", verdicts, change)
    critique = make_critique(rationales[0], f"critique of {texts[0]}", round=round_)
    revised, revision = make_revised(rationales[0], f"{texts[0]} and more", critique, round=round_)
    judged = judge(revised)
    write_stage(folder, round_, "revise", "revision", [critique, revised, revision, judged], change)
    decisions = [
        Decision(parents=(one.id, verdict.id), kept=not at % 2, reason="kept" if not at % 2 else one.text[:300])
        for at, (one, verdict) in enumerate(zip(rationales, verdicts, strict=True))
    ]
    examples = [
        Example(parents=(one.id, verdict.id), prompt=one.prompt, completion=one.text, origin="sampled", group="1+1")
        for at, (one, verdict) in enumerate(zip(rationales, verdicts, strict=True)) if not at % 2
    ]  # fmt: skip
    write_stage(folder, round_, "select", "decision", [*decisions, *examples], change)
    pair = Preference(
        parents=(revised.id, rationales[0].id, revision.id), prompt="p", chosen=revised.text,
        rejected=rationales[0].text, margin=1.0, source="revision", principle="kind", group="1+1",
    )  # fmt: skip
    write_stage(folder, round_, "prefer", "preference", [pair], change)
    trained = Checkpoint(
        parents=(BASE.id, *(one.id for one in examples)), path=f"round-{round_:02d}/sft/checkpoint", method="sft",
        weights=str(round_),
    )  # fmt: skip
    write_stage(folder, round_, "sft", "checkpoint", [trained], change)
    path = f"round-{round_:02d}/dpo/checkpoint"
    preferred = Checkpoint(parents=(trained.id, pair.id), path=path, method="dpo", weights="d")
    write_stage(folder, round_, "dpo", "checkpoint", [preferred], change)


@contextmanager
def serving(runs: Path, cache: Path, token: str | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """A real server in a thread, on the loopback whatever `host` it is told; gives its address."""
    from selfimprove.viewer.serve import listen, make_server

    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = make_server(runs, host=host, port=port, token=token, cache=cache, patience=60.0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
