"""Generated problems are judged by the scorers of their data sets, and no scorer evaluates what a model wrote."""

import ast
import inspect
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import ReasoningGymTask, VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.tasks import load_task
from selfimprove.tasks.base import PoolTask
from selfimprove.tasks.gym_data import HASHED, REFUSED
from selfimprove.tasks.reasoning_gym import load_reasoning_gym
from selfimprove.verifiers.gym import GUARDS, GymVerifier, is_safe
from selfimprove.verifiers.workers import VerifierPool

gym = pytest.importorskip("reasoning_gym")
from reasoning_gym.factory import DATASETS  # noqa: E402

# Their scorers accept any answer that fits, and they give none of their own.
WITHOUT_ANSWER = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}


@pytest.fixture(autouse=True)
def _fixed_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")


def settings(name: str, **changes: Any) -> ReasoningGymTask:
    return ReasoningGymTask.model_validate({"name": f"reasoning_gym/{name}", "held_out": 2, "limit": 3, **changes})


def verifier(name: str, *, stated: bool = False, **changes: Any) -> GymVerifier:
    return GymVerifier(VerifierSettings(name="reasoning_gym", stated=stated, gym=settings(name, **changes)))


def write(problem: Problem, text: str, judge: GymVerifier) -> Rationale:
    return Rationale(
        parents=(problem.id, "checkpoint"), prompt="", text=text, answer=judge.extract_answer(text, problem),
        origin="sampled", round=0, sample=0, seed=0, temperature=1.0, top_p=1.0, tokens=1, logprob=0.0, finish="stop",
    )  # fmt: skip


def judged(problem: Problem, text: str, judge: GymVerifier) -> Verdict:
    rationale = write(problem, text, judge)
    verdict = judge.verify(problem=problem, rationale=rationale)
    assert judge.quick(problem=problem, rationale=rationale) in (None, verdict)
    return verdict


def problems(name: str, **changes: Any) -> list[Problem]:
    task = load_reasoning_gym(settings(name, **changes))
    return [*task.held_out(), *task.train()]


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - REFUSED.keys() - WITHOUT_ANSWER))
def test_the_own_answer_is_correct_and_the_scorer_agrees(name: str) -> None:
    size = {"held_out": 1, "limit": 1} if name == "knight_swap" else {}  # a second for each of its problems
    judge = verifier(name, **size)
    made = problems(name, **size)
    assert made
    for problem in made:
        for form in ("<answer>{}</answer>", "Let me see.\n{}", "#### {}", "The answer is {}"):
            verdict = judged(problem, form.format(problem.answer), judge)
            assert (verdict.outcome, form) == ("correct", form)
        own = problem.answer or ""
        if is_safe(name, own):
            assert judge._score(problem, own) == ("correct", "score 1 of 1")
        else:
            assert name == "intermediate_integration" and "Integral(" in own


@pytest.mark.parametrize("name", sorted(WITHOUT_ANSWER))
def test_a_problem_without_an_answer_is_judged_by_its_scorer(name: str) -> None:
    made = problems(name)
    assert [problem.answer for problem in made] == [None] * len(made)
    verdict = judged(made[0], "no idea", verifier(name))
    assert verdict.outcome == "incorrect"


def test_a_conclusion_of_our_own_is_correct() -> None:
    problem = next(one for one in problems("propositional_logic", limit=30) if "(" in one.question)
    judge = verifier("propositional_logic", limit=30)
    letter = next(one for one in "PQRS" if one in problem.question.split("Given:")[1])
    assert judged(problem, f"<answer>{letter} ∨ ¬{letter}</answer>", judge).reason == "score 0.25 of 1"


def test_credit_says_how_much_of_a_point_is_enough() -> None:
    problem = problems("spiral_matrix")[0]
    listed = str([int(one) for one in (problem.answer or "").split()])
    assert judged(problem, f"<answer>{listed}</answer>", verifier("spiral_matrix")).reason == "score 0.1 of 1"
    assert judged(problem, f"<answer>{listed}</answer>", verifier("spiral_matrix")).outcome == "incorrect"
    assert judged(problem, f"<answer>{listed}</answer>", verifier("spiral_matrix", credit=0.1)).outcome == "correct"


