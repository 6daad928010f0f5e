"""Hostile texts get a verdict within the limits, are never right, and nothing in them is run."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from builders import make_problem, make_rationale
from growth import cpu_seconds, slowness
from hostile import CORPUS, Hostile

from selfimprove.recipe.task_settings import Limits, ReasoningGymTask, VerifierSettings
from selfimprove.records import Problem, Verdict, replace_surrogates
from selfimprove.verifiers.addition import AdditionVerifier
from selfimprove.verifiers.base import MAX_TEXT, Verifier
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.gym import GymVerifier
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.reference import MathVerifyVerifier
from selfimprove.verifiers.steps import check_steps
from selfimprove.verifiers.text import TextVerifier
from selfimprove.verifiers.workers import Judged, VerifierPool

LIMITS = Limits(cpu_seconds=1, wall_seconds=10, memory_mb=256)
CPU_SECONDS = 0.5  # the slowest take 0.35 for 50,000 characters, on a machine whose `slowness` is 1
MEMORY = 100 << 20  # the caches of extraction may hold some hundred texts
KINDS = list(dict.fromkeys(one.kind for one in CORPUS))
INJECTIONS = ("python", "code", "tex code")
MATH = MathVerifier(VerifierSettings(name="math"))
REFERENCE = MathVerifyVerifier(VerifierSettings(name="math-verify"))
GYM = GymVerifier(VerifierSettings(name="reasoning_gym", gym=ReasoningGymTask(name="reasoning_gym/leg_counting")))
CHOICE = ChoiceVerifier(VerifierSettings(name="choice"))
OWN: list[tuple[Verifier, Problem]] = [
    (MATH, make_problem("How many legs do 3 cats have?")),
    (CHOICE, make_problem("Which?", "B", options=("yes", "no", "a bank", "the bank"))),
    (CHOICE, make_problem("Sort: no yes", "yes no")),
    (TextVerifier(VerifierSettings(name="text")), make_problem()),
    (AdditionVerifier(VerifierSettings(name="addition")), make_problem("12+34=", "46")),
]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Callable[[Hostile], str]]:
    """Aims injections at a file and a listening port; afterwards neither may have been touched."""
    canary, environment = tmp_path / "canary", dict(os.environ)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        yield lambda one: one.aimed(str(canary), port)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not canary.exists()
    # pytest keeps the name of the running test there
    changed = {key for key in {*environment, *os.environ} if environment.get(key) != os.environ.get(key)}
    assert changed <= {"PYTEST_CURRENT_TEST"}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def judged(verifier: Verifier, corpus: tuple[Hostile, ...], aim: Callable[[Hostile], str]) -> Iterator[Judged]:
    for one in corpus:
        text = aim(one)
        problem = make_problem("How many?", one.gold)
        yield verifier, problem, make_rationale(problem, text, answer=verifier.extract_answer(text, problem))


def check_pool(verifier: Verifier, corpus: tuple[Hostile, ...], aim: Callable[[Hostile], str]) -> list[Verdict]:
    """Judge a corpus, and check what holds for every verifier."""
    before, start = resident(), time.monotonic()
    expected = []

    def given() -> Iterator[Judged]:
        for one in judged(verifier, corpus, aim):
            expected.append(one[2].id)
            yield one

    with VerifierPool(workers=2, limits=LIMITS) as pool:
        verdicts = list(pool.verify_all(given()))
    assert resident() - before < MEMORY
    assert time.monotonic() - start < 10 + 2 * LIMITS.cpu_seconds * len(corpus)
    assert [verdict.rationale for verdict in verdicts] == expected
    assert all("\n" not in verdict.reason and len(verdict.reason) < 1500 for verdict in verdicts)
    return verdicts


def wrongly_correct(corpus: tuple[Hostile, ...], verdicts: list[Verdict]) -> list[str]:
    return [
        f"{one.name}: {one.text[:80]!a} for {one.gold}: {verdict.reason}"
        for one, verdict in zip(corpus, verdicts, strict=True)
        if (verdict.outcome == "correct") != one.right
    ]


def choose(step: int) -> tuple[Hostile, ...]:
    """Every injection and control, and a share of the rest; of what takes CPU a smaller one."""
    heavy = {"hard": 3 * step, "power": 2 * step, "factorial": 2 * step, "latex": step, "regex": step, "huge": step}
    return tuple(
        one
        for at, one in enumerate(CORPUS)
        if one.kind in (*INJECTIONS, "control") or at % heavy.get(one.kind, step // 2 or 1) == 0
    )


def test_the_corpus_is_large_and_has_no_text_twice() -> None:
    assert len(CORPUS) >= 300
    assert len({one.text for one in CORPUS}) == len({one.name for one in CORPUS}) == len(CORPUS)
    assert all(len(one.text) == one.size for one in CORPUS)


def test_math_gives_hostile_texts_a_verdict_that_is_not_correct(target: Callable[[Hostile], str]) -> None:
    corpus = choose(8)
    assert wrongly_correct(corpus, check_pool(MATH, corpus, target)) == []


@pytest.mark.long
@pytest.mark.parametrize("verifier", [MATH, REFERENCE], ids=lambda one: one.name)
def test_the_whole_corpus_gets_verdicts(verifier: Verifier, target: Callable[[Hostile], str]) -> None:
    corpus = CORPUS if verifier is MATH else choose(8)  # what takes math-verify long is cut off in any of its texts
    verdicts = check_pool(verifier, corpus, target)
    if verifier is MATH:
        assert wrongly_correct(corpus, verdicts) == []
    # math-verify takes the last number of any text, so only what running code would give is never right.
    injected = [at for at, one in enumerate(corpus) if one.kind in INJECTIONS]
    assert [corpus[at].name for at in injected if verdicts[at].outcome == "correct"] == []


def test_one_verdict_takes_no_more_than_its_limits(target: Callable[[Hostile], str]) -> None:
    sample = tuple(one for one in CORPUS if one.kind in ("hard", "power", "latex", "factorial"))[::20]
    with VerifierPool(workers=2, limits=LIMITS) as pool:
        warm = list(judged(REFERENCE, CORPUS[-1:], target))
        list(pool.verify_all(warm))
        for verifier, problem, rationale in judged(REFERENCE, sample, target):
            start = time.monotonic()
            verdict = pool.submit(verifier, problem=problem, rationale=rationale).result()
            assert time.monotonic() - start < LIMITS.wall_seconds, rationale.text[:80]
            assert verdict.outcome != "correct"


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])  # texts of a kind
@pytest.mark.parametrize("kind", KINDS)
def test_code_of_our_own_is_fast_and_raises_nothing(kind: str, every: int, target: Callable[[Hostile], str]) -> None:
    found = []
    for one in [one for one in CORPUS if one.kind == kind][::every]:
        text = target(one)
        calls: list[tuple[str, Callable[[], object]]] = [
            ("gym", partial(GYM.extract_answer, text, make_problem())),
            *((verifier.name, partial(judge, verifier, text, problem)) for verifier, problem in OWN),
        ]
        for name, call in calls:
            try:
                # More looks where it was slow: other work on the machine only adds.
                seconds = next((took for _ in range(5) if (took := cpu_seconds(call)) <= CPU_SECONDS), None)
                seconds = cpu_seconds(call) if seconds is None else seconds
            except Exception as error:  # the table of all failures says more than the first
                found.append(f"{one.name} {name}: {type(error).__name__}: {error}"[:200])
                continue
            if seconds > CPU_SECONDS and seconds > CPU_SECONDS * slowness():
                found.append(f"{one.name} {name}: {seconds:.2f} s of CPU time, {one.size} characters")
    assert found == []


def judge(verifier: Verifier, text: str, problem: Problem) -> Verdict | None:
    """Extraction, and what can be said without a worker."""
    answer = verifier.extract_answer(text, problem)
    assert len(text) <= MAX_TEXT or answer is None
    verdict = verifier.quick(problem=problem, rationale=make_rationale(problem, text, answer=answer))
    if verdict is None:
        check_steps(text, problem.question)  # which comes with any verdict on mathematics
    return verdict


def test_lone_surrogates_are_replaced_before_a_text_is_judged() -> None:
    with VerifierPool(limits=LIMITS) as pool:
        for text in ("\ud800", "#### \udfff7", "7\ud83d", "\udc00\ud800 8", "\ud800" * 40_000 + "9"):
            plain = replace_surrogates(text)
            assert "\ufffd" in plain and len(plain) == len(text)
            plain.encode()
            problem = make_problem("How many?", "7")
            rationale = make_rationale(problem, plain, answer=MATH.extract_answer(plain, problem))
            verdict = pool.verify(MATH, problem=problem, rationale=rationale)
            assert verdict.outcome != "correct" or plain.endswith("�7"), text[:20]


def test_addition_keeps_no_long_texts() -> None:
    """A cache of verdicts may not grow with what models write."""
    verifier, problem = AdditionVerifier(VerifierSettings(name="addition")), make_problem("1+2=", "3")
    before = resident()
    for number in range(8):
        verifier.verify(problem=problem, rationale=make_rationale(problem, str(number) + "\n" * 40_000))
    assert resident() - before < MEMORY
