"""The stage `propose`: problems of the model's own, what is turned away, and what the votes on them train."""

import json
import re
import string
from collections import Counter

import pytest

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import RecipeError
from selfimprove.prompting import instruction_filters as filters
from selfimprove.recipe import Build
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Decision, Example, Frontier, Instruction, Problem, Rationale, Vote
from selfimprove.results.status import print_status
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

GIVEN = [f"Ann has {one} apples and eats {other}. How many are left?" for one, other in ((9, 2), (8, 5), (7, 1))]
HELD_OUT = "A bus with 30 seats carries 12 people. How many seats are free?"
HARD = "A farmer sells 3 of 14 goats at a market and buys 5 sheep. How many animals has he now?"
EASY = "Tom had 4 marbles and lost 1 of them. How many does he have today?"
FAIR = "Six boats carry 7 sailors each. How many sailors are at sea in all boats?"
PROPOSED = [
    f" {FAIR}\n5. {EASY}\n6. Ann has 9 apples and eats 3. How many are left?\n7. Why is the sky blue?",
    f" {HARD}\n5. What is 3 + 4? The answer is 7.\n6. {HELD_OUT}\n7. First, add 30 and 12 to get all seats.",
    f" {FAIR}\n5. Two dogs and 3 cats. How many",
    " A jar of 90 beans loses 8 of them each day. How many beans are in it after 2 days?",
]
RECIPE = """
name: own-problems
rounds: 2
model: {path: model, device: cpu}
train: {name: jsonl, path: given.jsonl, evaluate_path: held.jsonl}
prompt: {question: "Q: {question}\\nA:"}
engine: {threads: 1}
flow: [frontier, propose, generate, verify, select, sft, evaluate, promote]
stages:
  frontier: {problems: 3, policy: all}
  propose: {keep: 9, most: 2, at_once: 1, shown: 3, own: 1, wanted: 4}
  generate: {samples: 4, temperature: 1.0, max_tokens: 40}
  select: {vote: {share: 0.5, votes: 2, most: 0.8}, pool: cumulative}
  sft: {steps: 1, batch_size: 2, fewest: 1, max_length: 400}
  evaluate: {max_tokens: 8}
  promote: {rule: always}
"""


class Proposer(ScriptedEngine):
    """Proposes what is next, and gives each problem answers that agree to a degree of its own."""

    def __init__(self) -> None:
        super().__init__(self.say)
        self.lists: list[str] = []
        self.asked: Counter[str] = Counter()

    def say(self, prompt: str, seed: int) -> str:
        if re.search(r"\n4\.$", prompt):
            self.lists.append(prompt)
            return PROPOSED[len(self.lists) - 1]
        question = prompt.removeprefix("Q: ").removesuffix("\nA:")
        self.asked[question] += 1
        at = self.asked[question] % 4
        answer = {EASY: 3, HARD: at, FAIR: 42 if at else 41}.get(question, 7 + at)
        return f" We get {answer}. The answer is {answer}."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Proposer]:
    folder = tmp_path_factory.mktemp("propose")
    for name, rows in {"given": [*zip(GIVEN, (7, 3, 6), strict=True)], "held": [(HELD_OUT, 18)]}.items():
        lines = (json.dumps({"question": question, "answer": str(answer)}) for question, answer in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    shape = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, alphabet=string.printable)
    build_model(shape, folder / "model", seed=1)
    (folder / "own-problems.yaml").write_text(RECIPE)
    made, proposer = RunFolder(folder / "run"), Proposer()
    run_loop(load_recipe(str(folder / "own-problems.yaml"), []), made, load=lambda *_: proposer)
    return made, proposer


