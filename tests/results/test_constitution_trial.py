"""A constitution tried on one's own prompts: forms of critique next to rejection sampling with the same tokens."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import make_constitution, make_problem, make_rationale

from selfimprove.cli import main
from selfimprove.constitution import Principle
from selfimprove.constitution.model import LengthCheck
from selfimprove.engines import Engine, ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import RecipeError
from selfimprove.recipe import Build
from selfimprove.records import Checkpoint, Rationale
from selfimprove.records.console import SafeConsole
from selfimprove.records.stats import holm
from selfimprove.results.constitution_trial import (
    Samples,
    Trial,
    find_prompts,
    judge_trial,
    make_trial_recipe,
    reject,
    run_trial,
)
from selfimprove.results.trial_table import print_trial
from selfimprove.running.session import Session
from selfimprove.store import RunFolder

LONG = "Well, there is very much that one could say about this, and where to begin nobody knows."
CONSTITUTION = """
name: mine
principles:
  - id: brief
    text: At most five words.
    check: {name: length, at_most: 5}
  - id: kind
    text: It is kind.
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model without a chat template, prompts and a constitution."""
    folder = tmp_path_factory.mktemp("trial")
    build_model(Build(hidden_size=32, intermediate_size=32, layers=1, heads=1, max_positions=4096), folder / "model", 1)
    rows = [{"prompt": f"What is thing {at} good for?"} for at in range(7)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.yaml").write_text(CONSTITUTION)
    return folder


@dataclass
class Scripted:
    """The engine of a trial: every response is long but each third, direct revisions are short, others long."""

    asked: int = 0
    written: int = 0

    def __call__(self, checkpoint: Checkpoint, session: Session) -> Engine:
        def write(prompt: str, seed: int) -> str:
            self.asked += 1
            if prompt.endswith("Critique:"):
                return "It is \x1b[31mlong."
            if prompt.endswith("Revision:"):
                return LONG[5:] if "Critique Request" in prompt else "It is good for that."
            self.written += 1
            return f"Thing {seed}." if self.written % 3 == 0 else f"{LONG} {seed}"

        return ScriptedEngine(write)


def make_trial(place: Path, name: str, **more: Any) -> tuple[Trial, Scripted, RunFolder, list[str]]:
    recipe, forms = make_trial_recipe(
        str(place / "model"), str(place / "mine.yaml"), str(place / "mine.jsonl"), name=name, samples=3, limit=6, **more
    )
    folder, load = RunFolder(place / "runs" / name), Scripted()
    run_trial(recipe, folder, load=load)
    return judge_trial(recipe, folder, forms, judge=False), load, folder, forms


def test_a_trial_compares_forms_with_rejection_sampling(place: Path) -> None:
    trial, load, folder, forms = make_trial(place, "whole", only=["principle", "direct"])
    assert forms == ["principle", "direct"] and len(trial.samples.of) == 6
    assert all(not (folder.path / f"round-01/{one}").exists() for one in ("select", "sft")), "nothing is trained"
    principle, direct = trial.forms
    before = trial.before.shares["brief"]
    assert before.count < 6 and direct.shares["brief"].count == 6 == len(direct.passing)
    assert principle.way.kept == direct.way.kept == 6 and principle.way.found == (6, 6) and direct.way.found is None
    assert len(principle.passing) == before.count, "those that pass are not made worse"
    for form in trial.forms:
        assert form.plain is not None and form.plain.way.tokens <= form.way.tokens
    assert trial.best is direct and direct.paired[1] == 0
    plain = trial.to_json()
    assert [one["holm"] for one in plain["forms"]] == holm([one["p"] for one in plain["forms"]])
    assert plain["best"] == "direct" and plain["forms"][1]["shares"]["brief"]["low"] == pytest.approx(0.6097, abs=1e-3)

    out = io.StringIO()
    print_trial(trial, SafeConsole(file=out, width=100), examples=2)
    said = out.getvalue()
    assert "brief" in said and "100\n" in said.replace(" ", "") and "\x1b" not in said
    assert said.count("What is thing") == 2 and "direct: 6 of 6 responses pass every check" in said

    again = Scripted()
    recipe, _ = make_trial_recipe(
        str(place / "model"), str(place / "mine.yaml"), str(place / "mine.jsonl"), name="whole", samples=3, limit=6,
        only=["principle", "direct"],
    )  # fmt: skip
    run_trial(recipe, folder, load=again)
    assert load.asked > 0 and again.asked == 0, "what is there is not asked for again"


def test_settings_of_revise_are_those_of_every_form(place: Path) -> None:
    recipe, forms = make_trial_recipe(
        str(place / "model"), str(place / "mine.yaml"), str(place / "mine.jsonl"), name="mine",
        changes=["revise.relevance=0.5", "generate.samples=5", "stages.revise.revisions=2"],
    )  # fmt: skip
    mine = [getattr(recipe.stages, one) for one in forms]
    assert [one.form for one in mine] == ["principle", "none", "checklist", "one-turn", "anew", "principle"]
    assert {(one.relevance, one.revisions) for one in mine} == {(0.5, 2)} and mine[-1].best_of == 3
    with pytest.raises(RecipeError, match="--form lists: no such form"):
        make_trial_recipe("m", "short", "everyday", name="mine", only=["lists"])


def test_prompts_are_a_file_or_a_name(place: Path) -> None:
    assert find_prompts("everyday") == find_prompts("prompts/everyday") == {"name": "prompts/everyday"}
    assert find_prompts(str(place / "mine.jsonl"))["name"] == "prompts/mine"
    with pytest.raises(RecipeError, match="did you mean 'everyday'"):
        find_prompts("everday")


# --- rejection sampling ----------------------------------------------------------------------------------------

BRIEF = make_constitution(Principle(id="brief", text="Short.", check=LengthCheck(at_most=3)), "kind")
PROBLEMS = [make_problem(f"How {at}?", None) for at in range(2)]


def sampled(*texts: Sequence[str]) -> Samples:
    of = {
        problem.id: [make_rationale(problem, text, sample=at, tokens=10) for at, text in enumerate(mine)]
        for problem, mine in zip(PROBLEMS, texts, strict=True)
    }
    return Samples({one.id: one for one in PROBLEMS}, of, {}, seconds=6.0)


@pytest.mark.parametrize(
    ("budget", "texts", "spent"),
    [
        (0, ["a b c d", "a b c d e"], 0),
        (10, ["a", "a b c d e"], 10),
        (20, ["a", "a b c d e"], 20),
        (30, ["a", "b"], 30),
        (90, ["a", "b"], 30),
    ],
)
def test_rejection_sampling_draws_until_every_check_is_passed(budget: int, texts: list[str], spent: int) -> None:
    samples = sampled(["a b c d", "a", "b"], ["a b c d e", "a b c d f", "b"])
    way = reject(samples, budget, BRIEF)
    assert ([one.text for one in way.texts.values()], way.tokens) == (texts, spent)
    assert way.seconds == pytest.approx(6.0 * spent / 60) and way.tried == spent // 10


def test_a_judge_chooses_among_samples_that_pass_as_much() -> None:
    def prefer(pairs: Sequence[tuple[str, Rationale, Rationale]]) -> list[float]:
        return [0.9 if one.text == "b" else 0.2 for _, one, _ in pairs]

    way = reject(sampled(["a b c d", "a", "b"], ["a b c", "b c d e", "a"]), 90, BRIEF, prefer)
    assert [one.text for one in way.texts.values()] == ["b", "a b c"] and way.tokens == 40


def test_what_is_wrong_with_a_trial_is_said_in_a_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [
        "constitution",
        "try",
        "short",
        "--model",
        str(place / "model"),
        "--prompts",
        "nothing",
        "--runs",
        str(place),
    ]
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert "--prompts nothing: no such file" in capsys.readouterr().err
