"""Trying again from the last right step."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from builders import make_problem, make_rationale
from forced import Forced
from small import record_ids, small_recipe

from selfimprove.engines import ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Checkpoint, Decision, Preference, Rationale, Verdict
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Report, Silent
from selfimprove.running.session import Session
from selfimprove.stages.repair import find_beginnings, right_part
from selfimprove.store import RunFolder
from selfimprove.tasks.addition import parse_addition, write_rationale
from selfimprove.verifiers import make_verifier

PROBLEM = make_problem("14+27=", "41")
RIGHT = write_rationale(14, 27)


def judge(text: str) -> tuple[Rationale, Verdict]:
    verifier = make_verifier(VerifierSettings(name="addition"))
    rationale = make_rationale(PROBLEM, text, answer=verifier.extract_answer(text, PROBLEM))
    return rationale, verifier.verify(problem=PROBLEM, rationale=rationale)


def test_the_right_part_ends_before_the_first_wrong_step() -> None:
    lines = RIGHT.split("\n")
    wrong = "\n".join([lines[0], lines[1].replace("=04", "=05"), *lines[2:]])
    assert right_part(wrong, judge(wrong)[1]) == lines[0] + "\n"
    assert right_part(RIGHT, judge(RIGHT)[1]) == ""
    first = "9" + RIGHT[1:]
    assert right_part(first, judge(first)[1]) == ""


def test_the_longest_right_part_of_a_problem_is_taken() -> None:
    lines = RIGHT.split("\n")
    texts = ["\n".join([*lines[:at], "nothing", *lines[at + 1 :]]) for at in (1, 2, 0)]
    judged = [judge(text) for text in texts]
    found = find_beginnings(judged)
    assert found[PROBLEM.id].text == "\n".join(lines[:2]) + "\n"
    assert found[PROBLEM.id].rationale == judged[1][0].id


def test_of_wrong_equations_the_left_side_that_most_samples_have_can_be_kept() -> None:
    problem = make_problem("Tom had 16 balloons. He gave 4 away. How many does he still have?", "12")
    verifier = make_verifier(VerifierSettings(name="math"))

    def check(text: str) -> tuple[Rationale, Verdict]:
        rationale = make_rationale(problem, text, answer=verifier.extract_answer(text, problem))
        return rationale, verifier.verify(problem=problem, rationale=rationale)

    texts = ["16 balloons + 4 balloons = 21 balloons. The answer is 21.", "16 - 4 = 9. The answer is 9.",
             "16 - 4 = 11. The answer is 11.", "He gave 4 away. The answer is 4."]  # fmt: skip
    judged = [check(text) for text in texts]
    assert find_beginnings(judged) == {}  # the first step is the wrong one
    (found,) = find_beginnings(judged, keep_left=True, voted=True).values()
    assert (found.rationale, found.text, found.wrong.strip(" .")) == (judged[1][0].id, "16 - 4 =", "9")
    (found,) = find_beginnings([check("16 - 4 = 12. 12 - 4 = 8. 8 + 1 = 7. The answer is 7.")], keep_left=True).values()
    assert found.text == "16 - 4 = 12. 12 - 4 = 8. 8 + 1 ="


class Miscounts(ScriptedEngine):
    """Knows what to add up in each column, and comes to a wrong result unless it is forced to the right one."""

    def __init__(self) -> None:
        super().__init__(self.go_on)

    def go_on(self, prompt: str, seed: int) -> str:
        whole, given = self.read(prompt)
        if not whole.startswith(given) or given.endswith("="):
            return "99\n#0"
        ahead = whole.removeprefix(given)
        left, equals, _ = ahead.partition("=")
        return f"{left}=99\n#0" if equals else ahead

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        found = []
        for prompt, wrong in pairs:
            whole, given = self.read(prompt)
            assert given.endswith("=") and wrong == "99"
            found.append(["98", "97", whole.removeprefix(given).partition("\n")[0]][:most])
        return found

    @staticmethod
    def read(prompt: str) -> tuple[str, str]:
        question, _, given = prompt.partition("=")
        operands = parse_addition(question.rpartition("?")[2])
        assert operands is not None
        return write_rationale(*map(int, operands)), given


def test_from_a_kept_left_side_forced_results_lead_to_the_next_equation(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, "rounds=1", "rationalize=null", "sft={steps: 1, fewest: 1}", "warmup.steps=1",
                          "repair={keep_left: true, samples: 1, explore: 3, depth: 3}")  # fmt: skip
    run = RunFolder(tmp_path / "run")
    run_loop(recipe, run, load=lambda *_: Miscounts())
    written = {one.id: one for one in run.stage(1, "repair").read(Rationale)}
    right = [written[one.rationale] for one in run.stage(1, "repair").read(Verdict) if one.outcome == "correct"]
    assert {one.problem for one in right} == {one.problem for one in written.values()}
    # The right way is the third each time: of sums of two columns by the sample 6, of three by 9. Most of the texts on
    # the way there have the left side that they were forced from, which is no reason to stay at it.
    assert {one.sample for one in right} == {6, 9}


def miscounts(checkpoint: Checkpoint, session: Session) -> ScriptedEngine:
    """Knows what to add up in each column, and comes to a wrong result unless that is all that it is asked for."""

    def write(prompt: str, seed: int) -> str:
        question, _, given = prompt.partition("=")
        operands = parse_addition(question.rpartition("?")[2])
        assert operands is not None
        whole = write_rationale(*map(int, operands))
        if given:
            return whole.removeprefix(given)
        first, *others = whole.split("\n")
        return "\n".join([first.rpartition("=")[0] + "=99", *others[:-1], "#0"])

    return ScriptedEngine(write)


@pytest.mark.parametrize("keep_left", [False, True])
def test_what_follows_a_kept_left_side_is_sampled_anew(tmp_path: Path, keep_left: bool) -> None:
    run = RunFolder(tmp_path / "run")
    recipe = small_recipe(tmp_path, "rounds=1", "rationalize=null", "sft={steps: 1, fewest: 1}", "warmup.steps=1",
                          f"repair.keep_left={keep_left}")  # fmt: skip
    run_loop(recipe, run, load=miscounts)
    repaired = run.stage(1, "repair").read(Rationale)
    assert bool(repaired) == keep_left
    assert {one.outcome for one in run.stage(1, "repair").read(Verdict)} == ({"correct"} if keep_left else set())
    samples = {one.id: one for one in run.stage(1, "generate").read(Rationale)}
    for one in repaired:
        assert one.text.startswith(samples[one.parents[2]].text.partition("=")[0] + "=")


def stumbles_once(checkpoint: Checkpoint, session: Session) -> ScriptedEngine:
    """Always wrong in the second column, and right from there on if it is given the first line."""

    def write(prompt: str, seed: int) -> str:
        question, _separator, given = prompt.rpartition("=") if prompt.endswith("=") else prompt.partition("=")
        operands = parse_addition(question.rpartition("?")[2])
        assert operands is not None
        whole = write_rationale(*map(int, operands))
        if given:
            return whole.removeprefix(given)
        lines = whole.split("\n")
        return "\n".join([lines[0], "9+9+9=99", "#0"])

    return ScriptedEngine(write)


def test_a_repaired_rationale_is_trained_whole_and_names_the_sample_it_came_from(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    pairs = ("prefer={cut: step}", "dpo={steps: 2, batch_size: 4, fewest: 1, measure: 0}")
    recipe = small_recipe(tmp_path, "rounds=1", "rationalize=null", "select.require=steps", *pairs)
    run_loop(recipe, run, load=stumbles_once)
    samples = {one.id: one for one in run.stage(1, "generate").read(Rationale)}
    repaired = run.stage(1, "repair").read(Rationale)
    assert len(repaired) == 24
    for one in repaired:
        origin = samples[one.parents[2]]
        assert one.text.split("\n")[0] == origin.text.split("\n")[0]
        assert (one.problem, one.prompt, one.origin) == (origin.problem, origin.prompt, "revised")
    verdicts = run.stage(1, "repair").read(Verdict)
    assert {(one.outcome, one.reasoning) for one in verdicts} == {("correct", "correct")}
    decisions = {one.rationale: one for one in run.stage(1, "select").read(Decision)}
    assert sum(decisions[one.id].kept for one in repaired) == 12  # two equal ones a problem
    assert not any(decisions[one].kept for one in samples)
    # Each repaired text makes a pair with the sample that it was gone on from: its right step over the wrong one.
    made = run.stage(1, "prefer").read(Preference)
    assert len(made) == 12 and {one.rejected for one in made} == {"9+9+9=99"}
    texts = {one.id: one for one in repaired}
    for one in made:
        right, wrong = texts[one.parents[0]], samples[one.parents[1]]
        begun = one.prompt.removeprefix(right.prompt)
        assert begun == wrong.text.split("\n")[0] + "\n" and right.text.startswith(begun + one.chosen)
    (sft,), (trained,) = (run.stage(1, name).read(Checkpoint) for name in ("sft", "dpo"))
    assert trained.parents == (sft.id, *(one.id for one in made)) and trained.weights != sft.weights


class Counted(Silent):
    """Keeps what is said of progress, by stage."""

    def __init__(self) -> None:
        self.said: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.stage = ""

    def begin(self, stage: PlannedStage) -> None:
        self.stage = stage.name

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.said[self.stage].append((done, total))


def explored(folder: Path, *changes: str, report: Report | None = None) -> tuple[list[Rationale], dict[str, Verdict]]:
    recipe = small_recipe(folder, "rounds=1", "rationalize=null", "sft.steps=1", "warmup.steps=1", *changes)
    run = RunFolder(folder / "run")
    run_loop(recipe, run, load=lambda *_: Forced(), report=report or Silent())
    stage = run.stage(1, "repair")
    return stage.read(Rationale), {one.rationale: one for one in stage.read(Verdict)}


def test_where_sampling_fails_too_the_likeliest_departures_from_the_wrong_step_are_forced(tmp_path: Path) -> None:
    written, verdicts = explored(tmp_path, "repair.explore=2", "repair.samples=1")
    right = [one for one in written if verdicts[one.id].outcome == "correct"]
    assert right and all(one.sample >= 1 for one in right) and {one.temperature for one in right} == {0.0}
    by_problem = {one.problem for one in written}
    assert {one.problem for one in right} == by_problem
    # The samples have the first numbers, and a second wrong step is left from where the first departure came to.
    numbers = {one.problem: sorted(each.sample for each in written if each.problem == one.problem) for one in written}
    assert {tuple(each) for each in numbers.values()} <= {(0, 1, 2), (0, 1, 2, 3, 4)}
    assert all(one.origin == "revised" for one in written)


def test_progress_never_passes_what_there_is_to_do(tmp_path: Path) -> None:
    counted = Counted()
    written, _ = explored(tmp_path, "repair.explore=2", "repair.samples=1", "repair.part_size=4", report=counted)
    said = counted.said["repair"]
    assert len(said) == len(written) and all(done <= total for done, total in said)
    problems = len({one.problem for one in written})
    assert {total for _, total in said} == {problems * (1 + 2 * 2)}
    # Each part begins where the one before has its end, even if it had less to write than there was room for.
    assert max(done for done, _ in said) > (problems - 4) * 5


class Killed(Exception):
    """The process ends here."""


class Paid(Forced):
    """Notes what it is asked where it is forced, and ends the run at the n-th such text, or as it is asked where a text
    could have gone on otherwise."""

    def __init__(self, asked: list[tuple[str, int]], at: int = 10**9) -> None:
        super().__init__()
        self.asked, self.at = asked, at

    def go_on(self, prompt: str, seed: int) -> str:
        if "=" in prompt[:-1] and not prompt.endswith("\n"):
            if len(self.asked) == self.at:
                raise Killed
            self.asked.append((prompt, seed))
        return super().go_on(prompt, seed)

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        if self.at < 0:
            raise Killed
        return super().depart(pairs, most)


def test_a_kill_among_forced_steps_changes_nothing_and_asks_for_no_text_twice(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, "rounds=1", "rationalize=null", "sft.steps=1", "warmup.steps=1", "repair.explore=2",
                          "repair.samples=1", "engine.batch_size=1")  # fmt: skip
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    theirs, ours = list[tuple[str, int]](), list[tuple[str, int]]()
    run_loop(recipe, whole, load=lambda *_: Paid(theirs))
    assert len(theirs) > 24
    for at in (-1, 3, 14, 22):
        with pytest.raises(Killed):
            run_loop(recipe, killed, load=lambda *_, at=at: Paid(ours, at))
        assert not killed.stage(1, "repair").closed and len(ours) == max(at, 0)
    run_loop(recipe, killed, load=lambda *_: Paid(ours))
    assert ours == theirs and record_ids(killed) == record_ids(whole)


def test_nothing_is_forced_unless_it_is_asked_for_and_engines_that_cannot_are_refused(tmp_path: Path) -> None:
    written, verdicts = explored(tmp_path, "repair.samples=1")
    assert written and {one.sample for one in written} == {0}
    assert all(one.outcome == "incorrect" for one in verdicts.values())
    with pytest.raises(RecipeError, match=r"'repair\.explore' needs the engine 'transformers'; 'server' cannot"):
        small_recipe(tmp_path, "repair.explore=2", "engine.name=server", "engine.server.urls=[http://127.0.0.1:1/v1]")
