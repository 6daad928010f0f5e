"""What `selfimprove plan` draws of a recipe's flow, and says of texts that are cut off."""

import io

import pytest
from rich.console import Console

from selfimprove.recipe.file import load_recipe
from selfimprove.running.flow_tree import draw_flow
from selfimprove.running.inputs import Inputs
from selfimprove.running.plan import build_plan
from selfimprove.running.remarks import look_ahead, measure_sizes
from selfimprove.stages.base import CutOff

DRAWN = {
    "rlvr": """\
└── each of 2 rounds (here round 2)
    ├── frontier writes problem, frontier
    │   ← frontier, rl of round 1; problems of round 0
    ├── rl writes checkpoint, rationale, verdict, rollout, audit
    │   ← frontier; promote of round 1; warmup of round 0
""",
    "best-of-n": """\
    ├── gold (rank) writes reward
    │   ← frontier, generate; warmup of round 0
""",
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_stage_says_what_it_writes_and_below_what_it_reads_latest_rounds_first(name: str) -> None:
    shown = io.StringIO()
    Console(file=shown, width=80).print(draw_flow(build_plan(load_recipe(name), "data", "")), highlight=False)
    assert DRAWN[name] in shown.getvalue()


def test_texts_that_are_cut_off_are_spoken_of_only_where_generate_writes_some() -> None:
    inputs = Inputs(load_recipe("arithmetic", ["rounds=1"]))
    (said,) = look_ahead(inputs, {})
    assert said.startswith("what `generate` cuts off at 68 tokens is not trained (nothing was measured yet)")
    (said,) = look_ahead(inputs, {"generate": CutOff(3, 40, "other")})
    assert "(3 of 40 texts in run 'other')" in said
    assert not list(look_ahead(inputs, {"generate": CutOff(0, 40, "other")}))
    assert not list(look_ahead(Inputs(load_recipe("rlvr")), {}))


def test_a_stage_says_how_many_examples_a_round_keeps() -> None:
    sampled = ["frontier.problems=90", "generate.samples=3", "select.per_problem=null"]
    assert measure_sizes(Inputs(load_recipe("arithmetic", sampled))).kept == 270
    best = ["frontier.problems=90", "generate.samples=16", "best.keep=2"]
    assert measure_sizes(Inputs(load_recipe("best-of-n", best))).kept == 180  # and not what is sampled
    written = ["model.path=nowhere", "instruct.keep=7", "instruct.examples=3"]
    sizes = measure_sizes(Inputs(load_recipe("self-instruct", written)))
    assert (sizes.problems, sizes.kept) == (0, 21)