def test_each_proposal_has_its_reason_and_its_nearest_problem(run: tuple[RunFolder, Proposer]) -> None:
    made, proposer = run
    found = {one.text: one for one in made.stage(1, "propose").read(Instruction)}
    assert {text: one.reason for text, one in found.items()} == {
        FAIR: filters.KEPT,
        EASY: filters.KEPT,
        "Ann has 9 apples and eats 3. How many are left?": filters.ALIKE,
        "Why is the sky blue?": filters.NO_NUMBER,
        HARD: filters.KEPT,
        "What is 3 + 4? The answer is 7.": filters.HAS_ANSWER,
        HELD_OUT: filters.HELD_OUT,
        "First, add 30 and 12 to get all seats.": filters.NO_QUESTION,
    }
    assert found["Ann has 9 apples and eats 3. How many are left?"].nearest == GIVEN[0]
    again = {one.text: one.reason for one in made.stage(2, "propose").read(Instruction)}
    assert again[FAIR] == filters.ALIKE, "what was kept in an earlier round is proposed no more"
    given = {one.id for one in made.stage(1, "frontier").read(Problem)}
    assert set(found[FAIR].parents[1:]) == given
    assert all(one in proposer.lists[0] for one in GIVEN) and FAIR not in proposer.lists[0]


def test_what_asks_nothing_is_no_problem() -> None:
    """As a small chat model went on with a list of problems."""

    def why(text: str, *, questions: bool = True) -> str:
        return filters.why_not_problem(text, numbers=True, questions=questions, begin="Continue the list.")

    for text in (
        "1. 29 inches of snow = 29 inches, so 1 bucket = 29 inches x 2",
        "5. First, find the final number of apples Jake ate at the end of the last problem.",
        "To solve this problem, first, consider the given information: a school bus with 3,000 seats.",
    ):
        assert why(text) == filters.NO_QUESTION and not why(text, questions=False)
    for text in ("Find the sum of 3 and 4.", "Ann has 3 pens. \u201cHow many?\u201d", "小明有3个苹果，一共有多少个？"):
        assert not why(text)


def test_votes_say_what_can_be_solved_and_what_is_too_easy(run: tuple[RunFolder, Proposer]) -> None:
    made, _ = run
    problems = {one.id: one for one in made.stage(1, "propose").read(Problem)}
    assert {one.question for one in problems.values()} == {FAIR, EASY, HARD}
    assert all(one.answer is None and one.task == "jsonl" for one in problems.values())
    answers = {problems[one.problem].question: one.answer for one in made.stage(1, "verify").read(Vote)}
    assert answers[FAIR] == "42" and answers[EASY] == "3"
    of = {one.id: problems[one.problem].question for one in made.stage(1, "generate").read(Rationale)
          if one.problem in problems}  # fmt: skip
    reasons: dict[str, Counter[str]] = {}
    for one in made.stage(1, "select").read(Decision):
        if one.rationale in of:
            reasons.setdefault(of[one.rationale], Counter())[one.reason.partition(":")[0]] += 1
    assert reasons[FAIR] == {"kept by vote": 1, "duplicate of an example that is trained already": 2, "outvoted": 1}
    assert reasons[EASY] == {"too easy": 4} and reasons[HARD] == {"no majority": 4}
    [row] = [one for one in made.stage(1, "select").read(Example) if FAIR in one.prompt]
    assert row.completion.endswith("The answer is 42.") and row.group == "proposed"


def test_the_next_round_goes_on_with_them_and_status_tells(
    run: tuple[RunFolder, Proposer], capsys: pytest.CaptureFixture[str]
) -> None:
    made, proposer = run
    assert {one.group for one in made.stage(2, "frontier").read(Frontier)} == {"level 0"}
    assert any(one in proposer.lists[2] for one in (FAIR, EASY, HARD)), "one of its own is shown in the second round"
    print_status(made)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Tasks of its own" in printed and "1 holds no number" in printed


def test_a_recipe_that_would_train_none_of_them_says_so(run: tuple[RunFolder, Proposer]) -> None:
    recipe = str(run[0].path.parent / "own-problems.yaml")
    with pytest.raises(RecipeError, match=r"nobody knows the answers of proposed problems.*'select\.vote=\{\}'"):
        load_recipe(recipe, ["select.vote=null"])
    with pytest.raises(RecipeError, match=r"'propose.own: 9' is more than 'propose.shown'"):
        load_recipe(recipe, ["propose.own=9"])
