"""lm-evaluation-harness's own answer extraction and comparison (0.4.13), to compare with and to report beside ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse

INVALID = "[invalid]"
_LAST_STOP = re.compile(r"\.$")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


@dataclass(frozen=True)
class Filter:
    """A regular expression, which of its matches counts, and whether GSM8K's marks and the case are left out."""

    pattern: re.Pattern[str]
    last: bool = False
    plain: bool = True


FILTERS: Mapping[str, Filter] = {
    "lm-eval/gsm8k": Filter(re.compile(r"#### (\-?[0-9\.\,]+)")),
    "lm-eval/gsm8k_cot": Filter(re.compile(r"The answer is (\-?[0-9\.\,]+).")),
    "lm-eval/gsm8k-flexible": Filter(_FLEXIBLE, last=True),
    "lm-eval/bbh": Filter(re.compile(r"(?<=the answer is )(.*)(?=.)"), plain=False),
}


def extract(text: str, chosen: Filter) -> str:
    """What the filter `regex` gives: the first or the last match, its first group that is not empty."""
    found = chosen.pattern.findall(text)
    if not found:
        return INVALID
    match = found[-1 if chosen.last else 0]
    if isinstance(match, tuple):
        match = next((one for one in match if one), INVALID)
    return str(match).strip()


def compared(text: str, chosen: Filter) -> str:
    """What `exact_match` compares; GSM8K's tasks leave out `,`, `\\$`, `(?s).*#### ` and `\\.$`, and the case."""
    if chosen.plain:
        # The third as a search from the end: as a regular expression its time is quadratic.
        text = text.replace(",", "").replace("$", "").rpartition("#### ")[2]
        return _LAST_STOP.sub("", text).lower()
    return text


class HarnessVerifier:
    """Says what the harness would: `settings.name` is one of `FILTERS`."""

    version = 1

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings
        self.name: str = settings.name
        self.filter = FILTERS[settings.name]

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        found = extract(text, self.filter) if len(text) <= MAX_TEXT else INVALID
        return None if found == INVALID else found

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        refused = refuse(problem, rationale)
        if refused:
            return make_verdict(self, rationale, *refused)
        said, expected = str(rationale.answer), self._target(problem)
        equal = compared(said, self.filter) == compared(expected, self.filter)
        shown = f"extracted {quote(said)}, expected {quote(expected)}"
        outcome, how = ("correct", "the same text") if equal else ("incorrect", "not the same text")
        return make_verdict(self, rationale, outcome, f"{shown}: {how}")  # type: ignore[arg-type]

    def _target(self, problem: Problem) -> str:
        """The data's own target: BIG-Bench Hard writes a letter in brackets."""
        answer = str(problem.answer)
        lettered = self.name == "lm-eval/bbh" and problem.options and len(answer) == 1 and answer.isupper()
        return f"({answer})" if lettered else answer
