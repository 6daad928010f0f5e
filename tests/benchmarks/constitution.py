"""Does a constitution change a model, and do the revisions do it? Two recipes on a chat model, with their controls.

    python tests/benchmarks/constitution.py --model FOLDER [--recipes concise as-asked] [--seeds 0..2] [--runs runs]
        [--arms ARM ...] [--set KEY=VALUE]

For each seed: the recipe up to SFT, the same run gone on with to DPO, SFT on the model's own first answers with as many
steps as the first SFT, and SFT on rejection sampling alone. The held-out prompts of all seeds are the same: a share is
over the prompts, each with its mean over the seeds, with Wilson's 95% interval, and below it its difference from the
start over the prompts that both decide, with Student's. An answer that was cut off is left out of a principle of which
it decides nothing. A judge (the first model) says of `comply.limit` prompts which answer follows a principle better, in
both orders. Tokens are those written for training, CPU seconds those of an arm without what it goes on with. A command
that was stopped goes on where it was.
"""

import argparse
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from selfimprove.constitution.adherence import WHOLE, check_answers, is_whole
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.policies import find_policy
from selfimprove.records import Comparison, Critique, Rationale, Verdict, by_id
from selfimprove.records.stats import describe_share, mean_interval
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.running.sweep import read_seeds
from selfimprove.store import RunFolder

TIE = 0.02
NO_REVISIONS = (
    "revise=null", "prefer=null", "dpo=null", "rank.reward=constitution", "best.keep=1",
    "flow=[frontier, generate, verify, rank, best, sft, evaluate, comply, promote]",
)  # fmt: skip
START, CHECKS = "start", "mean of the checks"
ARMS: Mapping[str, Sequence[str]] = {
    START: ("rounds=0",),
    "revised, SFT": ("prefer=null", "dpo=null"),
    "revised, SFT, DPO": (),
    "own answers, SFT": (*NO_REVISIONS, "generate.samples=1"),
    "rejection sampling, SFT": (*NO_REVISIONS, "best.above=1"),
}
SAMPLES = {"concise": 3, "as-asked": 5}
"""Samples of a prompt for rejection sampling, which cost about what responses and revisions do."""
GOES_ON_WITH = {"revised, SFT, DPO": "revised, SFT"}
"""Of which arm's stages another one is a continuation; all go on with the evaluation of the start."""


@dataclass
class Arm:
    """What was measured of an arm, by figure and prompt a list over the seeds: 1, 0, or a share."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def means(self, name: str) -> dict[str, float]:
        """By prompt."""
        return {prompt: fmean(values) for prompt, values in self.figures.get(name, {}).items()}

    def describe(self, name: str) -> str:
        if name == CHECKS:
            values = self.figures[name][""]
            return f"{fmean(values):.1%} ({min(values):.1%} to {max(values):.1%})"
        found = [*self.means(name).values()]
        return describe_share(sum(found), len(found)) + f" of {len(found)}" if found else ""

    def less(self, other: "Arm", name: str) -> str:
        mine, theirs = self.means(name), other.means(name)
        gains = [value - theirs[prompt] for prompt, value in mine.items() if prompt in theirs]
        interval = mean_interval(gains, (-1.0, 1.0))
        return f"{fmean(gains):+.1%} ({interval[0]:+.1%} to {interval[1]:+.1%})" if interval else ""


def run_arm(given: argparse.Namespace, name: str, seed: int, arm: str) -> Session:
    """The run of an arm, a copy of one that it goes on with where it is not there."""

    def place(arm: str) -> Path:
        return Path(given.runs / f"{name}-{seed}-{arm.replace(', ', '-').replace(' ', '-')}")

    if arm != START and not place(arm).exists():
        partial = place(arm).with_name(f"partial-{place(arm).name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(place(GOES_ON_WITH.get(arm, START)), partial)
        partial.rename(place(arm))
    samples = [f"generate.samples={SAMPLES.get(name, 4)}"] if "rejection" in arm else []
    changes = [f"seed={seed}", f"model.path={given.model}", f"name={place(arm).name}", *ARMS[arm], *samples, *given.set]
    recipe = load_recipe(find_policy("recipes", name), changes)
    run_loop(recipe, RunFolder(place(arm)), redo=("all",))
    return Session(recipe, RunFolder(place(arm)))


def figures_of(session: Session, round_: int) -> Iterator[tuple[str, str, float]]:
    """Figure, prompt and value of a checkpoint's held-out answers."""
    problems = by_id(session.inputs.held_out)
    answers = {one.problem: one for one in session.read((round_, "evaluate"), Rationale) if one.origin == "sampled"}
    verdicts = {one.rationale: one for one in session.read((round_, "evaluate"), Verdict)}
    assert session.prompter
    first = session.read((0, "evaluate"), Rationale)  # on which the judge is tried
    of = {one.id: one.problem for one in (*first, *answers.values())}
    shares = defaultdict(list)
    for name, one in answers.items():
        yield WHOLE, name, float(is_whole(one))
    for one in check_answers(answers, problems, verdicts, session.prompter.constitution):
        if one.outcome != "undecided":
            yield one.principle, of[one.response], float(one.outcome == "correct")
            shares[one.principle].append(one.outcome == "correct")
    yield CHECKS, "", fmean(map(fmean, shares.values()))
    for each in session.read((round_, "comply"), Comparison) if round_ else ():
        margin = 2 * each.preferred - 1
        yield f"{each.principle}, preferred", of[each.parents[0]], 0.5 if abs(margin) < TIE else float(margin > 0)


def tokens_of(session: Session) -> int:
    kinds: Iterable[tuple[str, type[Rationale] | type[Critique]]] = (
        ("generate", Rationale), ("revise", Rationale), ("revise", Critique)
    )  # fmt: skip
    return sum(
        one.tokens for stage, kind in kinds if (1, stage) in session.plan for one in session.read((1, stage), kind)
    )


def print_table(name: str, found: Mapping[str, Arm]) -> None:
    names = list(dict.fromkeys(key for arm in found.values() for key in arm.figures))
    print(f"\n| {name} | {' | '.join(found)} |\n|{' --- |' * (len(found) + 1)}")
    for one in names:
        print(f"| {one} | {' | '.join(arm.describe(one) for arm in found.values())} |")
        if one in found[START].figures and one != CHECKS:
            others = [arm.less(found[START], one) for name, arm in found.items() if name != START]
            print(f"| less the start |  | {' | '.join(others)} |")
    for one in ("tokens", "seconds"):
        values = [[*getattr(arm, one)] for arm in found.values()]
        said = [f"{min(mine):,.0f} to {max(mine):,.0f}" if mine else "" for mine in values]
        print(f"| {'CPU seconds' if one == 'seconds' else one} | {' | '.join(said)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the folder of a chat model")
    parser.add_argument("--recipes", nargs="+", default=["concise", "as-asked"])
    parser.add_argument("--seeds", default="0..2")
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=[*ARMS], help="with what they go on with")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    for name in given.recipes:
        found = {arm: Arm() for arm in ARMS if arm in given.arms}
        for seed in read_seeds(given.seeds):
            for arm, measured in found.items():
                started = time.process_time()
                session = run_arm(given, name, seed, arm)
                spent = time.process_time() - started
                print(f"{session.folder.path.name}: {spent:.0f} CPU s", flush=True)
                measured.seconds.append(spent)
                if arm != START:
                    measured.tokens.append(tokens_of(session))
                for figure, prompt, value in figures_of(session, int(arm != START)):
                    measured.figures[figure][prompt].append(value)
        print_table(name, found)


if __name__ == "__main__":
    main()