def test_the_scorer_works_inside_a_worker() -> None:
    judge = verifier("chain_sum")
    problem = problems("chain_sum")[0]
    answer = str(problem.answer)
    with VerifierPool(workers=1) as pool:
        outcomes = [
            pool.verify(judge, problem=problem, rationale=write(problem, f"The answer is {text}", judge)).outcome
            for text in (answer, f"{answer}.0", "12345678")
        ]
    assert outcomes == ["correct", "correct", "incorrect"]


def test_another_way_to_write_an_answer_needs_the_scorer() -> None:
    problem, judge = problems("countdown")[0], verifier("countdown")
    text = f"<answer>({problem.answer})</answer>"
    assert judge.quick(problem=problem, rationale=write(problem, text, judge)) is None
    assert judged(problem, text, judge).outcome == "correct"
    assert judged(problem, "<answer>1 + 1</answer>", judge).reason == "score 0.05 of 1"
    other = problem.model_copy(update={"question": "What else?"})
    assert judged(other, text, judge).outcome == "undecided"


EXTRACTED = [
    # text, the answer, and the answer where it must be announced
    ("<answer>7</answer>", "7", "7"),
    ("<answer>1</answer> no <answer> 2 </answer> so", "2", "2"),
    (r"\boxed{7} is it", "7", "7"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", r"\frac{1}{2}"),
    ("#### 7\nas said", "7", "7"),
    ("The answer is 7.", "7", "7"),
    ("The answer is: 7\n\nQ: 8", "7", "7"),
    ("So\n7\n\n", "7", None),
    ("```\n7\n```", "7", None),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "found", "stated"), EXTRACTED)
def test_an_answer_is_extracted(text: str, found: str | None, stated: str | None) -> None:
    one = Problem(question="?", answer="7", task="reasoning_gym/leg_counting")
    assert verifier("leg_counting").extract_answer(text, one) == found
    assert verifier("leg_counting", stated=True).extract_answer(text, one) == stated


def test_an_answer_has_as_many_lines_as_the_expected_one() -> None:
    one = Problem(question="?", answer="1 2\n3 4", task="reasoning_gym/rotate_matrix")
    judge = verifier("rotate_matrix")
    for text in ("So:\n1 2\n3 4\n", "#### 1 2\n3 4", "The answer is:\n1 2\n3 4", "<answer>\n1 2\n3 4\n</answer>",
                 "<answer>\n```\n1 2\n3 4\n```\n</answer>"):  # fmt: skip
        assert judge.extract_answer(text, one) == "1 2\n3 4"


# -- nothing that a model wrote is evaluated

DANGEROUS = {"eval", "exec", "compile", "parse_expr", "sympify", "literal_eval", "lambdify", "__import__", "S"}


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr
        elif isinstance(node, ast.Name) and node.id in DANGEROUS:  # handed on, as in map(eval, …)
            yield node.id


def functions() -> dict[str, dict[str, list[ast.AST]]]:
    """The functions of each file of the package by their names; methods of all classes together."""
    root = Path(gym.__file__).parent
    found: dict[str, dict[str, list[ast.AST]]] = {}
    for path in root.rglob("*.py"):
        names: dict[str, list[ast.AST]] = found.setdefault(str(path), {})
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                names.setdefault(node.name, []).append(node)
    return found


def reaches(start: str, file: str, known: dict[str, dict[str, list[ast.AST]]]) -> set[str]:
    """The dangerous names that a function may call, through any function with the name of one that it calls."""
    everywhere: dict[str, list[tuple[str, ast.AST]]] = {}
    for path, names in known.items():
        for name, nodes in names.items():
            everywhere.setdefault(name, []).extend((path, node) for node in nodes)
    todo, seen, dangers = [(file, node) for node in known[file].get(start, [])], set(), set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for name in called(node):
            if name in DANGEROUS:
                dangers.add(name)
            elif name != start:
                todo += [(path, one) for one in known[path].get(name, [])] or everywhere.get(name, [])
    return dangers


