"""Settings that are tried on a few problems: common random numbers, and a change only where it is surely better."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from small import record_ids, small_recipe, weight_hashes

from selfimprove.engines import Completion, Request, ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.recipe import Sampling
from selfimprove.records import Action, Arm, Decision, Probed, Rationale
from selfimprove.running.decisions import replay
from selfimprove.running.loop import run_loop
from selfimprove.stages.generate import Generate
from selfimprove.stages.probe import Probe, Try, arms_of, choose, score
from selfimprove.store import RunFolder
from selfimprove.store.steered import read_decided

QUICK = ("select.sources=seed", "warmup.steps=1", "sft.steps=1", "evaluate.part_size=100", "generate.part_size=100",
         "rounds=1", "frontier.problems=40", "select.require=answer", "probe.problems=30",
         "probe.part_size=12")  # fmt: skip


class Warm(ScriptedEngine):
    """Right more often the warmer it is asked, or the same at every temperature."""

    def __init__(self, pace: float) -> None:
        super().__init__(lambda prompt, seed: "")
        self.pace = pace

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        for index, one in enumerate(requests):
            numbers = one.prompt.rpartition("?")[2].rstrip("=").split("+")
            right = (one.seed % 1000) / 1000 < 0.3 + self.pace * (sampling.temperature - 1.0)
            answer = sum(map(int, numbers)) if all(number.isdigit() for number in numbers) else 0
            text = f"{one.seed}\n#{answer if right else answer + 1}"
            yield Completion(index, text, 20, -1.0, "stop")


def run(folder: Path, pace: float, *changes: str) -> RunFolder:
    made = RunFolder(folder / "run")
    run_loop(small_recipe(folder, *QUICK, *changes), made, load=lambda *_: Warm(pace))
    return made


def test_what_is_surely_better_is_taken_for_the_round_and_only_for_it(tmp_path: Path) -> None:
    folder = run(tmp_path, 2.0, "generate.samples=4", "decide.rules=default", "promote.rule=always")
    (action,) = folder.stage(1, "probe").read(Action)
    assert (action.rule, action.changes, action.before) == (
        "probe", ("generate.temperature=1.25",), ("generate.temperature=1",),
    )  # fmt: skip
    assert {one.temperature for one in folder.stage(1, "generate").read(Rationale)} == {1.25}
    arms = folder.stage(1, "probe").read(Arm)
    assert [one.changes[0] for one in arms] == [f"generate.temperature={one}" for one in ("1", "0.8", "1.25")]
    assert arms[0].more == arms[0].low == arms[0].high == 0 and arms[2].low > 0 > arms[1].more
    assert set(action.parents) == {arms[0].id, arms[2].id} and len(action.considered) == 2
    # What was tried is nothing that is trained on: only the round's own samples are decided upon.
    written = {one.id for one in folder.stage(1, "generate").read(Rationale)}
    again = {one.id for name in ("repair", "rationalize") for one in folder.stage(1, name).read(Rationale)}
    assert {one.rationale for one in folder.stage(1, "select").read(Decision)} <= written | again
    manifest = folder.stage(1, "probe").manifest()
    assert manifest is not None and manifest.tokens["written"] == 3 * 30 * 4 * 20 == sum(one.tokens for one in arms)
    # It stands beside the decision of the rules, which is replayed without it.
    assert [one.action.rule for one in read_decided(folder)] == ["", "probe"]
    recorded, replayed = replay(folder, 1)
    assert recorded == replayed and recorded.rule == ""


def test_the_settings_stay_where_nothing_is_surely_better(tmp_path: Path) -> None:
    folder = run(tmp_path, 0.0)
    (action,) = folder.stage(1, "probe").read(Action)
    assert action.rule == "" and not action.changes and "no other setting is surely better" in action.reason
    # The same random numbers: where the temperature makes no difference, the arms are equal problem by problem.
    found: dict[float, list[tuple[object, ...]]] = {}
    for one in folder.stage(1, "probe").read(Probed):
        found.setdefault(one.temperature, []).append((one.parents[0], one.right))
    assert len(found) == 3 and len({tuple(sorted(map(repr, each))) for each in found.values()}) == 1
    assert all(arm.low == arm.high == 0 for arm in folder.stage(1, "probe").read(Arm))


def test_a_probe_is_skipped_where_it_has_nothing_to_say(tmp_path: Path) -> None:
    folder = run(tmp_path, 2.0, "probe.every=2", "rounds=2")
    second = folder.stage(2, "probe").read(Action)[0]
    assert second.reason == "a probe is every 2 rounds" and not folder.stage(2, "probe").read(Probed)
    with pytest.raises(RecipeError, match="there is nothing to try: 'scales' and 'samples' are what the recipe has"):
        small_recipe(tmp_path, "probe.scales=[1.0]")


def probed(*right: int | None) -> Probed:
    return Probed(parents=("p", "c"), round=1, temperature=1.0, right=right, tokens=(1,) * len(right))


SCORES = {
    "none is right": (probed(None, None), 2, 4, 0.0),
    "all right and distinct": (probed(0, 1, 2, 3), 4, 4, 1.0),
    "all the same text": (probed(0, 0, 0, 0), 4, 4, 1 / 16),
    "the first ones alone": (probed(0, 1, 2, 3), 2, 4, 0.5),
    "more than enough": (probed(0, 1, 2, 3), 4, 2, 1.0),
}


@pytest.mark.parametrize("case", SCORES)
def test_scores_worked_out_by_hand(case: str) -> None:
    one, samples, enough, expected = SCORES[case]
    assert score(one, samples, enough) == pytest.approx(expected)


def test_arms_are_each_once_with_the_own_settings_first() -> None:
    arms = arms_of(Probe(scales=(0.5, 1.0), samples=(8,)), Generate(max_tokens=9, temperature=1.0, samples=4))
    assert arms == [Try(1.0, 4), Try(1.0, 8), Try(0.5, 4), Try(0.5, 8)]


def arm(temperature: float, more: float, low: float) -> Arm:
    return Arm(round=1, changes=(f"generate.temperature={temperature:g}", "generate.samples=4"), problems=9, score=0.5,
               more=more, low=low, high=more + 1, right=1, samples=4, tokens=9)  # fmt: skip


def test_of_several_that_are_surely_better_the_best_and_none_that_the_recipe_refuses() -> None:
    now, arms = Generate(max_tokens=9), [arm(1.0, 0, 0), arm(1.2, 0.2, 0.1), arm(1.4, 0.3, 0.01), arm(2.0, 0.9, -0.1)]
    chosen = choose(1, arms, now, refuses=lambda changes: "")
    assert chosen.changes == ("generate.temperature=1.4",) and len(chosen.considered) == 3
    refused = choose(1, arms, now, refuses=lambda changes: "no")
    assert refused.rule == "" and not refused.changes


@pytest.mark.long
def test_a_kill_while_it_tries_changes_nothing(tmp_path: Path) -> None:
    changes = ["probe.problems=8", "probe.part_size=4", "probe.scales=[1.3]", "rounds=2", "decide.rules=default",
               "repair.explore=2"]  # fmt: skip
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    run_loop(small_recipe(tmp_path / "recipe", *changes), whole)
    moments = ["round-01/probe", "round-01/probe/probed-00001.parquet", "round-02/probe/probed-00000.parquet",
               "round-02/probe/arm-00004.parquet", "round-02/repair"]  # fmt: skip
    support = Path(__file__).parents[1] / "support"
    command = [sys.executable, str(support / "kill_run.py"), str(killed.path), *changes, *moments]
    done = subprocess.run(command, cwd=support, capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout.endswith("finished the end\n") and done.stdout.count("killed") >= 3, done.stdout + done.stderr
    assert len(whole.stage(2, "probe").read(Probed)) == 16
    assert record_ids(killed) == record_ids(whole) and weight_hashes(killed) == weight_hashes(whole)
