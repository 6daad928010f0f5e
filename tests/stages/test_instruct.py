"""The stage `instruct`: what is kept and turned away, what is trained of it, and that held-out prompts stay out."""

import re
import string
from collections import Counter
from pathlib import Path

import pytest

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import RecipeError, TrainingError
from selfimprove.prompting import instruction_filters as filters
from selfimprove.prompting.instructions import load_seeds
from selfimprove.recipe import Build
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Example, Instance, Instruction, Overlap, Problem, Rationale
from selfimprove.results.status import print_status, to_json
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.viewer.report import write_report

HELD_OUT = "Explain to a class how a steam engine turns heat into the motion of a heavy wheel."
# What the model proposes, in turn; the two of one time are judged beside each other. Of the first time
# the longer prompt is asked last, and its proposals stand first.
PROPOSED = [
    f" Name all the months of autumn.\n10. {HELD_OUT}",
    " Name the months of autumn.\n10. Draw a picture of autumn.",
    " Decide whether the fruit is sweet.\n10. Sing",
    " Tell a story of two old friends at the station.\n10. Recite numbers that",
    # In the second round.
    " Sort the stones of the beach by color.\n10. Draw a picture of autumn.",
    f" Name the months of autumn.\n10. {HELD_OUT}",
]
RECIPE = """
name: own-tasks
rounds: 2
model: {path: model, device: cpu}
train: {name: prompts/held, path: held.jsonl, held_out: 1}
engine: {threads: 1}
decontaminate: {action: drop}
flow: [instruct, sft, evaluate, promote]
stages:
  instruct: {keep: 9, most: 4, at_once: 2, wanted: 2}
  sft: {steps: 1, batch_size: 2, fewest: 1, max_length: 1000}
  evaluate: {max_tokens: 8}
  promote: {rule: always}
"""


def answer(prompt: str, seed: int) -> str:
    task = prompt.rpartition("Task: ")[2].partition("\n")[0]
    if "fixed labels" in prompt:
        return "Yes" if task.startswith("Decide") else "No"
    if prompt.endswith("Label:"):
        return " sweet\nInput: a ripe pear"
    if "Write an example" in prompt:
        return "I would say October." if task.startswith("Name") else "Output: It was late, and they both laughed."
    return "Well."


class Proposer(ScriptedEngine):
    """Proposes what is next, and is cut off at the end of the last."""

    def __init__(self) -> None:
        super().__init__(self.say)
        self.asked: list[str] = []

    def say(self, prompt: str, seed: int) -> str:
        if not re.search(r"\n9\.$", prompt):
            return answer(prompt, seed)
        self.asked.append(prompt)
        return PROPOSED[(len(self.asked) - 1) % len(PROPOSED)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Proposer]:
    folder = tmp_path_factory.mktemp("instruct")
    (folder / "held.jsonl").write_text(f'{{"prompt": "{HELD_OUT}"}}\n{{"prompt": "{HELD_OUT[:-1]} of a mill."}}')
    shape = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, alphabet=string.printable)
    build_model(shape, folder / "model", seed=1)
    (folder / "own-tasks.yaml").write_text(RECIPE)
    made, proposer = RunFolder(folder / "run"), Proposer()
    run_loop(load_recipe(str(folder / "own-tasks.yaml"), []), made, load=lambda *_: proposer)
    return made, proposer


def proposals(run: RunFolder, round_: int) -> list[Instruction]:
    return [one for one in run.stage(round_, "instruct").read(Instruction) if one.origin == "proposed"]


def test_each_proposal_is_on_disk_with_its_reason_and_its_nearest_neighbour(run: tuple[RunFolder, Proposer]) -> None:
    made, _ = run
    found = {one.text: one for one in proposals(made, 1)}
    assert {text: one.reason for text, one in found.items()} == {
        "Name the months of autumn.": filters.KEPT,
        "Draw a picture of autumn.": filters.NO_TEXT,
        "Name all the months of autumn.": filters.ALIKE,
        HELD_OUT: filters.KEPT,
        "Decide whether the fruit is sweet.": filters.KEPT,
        "Sing": filters.TOO_SHORT,
        "Tell a story of two old friends at the station.": filters.KEPT,
        "Recite numbers that": filters.TOO_SHORT,
    }
    alike = found["Name all the months of autumn."]
    assert alike.nearest == "Name the months of autumn." and alike.similarity == pytest.approx(10 / 11)
    assert {one.text: one.classification for one in found.values() if one.kept and one.classification} == {
        "Decide whether the fruit is sweet.": True
    }


def test_what_was_shown_is_the_parent_and_own_tasks_are_shown_once_there_are_some(
    run: tuple[RunFolder, Proposer],
) -> None:
    made, proposer = run
    seeds = {one.id for one in made.stage(1, "instruct").read(Instruction) if one.origin == "seed"}
    assert len(seeds) == len(load_seeds("instructions"))
    own = {one.id for one in proposals(made, 1) if one.kept}
    for one in proposals(made, 1):
        shown = one.parents[1:]
        assert len(shown) == 8 and set(shown) <= seeds | own
        assert sum(name in own for name in shown) == (0 if one.step < 2 else 2)
    assert all("\n8. " in prompt and "\n9. " not in prompt for prompt in proposer.asked)


