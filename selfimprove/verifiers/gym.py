"""Problems of reasoning-gym, judged by the scorer of their own data set.

Some scorers hand the answer to `eval` or to sympy's parser, which evaluates Python. For those data sets an answer
must first match a grammar that holds nothing but such answers; what does not match is never given to the scorer.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.tasks.gym_data import REFUSED, open_data
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse
from selfimprove.verifiers.thinking import strip_thinking

MAX_EVALUATED = 4000  # characters of an answer that a scorer evaluates


def _listed(item: str, most: int) -> str:
    return rf"\[ ?{item}(?: ?,[ \n]?{item}){{0,{most}}} ?\]"


# Possessive repetition: a long text that fails at its end is not tried again in other ways. A space is one space, so
# that what must not follow a power can be looked for.
_CELL, _QUEEN = r"\d{1,4}", r"(?:'[Q_]'|\"[Q_]\")"
_LETTERS = r"(?:'[A-Z]{1,50}'|\"[A-Z]{1,50}\")"
_SORTED = r"(?:'-?\d{1,15}(?:\.\d{1,15})?'|\"-?\d{1,15}(?:\.\d{1,15})?\"|-?\d{1,15}(?:\.\d{1,15})?)"
_SPACE = r"(?<! )[ ]"
# Atomic groups and not possessive ones, which match nothing here in Python 3.11.2, Debian's own.
_FLAT = rf"(?>(?:\d{{1,6}}+(?!\d)|[-+()]|\*(?!\*)|/(?!/)|{_SPACE})+)"
_NO_TOWER = r"(?! ?\*\*| ?\d)"
_POLYNOMIAL = (
    rf"(?>(?:\d{{1,15}}+(?!\d)|[a-z](?![a-zA-Z( ])|[a-z] (?!\()|[-+()]|\*(?!\*)"
    rf"|(?<!\))(?<!\) )\*\* ?\d{{1,2}}{_NO_TOWER}|{_SPACE})+)"
)
_INTEGRAL = (
    rf"(?>(?:\d{{1,12}}+(?!\d)|(?:sin|cos|tan|exp|log|ln|sqrt|asin|acos|atan)(?=\()|(?:[xXC]|pi)(?![a-zA-Z(])"
    rf"|E(?: ?\*\* ?(?=[(xX])|(?![a-zA-Z(]))|[-+()]|/(?!/)|\*(?!\*)"
    rf"|\*\* ?(?:\d{{1,2}}|\( ?-?\d{{1,2}}(?: ?/ ?\d{{1,2}})? ?\)){_NO_TOWER}|{_SPACE})+)"
)
_LOGIC = rf"(?>(?:[A-Z](?! ?[A-Z(¬])|[∧∨→↔¬]|\((?! ?\))|\)(?! ?[A-Z(¬])|{_SPACE})+)"
GUARDS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        "countdown": _FLAT,
        "puzzle24": _FLAT,
        "polynomial_multiplication": _POLYNOMIAL,
        "simple_integration": _INTEGRAL,
        "intermediate_integration": _INTEGRAL,
        "propositional_logic": _LOGIC,  # its own parser, whose work doubles with each new name
        "bitwise_arithmetic": r"[-+]?(?:0[xX][0-9a-fA-F]{1,60}|0[bB][01]{1,200}|\d{1,60})",
        "string_insertion": rf"[A-Z]{{1,500}}|{_listed(_LETTERS, 500)}",
        "spiral_matrix": rf"{_CELL}(?: {_CELL}){{0,1000}}|{_listed(_CELL, 1000)}",
        "binary_matrix": rf"{_CELL}(?:[ \n]{_CELL}){{0,1000}}|{_listed(_listed(_CELL, 50), 50)}",
        "n_queens": rf"[Q_](?:[ \n][Q_]){{0,1000}}|{_listed(_listed(_QUEEN, 50), 50)}",
        "number_sorting": _listed(_SORTED, 500),
    }.items()
}
_FRAMED = (
    re.compile(r"<answer>((?>(?:(?!</?answer>).){0,20000}))</answer>", re.DOTALL | re.IGNORECASE),
    re.compile(r"\\boxed\{((?>(?:[^{}]|\{[^{}]{0,200}\}){1,5000}))\}"),
)
_ANNOUNCED = (
    re.compile(r"####[ \t]?"),
    re.compile(r"answer\s{0,9}(?:is|:)(?![a-z])[ \t]{0,9}:?[ \t]?", re.IGNORECASE),
)


def is_safe(name: str, answer: str) -> bool:
    """Whether an answer may be given to the scorer of a data set."""
    if name in REFUSED:
        return False
    guard = GUARDS.get(name)
    if guard is None:
        return True
    return len(answer) <= MAX_EVALUATED and guard.fullmatch(answer) is not None and not _towers(answer)


def _towers(answer: str) -> bool:
    """Whether a power of a power is raised again, as in `((9**99)**99)**99`, or brackets do not match or nest deep."""
    heights = [0]
    at = 0
    while at < len(answer):
        if answer[at] == "(":
            heights.append(0)
            if len(heights) > 40:
                return True
        elif answer[at] == ")":
            if len(heights) == 1:
                return True
            height = heights.pop() + answer.startswith("**", at + 1) + answer.startswith(" **", at + 1)
            if height > 1:
                return True
            heights[-1] = max(heights[-1], height)
        at += 1
    return len(heights) > 1


class GymVerifier:
    """Asks the scorer of the data set; `settings.gym` says which."""

    name = "reasoning_gym"
    version = 2

    def __init__(self, settings: VerifierSettings) -> None:
        if settings.gym is None:
            raise TaskError("the verifier 'reasoning_gym' needs a task such as reasoning_gym/leg_counting")
        self.settings = settings
        self.gym = settings.gym
        self._data: Any = None
        self._entries: dict[str, Any] = {}
        self._rest: Iterator[Any] = iter(())

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        """What stands in `<answer>` or a box, after `####` or "answer is"; else the end of the text.

        That is one line, or as many as the expected answer has.
        """
        if len(text) > MAX_TEXT:
            return None
        text = strip_thinking(text, self.settings.thinking)
        expected = (problem.answer or "").strip("\n")
        lines = expected.count("\n") + 1
        framed = next((found for one in _FRAMED if (found := one.findall(text))), None)
        if framed:
            return _unfence(str(framed[-1])) or None
        after = next((rest for one in _ANNOUNCED if (rest := _after_last(one, text)) is not None), None)
        if after is not None:
            piece = _unfence(after) if lines > 1 else after.strip().split("\n", 1)[0].strip()
            return (piece if expected.endswith(".") else piece.removesuffix(".")) or None
        if self.settings.stated:
            return None
        return _unfence("\n".join(_unfence(text).rstrip().split("\n")[-lines:])) or None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        """What needs no scorer: an answer that cannot be judged, and the data set's own answer."""
        outcome = self._decide(problem, rationale)
        return make_verdict(self, rationale, *outcome) if outcome else None

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        outcome = self._decide(problem, rationale) or self._score(problem, rationale.answer or "")
        return make_verdict(self, rationale, *outcome)

    def _decide(self, problem: Problem, rationale: Rationale) -> tuple[Outcome, str] | None:
        if self.gym.subject in REFUSED:
            return "undecided", f"{self.gym.subject} is not judged: {REFUSED[self.gym.subject]}"
        # The scorer decides, so a problem without an answer of its own can be judged.
        refused = refuse(
            problem.model_copy(update={"answer": problem.answer or "by its scorer"}), rationale, self.settings.thinking
        )
        if refused:
            return refused
        if rationale.answer == problem.answer:
            return "correct", "the same as the data set's own answer"
        if not is_safe(self.gym.subject, rationale.answer or ""):
            shown = quote(rationale.answer or "")
            return "incorrect", f"{shown} is not written as an answer of {self.gym.subject}, and was not evaluated"
        return None

    def _score(self, problem: Problem, answer: str) -> tuple[Outcome, str]:
        entry = self._find(problem.question)
        if entry is None:
            return "undecided", f"{self.gym.subject} gives no problem with this question for the task's settings"
        try:
            score = float(self._data.score_answer(answer, entry))
        except (MemoryError, RecursionError):
            raise  # a limit, which is nothing against the answer
        except Exception as error:  # scorers read hostile text, and raise whatever their parsing raises
            return "incorrect", f"the scorer cannot read {quote(answer)} ({type(error).__name__})"
        return "correct" if score >= self.gym.credit else "incorrect", f"score {score:g} of 1"

    def _find(self, question: str) -> Any:
        """The entry of a question; entries are generated up to the one that is asked for."""
        if self._data is None:
            self._data = open_data(self.gym)
            self._rest = (self._data[at] for at in range(self.gym.limit + self.gym.held_out))
        while question not in self._entries:
            entry = next(self._rest, None)
            if entry is None:
                return None
            self._entries.setdefault(entry["question"].strip(), entry)
        return self._entries[question]


def _after_last(marked: re.Pattern[str], text: str) -> str | None:
    """The text after the last announcement; None where there is none, or nothing after it."""
    ends = [found.end() for found in marked.finditer(text)]
    return text[ends[-1] :] if ends and text[ends[-1] :].strip() else None


def _unfence(text: str) -> str:
    """A text without the lines of a code block around it."""
    lines = text.strip("\r\n").split("\n")
    if len(lines) > 2 and lines[0].strip().startswith("```") and lines[-1].strip() == "```":
        lines = lines[1:-1]
    return "\n".join(line.rstrip() for line in lines).strip("\n") if len(lines) > 1 else lines[0].strip()