@pytest.mark.long
def test_each_scorer_that_can_evaluate_is_guarded() -> None:
    known = functions()
    found = set()
    for name, (data, _) in DATASETS.items():
        file = inspect.getsourcefile(sys.modules[data.score_answer.__module__])
        assert file in known
        if reaches("score_answer", str(file), known):
            found.add(name)
    assert found >= {"countdown", "puzzle24", "simple_integration", "n_queens", "bitwise_arithmetic"}
    assert found <= GUARDS.keys() | REFUSED.keys(), "not guarded"


ATTACKS = [
    "__import__('os').system('touch {}')", "[__import__('os').system('touch {}')]", "open('{}', 'w')",
    "[open('{}', 'w')]", "().__class__.__base__.__subclasses__()", "exec('open(\"{}\", \"w\")')",
    "sympify(\"open('{}','w')\")", "[x for x in [open('{}', 'w')]]", "1 + open('{}','w').write('1')",
    "x**open('{}', 'w').write('x')", "Symbol('x').__class__", "lambda: open('{}', 'w')",
    "'+str(open('{}', 'w'))+'", "f'{{open(\"{}\", \"w\")}}'", "['A', open('{}', 'w')]", "0x1 if open('{}','w') else 2",
    "1\nopen('{}', 'w')", "[['Q', '_'], open('{}', 'w')]", "S(\"open('{}','w')\")", "ｏｐｅｎ('{}', 'w')", "𝐞𝐱𝐞𝐜('1')",
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_an_attack_is_not_evaluated(name: str, tmp_path: Path) -> None:
    file = tmp_path / "made"
    problem, judge = problems(name)[0], verifier(name)
    for attack in ATTACKS:
        code = attack.format(file)
        for text in (code, f"<answer>{code}</answer>", f"#### {code}", f"The answer is {code}"):
            assert judged(problem, text, judge).outcome == "incorrect"
        assert not is_safe(name, code), code
        assert not file.exists(), code


def test_an_attack_would_work_without_the_guard(tmp_path: Path) -> None:
    """The attacks are real: the package's own scorer runs them."""
    file = tmp_path / "made"
    data = gym.create_dataset("spiral_matrix", size=1, seed=0)
    data.score_answer(f"[open({str(file)!r}, 'w')]", data[0])
    assert file.exists()


COSTLY = [
    "9**9**9", "(9**99)**99", "((9**99)**99)**99", "((x**99)**99)**99", "x**(9**9)", "x**999", "2**(99999999)",
    "9" * 99, "9" * 20 + "+1", "(" * 100 + "1" + ")" * 100, "x**2**3", "x ** 2 ** 3", "exp(x)(x)", "x**-1**99",
    "factorial(9999)", "Integral(x, x)", "sin.x", "x_y", "x;y", "x=1", "1" + "+1" * 4000, "E**9**9",
    "x**9 9", "(1", "1//2", "x.x", "'x'", "x @ x", "x!", "lambda", "x if x else x", "{x}", "[x]", "P∧" * 5000,
    "Q" * 999, "PP∧PQ", "())(",
]  # fmt: skip


@pytest.mark.parametrize("name", ["countdown", "puzzle24", "polynomial_multiplication"])
@pytest.mark.parametrize("answer", COSTLY, ids=lambda text: text[:12])
def test_a_costly_answer_is_not_evaluated(name: str, answer: str) -> None:
    assert not is_safe(name, answer)


@pytest.mark.parametrize(
    "answer",
    ["9**9**9", "((9**99)**99)**99", "((x**99)**99)**99", "x**(9**9)", "x**999", "2**(99999999)", "9" * 99, "E**9**9",
     "factorial(99)", "Integral(x, x)", "Symbol(x)", "x.x", "sin.x", "x_y", "exp (x", "E(x)", "C(x)", "xx", "sinx(x)"],
)  # fmt: skip
def test_a_costly_integral_is_not_evaluated(answer: str) -> None:
    assert not is_safe("simple_integration", answer)
    assert not is_safe("intermediate_integration", answer)


ALLOWED = [
    ("countdown", "49*(85 - 1)/14 - 42 - 73"),
    ("puzzle24", "(1 + 2 + 5)*3"),
    ("polynomial_multiplication", "-701220*x**7 - 90480*x**6 + 12*x*y - 3"),
    ("simple_integration", "-9*x**8/10 + 3*x**4/2 + C"),
    ("intermediate_integration", "2*(-10*x - 10)**(3/2)/3 + C"),
    ("intermediate_integration", "x*asin(3*x) + sqrt(1 - 9*x**2)/3 + C"),
    ("intermediate_integration", "E**(2*X)*sin(X)**3 + exp(x) - log(x) + C"),
    ("propositional_logic", "¬(P ∧ Q) → (R ↔ S)"),
    ("bitwise_arithmetic", "-0x94b47bf"),
    ("string_insertion", "['A', 'B']"),
    ("spiral_matrix", "[1, 2, 3]"),
    ("binary_matrix", "[[0, 1], [1, 0]]"),
    ("n_queens", "[['Q', '_'], ['_', 'Q']]"),
    ("number_sorting", "['-87.0', '19.0']"),
    ("leg_counting", "anything"),
]


@pytest.mark.parametrize(("name", "answer"), ALLOWED)
def test_an_answer_of_the_data_set_is_scored(name: str, answer: str) -> None:
    assert is_safe(name, answer)


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_a_long_answer_is_looked_at_quickly(name: str) -> None:
    started = time.process_time()
    for text in ("1 " * 2000, "(" * 4000, "x" * 4000, "[1, " * 1000, "['A', " * 600, "x**2 + " * 570, "1" * 50_000):
        is_safe(name, text)
        is_safe(name, text + "!")
    assert time.process_time() - started < 0.5


# -- the task


def test_the_first_entries_are_held_out_and_questions_are_unique() -> None:
    task = load_task(settings("leg_counting", held_out=5, limit=20, config={"min_animals": 2, "max_animals": 2}))
    assert isinstance(task, PoolTask)
    longer = load_reasoning_gym(
        settings("leg_counting", held_out=5, limit=40, config={"min_animals": 2, "max_animals": 2})
    )
    assert [one.question for one in task.held_out()] == [one.question for one in longer.held_out()]
    coins = load_reasoning_gym(settings("binary_alternation", held_out=50, limit=300, config={"min_n": 2, "max_n": 4}))
    asked = [one.question for one in [*coins.held_out(), *coins.train()]]
    assert len(set(asked)) == len(asked) < 350
    assert task.verifier.gym == settings(
        "leg_counting", held_out=5, limit=20, config={"min_animals": 2, "max_animals": 2}
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("leg_countin", {}, "did you mean 'leg_counting'"),
        ("composite", {}, "it mixes data sets"),
        ("codeio", {}, "running code"),
        ("leg_counting", {"config": {"animals": 3}}, "'config' is not valid"),
        ("leg_counting", {"config": {"min_animals": 9, "max_animals": 1}}, "'config' is not valid"),
        ("leg_counting", {"config": {"seed": 9}}, "use 'limit', 'held_out' and 'seed'"),
    ],
)
def test_a_mistake_is_one_line(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message) as raised:
        load_reasoning_gym(settings(name, **changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", sorted(HASHED))
def test_a_data_set_that_follows_the_hash_seed_needs_a_fixed_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED")
    with pytest.raises(TaskError, match="PYTHONHASHSEED=0"):
        load_reasoning_gym(settings(name))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(TaskError, match=r"needs the extra 'gym': pip install 'selfimprove\[gym\]'"):
        load_reasoning_gym(settings("leg_counting"))


def test_what_the_task_refuses_the_verifier_refuses() -> None:
    assert REFUSED.keys() <= DATASETS.keys()
    problem = Problem(question="?", answer="1", task="reasoning_gym/codeio")
    assert judged(problem, "1", verifier("codeio")).outcome == "undecided"
