"""Flows from recipes: stages of others, one stage twice, mistakes in one line, and stages that steer what follows."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from small import SMALL, record_ids
from viewing import serving
from web import get

from selfimprove.errors import RecipeError
from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Action, Checkpoint, Decision, Evaluation, Example, Promotion, Rationale
from selfimprove.results.compare import read_side
from selfimprove.results.overview import describe_run
from selfimprove.results.run import Run
from selfimprove.results.status import to_json
from selfimprove.running.figures import round_figures
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import Plan, build_plan
from selfimprove.settings import Settings
from selfimprove.stages.base import Stage, declare
from selfimprove.store import RunFolder
from selfimprove.store.branches import read_branches

ROUND = "frontier, generate, verify, repair, rationalize, select, sft, evaluate, promote"


def recipe_file(folder: Path, flow: str, more: str = "", text: str = SMALL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(f"{text}{more}flow: [{flow}]\n")
    return path


def test_a_flow_in_the_usual_order_changes_nothing(tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text(SMALL)
    first = build_plan(load_recipe(str(plain)), "data")
    second = build_plan(load_recipe(str(recipe_file(tmp_path, ROUND))), "data")
    assert [(one.key, one.fingerprint) for one in first.values()] == [
        (one.key, one.fingerprint) for one in second.values()
    ]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunFolder]:
    """A run whose round samples, trains and evaluates twice."""
    folder = tmp_path_factory.mktemp("twice")
    names = "frontier, generate, {warmer: generate}, verify, select, sft, {after: evaluate}, {again: sft}, evaluate"
    flow = f"{names}, promote"
    text = SMALL.replace(
        "  repair: {samples: 2, part_size: 5}\n  rationalize: {part_size: 5}\n",
        "  warmer: {samples: 3, max_tokens: 24}\n  after: {samples: 3, temperature: 1.0, max_tokens: 24}\n"
        "  again: {start: last, steps: 2, batch_size: 4, fewest: 1}\n",
    )
    recipe, run = load_recipe(str(recipe_file(folder, flow, text=text)), ["rounds=1"]), RunFolder(folder / "run")
    run_loop(recipe, run)
    return recipe, run


def test_one_stage_runs_twice_under_two_names(twice: tuple[Recipe, RunFolder]) -> None:
    recipe, folder = twice
    first, second = (folder.stage(1, name).read(Rationale) for name in ("generate", "warmer"))
    assert (len(first), len(second)) == (24, 36)
    assert not {one.seed for one in first} & {one.seed for one in second}
    judged = {one.rationale for one in folder.stage(1, "select").read(Decision)}
    assert judged == {one.id for one in (*first, *second)}
    manifest = folder.stage(1, "warmer").manifest()
    assert manifest is not None and (manifest.stage, manifest.declared) == ("warmer", "generate")
    assert load_recipe(str(folder.path / "recipe.yaml")) == recipe


def test_of_two_evaluations_the_last_one_is_what_the_round_reached(
    twice: tuple[Recipe, RunFolder], tmp_path: Path
) -> None:
    _, run = twice
    (checkpoint,) = run.stage(1, "again").read(Checkpoint)
    (promotion,) = run.stage(1, "promote").read(Promotion)
    assert promotion.parents[0] == checkpoint.id
    last, other = (run.stage(1, name).read(Evaluation) for name in ("evaluate", "after"))
    right, n = sum(one.correct for one in last), sum(one.n for one in last)
    figures = round_figures(run, 1)
    assert figures["eval/accuracy"] == right / n and figures["eval_after/undecided"] == 0
    status = to_json(run)
    assert [each["correct"] for each in status["evaluations"][1]] == [one.correct for one in last]
    assert [each["correct"] for each in status["other evaluations"]["after"][1]] == [one.correct for one in other]
    assert [(one.number, one.n, one.correct) for one in Run(run).rounds][1] == (1, n, right)
    assert read_branches(run)[-1].n == n and describe_run(run, "run").n == n
    with serving(run.path, tmp_path / "cache") as address:
        page = get(f"{address}/runs/run", timeout=60).text
        solved = get(f"{address}/api/runs/run/traces?round=1&stage=evaluate&outcome=correct", timeout=60).json()[
            "count"
        ]
        compared = get(f"{address}/compare?a=run&b=run&first=0&second=1", timeout=60).text
    assert "Evaluated by other stages of the round" in page and "/runs/run/traces?round=1&amp;stage=after" in page
    assert "traces?round=1&amp;stage=evaluate" in page and solved == right
    assert re.search(rf"B: <a [^>]*>run</a></th>.*?of {n}<", compared, re.DOTALL)
    answers = {one.text for one in run.stage(1, "evaluate").read(Rationale)}
    assert {one.text for one in read_side(str(run.path), tmp_path, 1).answers.values()} <= answers


MISTAKES = {
    "frontier, gnerate, verify": "small.yaml:{line}: unknown stage 'gnerate'; did you mean 'generate'?",
    "frontier, verify, generate, select, sft, evaluate, promote": "small.yaml:{line}: 'verify' reads what 'generate' "
    "writes, which stands after it; move 'generate' before it",
    "frontier, generate, select, sft, evaluate, promote": "small.yaml:{line}: the stage 'select' needs the stage "
    "'verify' or 'repair' or 'rationalize' or 'revise' or 'rl'",
    "frontier, generate, verify, sft, evaluate, promote": "small.yaml:{line}: the stage 'sft' needs the stage 'select' "
    "or 'instruct' or 'mix' or 'best'",
    "frontier, evaluate, select, sft, promote": "small.yaml:{line}: 'select' would take held-out texts of 'evaluate' "
    "for training; they are kept apart",
    "frontier, generate, generate": "small.yaml:{line}: 'generate' stands in the flow twice; give the second a name: "
    "{{generate-again: generate}}",
    "frontier, {a: b}, {b: a}": "small.yaml:{line}: 'a' and 'b' name each other in a circle; name a stage",
    "warmup, frontier": "small.yaml:{line}: the stage 'warmup' runs before round 1 by itself; leave it out here",
    "frontier, {verify: generate}": "small.yaml:{line}: 'verify' is the name of a stage; call the second 'generate' "
    "something else",
    "frontier, {critique: generate}": "small.yaml:{line}: 'critique' is the name of a group of settings; call the "
    "second 'generate' something else",
    **{
        f"frontier, {{{name}: generate}}": f"small.yaml:{{line}}: {name!r} cannot be the name of a stage; take "
        "letters, digits, '-' and '_', such as 'again'"
        for name in ("../../x", "_x", "copy", ".")
    },
    "frontier, 3": "small.yaml:{line}: an entry of the flow is a stage's name, or a name and a stage: {{again: sft}}",
    "frontier, generate, verify, evaluate, promote": "small.yaml:{line}: nothing trains: a round needs the stage 'sft' "
    "or 'distill' or 'dpo' or 'rl'",
}


@pytest.mark.parametrize("flow", MISTAKES)
def test_a_mistake_in_a_flow_is_one_line_with_its_place(flow: str, tmp_path: Path) -> None:
    text = SMALL.split("stages:")[0] + "stages: {warmup: {examples: 24}}\n"
    path = recipe_file(tmp_path, flow, text=text)
    line = len(path.read_text().splitlines())
    with pytest.raises(RecipeError) as raised:
        load_recipe(str(path))
    assert str(raised.value).removeprefix(f"{tmp_path}/") == MISTAKES[flow].format(line=line)


OF_OTHERS: tuple[dict[str, Any], ...] = (
    {"flow": ["frontier", {"../x": "generate"}]},
    {"flow": ["frontier", {"_x": "generate"}]},
    {"flow": ["../x"]},
    {"stages": {"sft": {}, "_x": {}}},
    {"stages": {"sft": {}, "model_config": {}}},
)


@pytest.mark.parametrize("changes", OF_OTHERS)
def test_a_run_of_others_whose_stages_have_impossible_names_is_refused(changes: dict[str, Any]) -> None:
    recipe = {"name": "theirs", "model": {"path": "example/model"}, "train": {"name": "gsm8k"}, **changes}
    with pytest.raises(RecipeError, match="cannot be the name of a stage"):
        load_recipe(recipe, lenient=True)


def plan_of(flow: list[Any], *changes: str, **more: Any) -> Plan:
    recipe = {"name": "planned", "model": {"path": "example/model"}, "train": {"name": "gsm8k"}, "rounds": 1}
    return build_plan(load_recipe({**recipe, "flow": flow, **more}, changes), "data", "constitution")


def test_a_second_revision_has_settings_of_its_own() -> None:
    flow = ["frontier", "generate", "verify", {"again": "revise"}, "revise", "select", "sft", "evaluate", "promote"]
    more = {"constitution": "brief-harmless", "stages": {"sft": {}}}
    plain = plan_of(flow, **more)
    for setting in ("limit=3", "temperature=0.1"):
        other = plan_of(flow, f"again.{setting}", **more)
        changed = {name for (_, name), stage in plain.items() if stage.fingerprint != other[stage.key].fingerprint}
        assert changed == {"again", "select", "sft", "evaluate", "promote"}


def test_a_second_selection_takes_the_rounds_that_its_own_pool_names() -> None:
    flow = [
        "frontier",
        "generate",
        "verify",
        "select",
        "sft",
        {"narrow": "select"},
        {"more": "sft"},
        "evaluate",
        "promote",
    ]
    changes = ("rounds=2", "select.pool=cumulative", "narrow.pool=fresh")
    plan = plan_of(flow, *changes, stages={"sft": {}, "select": {}})
    read = {name: {key for key in plan[2, name].reads if key[0] == 1} for name in ("select", "narrow")}
    assert (1, "select") in read["select"] and (1, "select") not in read["narrow"]


def test_sft_after_another_training_reads_what_it_may_leave_as_it_is() -> None:
    flow = ["frontier", "generate", "verify", "select", "prefer", "dpo", "sft", "evaluate", "promote"]
    assert (1, "dpo") in plan_of(flow, stages={"sft": {}, "dpo": {}, "prefer": {}})[1, "sft"].reads


def test_settings_of_a_stage_that_does_not_run_are_a_mistake(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "frontier, generate, verify, select, sft, evaluate, promote")
    with pytest.raises(RecipeError, match="'repair' has settings and does not stand in the flow"):
        load_recipe(str(path))


class Steer(Settings):
    """Make the samples of a round warmer."""

    step: float = 0.5


def steer(_: Sequence[Any], desk: Any) -> Iterator[Action]:
    warmer = 1.0 + desk.settings.step * desk.round
    yield Action(round=desk.round, changes=(f"generate.temperature={warmer}",), rule="by the round", reason="a test")


def test_what_a_steering_stage_decides_is_what_the_round_does(tmp_path: Path) -> None:
    declare(Stage(name="steer", version=1, settings=Steer, writes=Action, run=steer, steers=True,
                  reads=lambda round: [round.problems]))  # fmt: skip
    path = recipe_file(tmp_path, f"steer, {ROUND}")
    recipe, folder = load_recipe(str(path)), RunFolder(tmp_path / "run")
    before = build_plan(recipe, "data")
    assert {stage.name for stage in before.values() if stage.bounded and stage.round == 1} == set(ROUND.split(", "))
    run_loop(recipe, folder)
    for round_, temperature in ((1, 1.5), (2, 2.0)):
        assert {one.temperature for one in folder.stage(round_, "generate").read(Rationale)} == {temperature}
    ids, steps = record_ids(folder), []
    run_loop(recipe, folder, report=Steps(steps))
    assert (record_ids(folder), steps) == (ids, [])  # what was decided is read again, and nothing is done twice
    run_loop(load_recipe(str(path), ["steer.step=0.25"]), folder, report=Steps(steps), redo=["all"])
    assert {one.temperature for one in folder.stage(2, "generate").read(Rationale)} == {1.5}
    assert "round-01/steer" in steps and "round-01/generate" in steps and "round-00/evaluate" not in steps


class Steps:
    """A report that notes which stages were begun."""

    def __init__(self, begun: list[str]) -> None:
        self.begun = begun

    def begin(self, stage: object) -> None:
        self.begun.append(str(stage))

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def end(self, stage: object, manifest: object, summary: str) -> None: ...


class Blocks(Settings):
    """Write while a part is being made."""


def in_blocks(_: Sequence[Any], desk: Any) -> Iterator[Decision]:
    """A stage as RL is one: what it writes on the way is kept, and it goes on after a kill."""
    done = len(desk.kept(Example))
    for number in range(done, 4):
        row = Example(parents=(), prompt=str(number), completion="", origin="seed", group="")
        desk.keep(number, [row])
        if number == 1 and done == 0:
            raise KeyboardInterrupt
    yield Decision(parents=tuple(one.id for one in desk.kept(Example)), kept=True, reason=f"began after {done}")


def test_what_is_kept_on_the_way_survives_an_end_in_the_middle(tmp_path: Path) -> None:
    declare(Stage(name="blocks", version=1, settings=Blocks, writes=Decision, also=(Example,), run=in_blocks,
                  reads=lambda round: round.every(Rationale)))  # fmt: skip
    text = SMALL.replace("  repair: {samples: 2, part_size: 5}\n  rationalize: {part_size: 5}\n", "")
    flow = "frontier, generate, blocks, verify, select, sft, evaluate, promote"
    recipe, folder = load_recipe(str(recipe_file(tmp_path, flow, text=text)), ["rounds=1"]), RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_loop(recipe, folder)
    assert len(folder.stage(1, "blocks").read(Example)) == 2
    run_loop(recipe, folder)
    (decision,) = folder.stage(1, "blocks").read(Decision)
    assert decision.reason == "began after 2" and len(decision.parents) == 4
    manifest = folder.stage(1, "blocks").manifest()
    assert manifest is not None and manifest.counts == {"decision": 1, "example": 4}
