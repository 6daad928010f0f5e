"""What a majority is worth where answers are unknown: reads a run on sums whose answers were hidden.

    selfimprove run arithmetic --name voted --set train.hide_answers=true --set generate.samples=8 …
    python tests/benchmarks/vote.py runs/voted …

The answers are worked out here; the run never saw them.
"""

import sys
from pathlib import Path

from selfimprove.records import Decision, Evaluation, Problem, Rationale, Vote, by_id
from selfimprove.store import RunFolder
from selfimprove.tasks.addition import parse_addition


def sum_of(question: str) -> str:
    operands = parse_addition(question)
    assert operands is not None
    return str(sum(map(int, operands)))


def share(hits: int, of: int) -> str:
    return f"{100 * hits / of:.1f} of {of}" if of else ""


def describe(run: RunFolder) -> None:
    print(f"\n{run.path.name}\n")
    print("| round | single samples right (%) | majorities right | kept texts | kept texts right | held-out accuracy |")
    print("| --- | --- | --- | --- | --- | --- |")
    for stage in run.stages():
        round_, name = stage.key
        if name != "evaluate" or not stage.manifest():
            continue
        found = stage.read(Evaluation)
        accuracy = share(sum(one.correct for one in found), sum(one.n for one in found))
        if not round_:
            print(f"| 0 | | | | | {accuracy} |")
            continue
        problems = by_id(run.stage(round_, "frontier").read(Problem))
        right = {one.id: sum_of(one.question) for one in problems.values()}
        written = by_id(run.stage(round_, "generate").read(Rationale))
        votes = run.stage(round_, "verify").read(Vote)
        kept = [written[one.rationale] for one in run.stage(round_, "select").read(Decision) if one.kept]
        single = share(sum(one.answer == right[one.problem] for one in written.values()), len(written))
        voted = share(sum(one.answer == right[one.problem] for one in votes), len(votes))
        trained = share(sum(one.answer == right[one.problem] for one in kept), len(kept))
        print(f"| {round_} | {single} | {voted} | {len(kept)} | {trained} | {accuracy} |")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        describe(RunFolder(Path(name)))