def test_instances_become_examples_but_for_those_that_are_turned_away(run: tuple[RunFolder, Proposer]) -> None:
    made, _ = run
    stage = made.stage(1, "instruct")
    of = {one.id: one.text for one in proposals(made, 1)}
    instances = {of[one.instruction]: one for one in stage.read(Instance)}
    assert {text[:6]: (one.input, one.output, one.reason) for text, one in instances.items()} == {
        "Name t": ("", "", filters.NO_FORM),
        "Explai": ("", "It was late, and they both laughed.", filters.KEPT),
        "Decide": ("a ripe pear", "sweet", filters.KEPT),
        "Tell a": ("", "It was late, and they both laughed.", filters.KEPT),
    }
    rows = {one.prompt: one for one in stage.read(Example)}
    row = rows["Decide whether the fruit is sweet.\n\na ripe pear"]
    assert (row.completion, row.group, row.origin) == (" sweet", "classification", "instructed")
    assert len(rows) == 3 and row.parents[0] == instances["Decide whether the fruit is sweet."].id


def test_a_generated_instruction_that_is_held_out_is_never_trained(run: tuple[RunFolder, Proposer]) -> None:
    made, _ = run
    rows = {one.id: one for one in made.stage(1, "instruct").read(Example)}
    [leak] = [one for one in rows.values() if one.prompt == HELD_OUT]
    [overlap] = made.stage(1, "sft").read(Overlap)
    assert overlap.parents[0] == leak.id and overlap.dropped
    [checkpoint] = made.stage(1, "sft").read(Checkpoint)
    assert set(checkpoint.parents) & rows.keys() == rows.keys() - {leak.id}
    assert {one.question for one in made.stage(0, "problems").read(Problem)} <= {
        HELD_OUT,
        f"{HELD_OUT[:-1]} of a mill.",
    }
    assert made.stage(1, "evaluate").read(Rationale)


def test_a_later_round_compares_with_all_that_was_kept_before(run: tuple[RunFolder, Proposer]) -> None:
    made, _ = run
    reasons = Counter(one.reason for one in proposals(made, 2))
    assert reasons == {filters.KEPT: 1, filters.ALIKE: 5, filters.NO_TEXT: 2}
    assert len(made.stage(2, "instruct").read(Example)) == 1


def test_the_funnel_is_told_in_status_and_to_trackers(
    run: tuple[RunFolder, Proposer], capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = run
    manifest = made.stage(1, "instruct").manifest()
    assert manifest is not None
    found = manifest.metrics["instructions"]
    assert (found["proposed"], found["kept"], found["instances kept"], found["classifications"]) == (8, 4, 3, 1)
    assert found["proposed"] == found["kept"] + sum(found["turned away"].values())
    assert found["common"] == [["name", "months", 1], ["tell", "story", 1]]
    print_status(made)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Tasks of its own" in printed and "2 too short" in printed


def test_it_stops_once_enough_is_kept_and_says_what_does_not_fit(
    run: tuple[RunFolder, Proposer], tmp_path: Path
) -> None:
    made, _ = run
    recipe = str(made.path.parent / "own-tasks.yaml")
    few = RunFolder(tmp_path / "few")
    with pytest.raises(TrainingError, match="nothing to train on"):  # its one instance is not of the form
        run_loop(load_recipe(recipe, ["instruct.keep=1", "rounds=1"]), few, load=lambda *_: Proposer())
    assert Counter(one.reason for one in proposals(few, 1)) == {
        filters.KEPT: 1,
        filters.NO_TEXT: 1,
        filters.ALIKE: 1,
        filters.ENOUGH: 1,
    }
    with pytest.raises(RecipeError, match=r"'instruct.own: 9' is more than"):
        load_recipe(recipe, ["instruct.own=9"])
    with pytest.raises(RecipeError, match="no seeds 'none'"):
        run_loop(load_recipe(recipe, ["instruct.seeds=none"]), RunFolder(tmp_path / "none"), load=lambda *_: Proposer())


def test_the_report_shows_what_became_of_the_proposals(run: tuple[RunFolder, Proposer], tmp_path: Path) -> None:
    made, _ = run
    write_report(made, tmp_path / "report.html", tmp_path)
    page = (tmp_path / "report.html").read_text()
    section = page[page.index("Tasks of its own") :]
    assert "like another one" in section and "the output repeats" not in section
    assert "How different the texts are" in section and section.count("data:image/svg+xml") >= 2
    told = to_json(made)
    assert told["instructions"][1]["kept"] == 4 and told["texts"].keys() == {1, 2}
