"""Generated texts: nothing raises, nothing is slow, and what can be said twice is said the same way."""

import re
import subprocess
import sys
import time
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import pytest
from builders import make_problem, make_rationale
from hostile import CORPUS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import SUPPORT

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Verdict, replace_surrogates
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.compare import MAX_ANSWER
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.numbers import MAX_DIGITS, read_number
from selfimprove.verifiers.steps import check_steps

pytestmark = pytest.mark.long

MATH = MathVerifier(VerifierSettings(name="math"))
CHOICE = ChoiceVerifier(VerifierSettings(name="choice"))
OPTIONS = ("yes", "no", "a bank", "the bank of the river", "7")
CPU_SECONDS = 0.5
SIGNS = [*"+-*/=^!%$.,:;()[]{}<>|&#~_\\×÷·−–≈½²€ \u202e\u200b\n\t"]
FRAGMENT_WORDS = """
the answer is #### \\boxed{ \\fbox{ or and wait actually half of twice plus minus times divided by percent dozen million
hours minutes remainder r sum A B (A) option not neither choice no yes x y = 3 \\frac{1}{2} \\sqrt{ \\left( \\right)
\\text{ \\times \\cdot \\pi $ $$ \\( \\) \\[ \\] << >> -- --- 1,000 1 1/2 1e5 0.5 .5 7:30 2nd 10^{3} n't
"""
WORDS = FRAGMENT_WORDS.split()
PIECES = [one.text[:400] for one in CORPUS if one.size]
DIGITS = st.integers(0, 10**20).map(str) | st.decimals(0, 10**6, places=3).map(str)
FRAGMENTS = st.one_of(
    st.sampled_from(WORDS), st.sampled_from(SIGNS), DIGITS, st.sampled_from(PIECES), st.text(max_size=8),
    st.tuples(st.sampled_from(WORDS + SIGNS), st.integers(1, 2_000)).map(lambda pair: pair[0] * pair[1]),
)  # fmt: skip
TEXTS = (
    st.tuples(st.lists(FRAGMENTS, max_size=25), st.sampled_from(["", " ", " ", "\n"]))
    .map(lambda parts: replace_surrogates(parts[1].join(parts[0])))
    .map(lambda text: text[:50_000])
)
NUMBERS = st.fractions(-(10**12), 10**12, max_denominator=10**9)
fuzzed = settings(
    max_examples=1_200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


def judge(text: str, gold: str = "7") -> Verdict | None:
    problem = make_problem("How many legs do 3 cats have?", gold)
    return MATH.quick(
        problem=problem, rationale=make_rationale(problem, text, answer=MATH.extract_answer(text, problem))
    )


@pytest.mark.usefixtures("no_collection")
@fuzzed
@given(TEXTS)
def test_no_text_raises_or_is_slow(text: str) -> None:
    start = time.process_time()
    answer = MATH.extract_answer(text, make_problem())
    assert answer != "" and len(answer or "") <= MAX_ANSWER
    judge(text)
    for options, expected in ((OPTIONS, "B"), (OPTIONS[:2], "no"), ((), "no")):
        problem = make_problem("?", expected, options=options)
        picked = CHOICE.extract_answer(text, problem)
        CHOICE.verify(problem=problem, rationale=make_rationale(problem, text, answer=picked))
    assert time.process_time() - start < 4 * CPU_SECONDS


@pytest.mark.usefixtures("no_collection")
@fuzzed
@given(TEXTS)
def test_steps_lie_in_the_text_in_order(text: str) -> None:
    start = time.process_time()
    found = check_steps(text, "How many legs do 3 cats have?")
    assert time.process_time() - start < CPU_SECONDS
    end = 0
    for place, step in enumerate(found.steps):
        assert end <= step.start < step.end <= len(text)
        assert all(0 <= use < place for use in step.uses)
        assert all(number in text for number in step.unknown)
        end = step.end
    assert found.coverage is None or 0 <= found.coverage <= 1


@fuzzed
@given(NUMBERS)
def test_a_fraction_is_read_as_it_was_written(value: Fraction) -> None:
    read = read_number(str(value))
    assert read is not None
    assert read.value == value
    assert not read.percent and not read.unit


@fuzzed
@given(st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1))
def test_digits_are_read_with_and_without_commas(value: int) -> None:
    for written in (str(value), f"{value:,}", f"{value}.0", f" {value} ", f"${value}$", f"**{value}**"):
        read = read_number(written)
        assert read is not None and read.value == value, written


@fuzzed
@given(st.one_of(NUMBERS.map(str), DIGITS, st.sampled_from(WORDS), FRAGMENTS))
def test_an_expected_number_is_the_answer_to_itself(text: str) -> None:
    text = text.strip()
    if read_number(text) is None:
        return
    problem = make_problem("How many?", text)
    verdict = MATH.quick(problem=problem, rationale=make_rationale(problem, f"#### {text}", answer=text))
    assert verdict is not None and verdict.outcome == "correct", verdict


@fuzzed
@given(TEXTS, st.sampled_from(["7", "1/2", "1000", "50%", "-3"]))
def test_quick_and_verify_say_the_same(text: str, gold: str) -> None:
    problem = make_problem("How many?", gold)
    rationale = make_rationale(problem, text, answer=MATH.extract_answer(text, problem))
    quick = MATH.quick(problem=problem, rationale=rationale)
    if quick is not None:  # otherwise sympy is asked, and only a worker may do that
        assert MATH.verify(problem=problem, rationale=rationale) == quick


# Memory is bounded for this process itself: libFuzzer's own limit looks at the peak that a process takes over from the
# one that started it, and the tests before this one may have used more.
GUIDED = """
import resource, sys
import atheris
with atheris.instrument_imports(include=["selfimprove.verifiers"]):
    from test_fuzz import check_bytes
flags = ["-max_total_time=20", "-max_len=600", "-timeout=5", "-rss_limit_mb=0"]
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
atheris.Setup([sys.argv[0], *flags], check_bytes)
atheris.Fuzz()
"""


def check_bytes(data: bytes) -> None:
    """What the coverage-guided fuzzer calls: each byte under the number of words is a word, the rest is text."""
    table = [*WORDS, *SIGNS]
    text = "".join(table[byte] if byte < len(table) else chr(byte) for byte in data)
    judge(text)
    end = 0
    for step in check_steps(text, text[:200]).steps:
        assert end <= step.start < step.end <= len(text)
        end = step.end
    for options in (OPTIONS, ()):
        problem = make_problem("?", "B", options=options)
        picked = CHOICE.extract_answer(text, problem)
        CHOICE.verify(problem=problem, rationale=make_rationale(problem, text, answer=picked))


@pytest.mark.skipif(find_spec("atheris") is None, reason="the coverage-guided fuzzer atheris is not installed")
def test_a_fuzzer_that_follows_coverage_finds_nothing(tmp_path: Path) -> None:
    script, repository = tmp_path / "guided.py", SUPPORT
    script.write_text(
        f"import sys\nsys.path[:0] = {[str(repository), str(Path(__file__).resolve().parent)]!r}\n{GUIDED}"
    )
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=90)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    done = re.search(r"Done (\d+) runs", ran.stderr)
    assert done is not None and int(done[1]) > 1_000, ran.stderr[-3000:]
