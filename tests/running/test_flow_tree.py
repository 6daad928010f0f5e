"""What `selfimprove plan` draws of a recipe's flow, and says of texts that are cut off."""

import io

import pytest
from rich.console import Console

from selfimprove.recipe.file import load_recipe
from selfimprove.running.estimate import Rates, describe_cut_off
from selfimprove.running.flow_tree import draw_flow
from selfimprove.running.plan import build_plan

NOTHING_MEASURED = Rates(stages={}, length={}, written=None, trained=None, row=None, source="")
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
    said = describe_cut_off(load_recipe("arithmetic"), NOTHING_MEASURED)
    assert said.startswith("what `generate` cuts off at 68 tokens is not trained (nothing was measured yet)")
    assert describe_cut_off(load_recipe("rlvr"), NOTHING_MEASURED) == ""
