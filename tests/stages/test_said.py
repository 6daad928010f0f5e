"""What is said of a round, by figures that are worked out by hand: shares of time, costs of pairs, lengths of texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from viewing import write_stage

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Preference
from selfimprove.results.times import outside_model
from selfimprove.stages.base import Look, Sizes
from selfimprove.stages.dpo import DPO, Dpo
from selfimprove.stages.prefer import PREFER, Prefer
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.manifest import Seconds
from selfimprove.store.rows import Rows


@dataclass
class Desk:
    """What is on a desk once a stage is closed."""

    rows: Rows[Preference]
    manifest: Manifest | None = None

    def scan_written(self, kind: type[Preference]) -> Rows[Preference]:
        return self.rows


def pair(prompt: str, chosen: str, rejected: str) -> Preference:
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, margin=1.0, source="verifier", group="g",
                      parents=(chosen, rejected))  # fmt: skip


def test_the_chosen_text_is_the_shorter_one_in_so_many_pairs(tmp_path: Path) -> None:
    texts = [
        ("p", "short", "a longer text"),
        ("p", "brief", "also a longer"),
        ("q", "a longer one", "no"),
        ("q", "ab", "cd"),
    ]
    pairs = [pair(*one) for one in texts]
    run = RunFolder(tmp_path)
    write_stage(run, 1, "prefer", "preference", pairs)
    said = PREFER.say(cast(Any, Desk(run.stage(1, "prefer").rows(Preference))))
    assert said == "4 pairs of 2 problems; in 2 the chosen text is the shorter one"


def test_both_texts_of_a_pair_cost() -> None:
    recipe = load_recipe("arithmetic", ["stages.prefer.per_problem=3", "stages.dpo.epochs=2"])
    settings = recipe.of(Dpo)
    (cost,) = DPO.cost(Look(settings, recipe, Sizes(problems=10, held_out=0), 1))
    assert recipe.of(Prefer).per_problem == 3 and settings.epochs == 2
    assert cost.rows == 10 * 3 * 2 * 2  # pairs, epochs, texts
    assert cost.longest == settings.max_length


@pytest.mark.parametrize(
    ("seconds", "outside", "wall"),
    [
        ([(10.0, 8.0, 0.0)], 2.0, 10.0),
        ([(10.0, 8.0, 1.0), (5.0, 0.0, 2.0)], 4.0, 12.0),  # imports are no part of it
        ([], 0.0, 0.0),
    ],
)
def test_what_the_model_does_not_take_is_outside_of_it(
    seconds: list[tuple[float, float, float]], outside: float, wall: float, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    write_stage(run, 1, "prefer", "preference", [])
    plain = run.stage(1, "prefer").manifest()
    assert plain is not None
    made = [
        plain.model_copy(update={"seconds": Seconds(wall=all_, model=model, imports=imports)})
        for all_, model, imports in seconds
    ]
    assert outside_model(made) == (outside, wall)
