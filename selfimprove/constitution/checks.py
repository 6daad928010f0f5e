"""Whether a response complies with a principle, measured without a model."""

from functools import lru_cache
from typing import TYPE_CHECKING

from selfimprove.constitution.model import Check, LengthCheck, PatternCheck
from selfimprove.records import Outcome, Rationale, Verdict

if TYPE_CHECKING:  # it takes a while to import, and few constitutions have a pattern
    import regex

MAX_TEXT = 50_000  # characters; longer responses are not looked at
REGEX_SECONDS = 0.5  # a pattern that a person wrote meets a text that a model wrote: it may backtrack for ever

Complies = tuple[Outcome, str]


def comply(check: Check, text: str, verdict: Verdict | None) -> Complies:
    """Whether a text passes a check, and why; `verdict` is the task's verifier's on the text, where there is one."""
    if len(text) > MAX_TEXT:
        return "undecided", f"the text has {len(text)} characters, over the limit of {MAX_TEXT}"
    if isinstance(check, PatternCheck):
        return _match(check, text)
    if isinstance(check, LengthCheck):
        count = {"words": len(text.split()), "lines": len(text.splitlines()), "characters": len(text)}[check.unit]
        return _within(count, check.at_least, check.at_most, check.unit)
    return ("undecided", "there is no verdict") if verdict is None else _judged(check.require, verdict)


def comply_as_written(check: Check, response: Rationale, verdict: Verdict | None) -> Complies:
    """The same of a response with how it ended: a blank one complies with nothing, and of one that was cut off only
    that counts which no further word could change."""
    if not response.text.strip():
        return "incorrect", "the response is empty"
    outcome, reason = comply(check, response.text, verdict)
    if response.finish == "stop" or outcome == "undecided":
        return outcome, reason
    return (outcome, reason) if _settled(check, response.text) else ("undecided", f"{reason}, and it was cut off there")


def _settled(check: Check, text: str) -> bool:
    """Whether no further word can change what a check says: what is counted only becomes more."""
    if not isinstance(check, (PatternCheck, LengthCheck)):
        return False
    if check.at_most is None:
        return comply(check, text, None)[0] == "correct"
    return comply(check.model_copy(update={"at_least": 0}), text, None)[0] == "incorrect"


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> "regex.Pattern[str]":
    """Compile a check's pattern; raises regex.error."""
    import regex

    return regex.compile(pattern, flags=regex.MULTILINE)


def find_pattern_error(pattern: str) -> str | None:
    """What is wrong with a check's pattern; None where it is a regular expression."""
    import regex

    try:
        compile_pattern(pattern)
    except regex.error as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return None


def _match(check: PatternCheck, text: str) -> Complies:
    count = 0
    try:
        for _ in compile_pattern(check.regex).finditer(text, timeout=REGEX_SECONDS):
            count += 1
    except TimeoutError:
        return "undecided", f"/{check.regex}/ took longer than {REGEX_SECONDS:g} seconds"
    return _within(count, check.at_least, check.at_most, f"matches of /{check.regex}/")


def _within(count: int, least: int, most: int | None, what: str) -> Complies:
    if count < least:
        return "incorrect", f"{count} {what}, expected at least {least}"
    if most is not None and count > most:
        return "incorrect", f"{count} {what}, expected at most {most}"
    return "correct", f"{count} {what}"


def _judged(require: str, verdict: Verdict) -> Complies:
    if require == "answer":
        return verdict.outcome, verdict.reason
    if verdict.reasoning != "correct" or require == "steps":
        wrong = next((step.reason for step in verdict.steps if step.outcome == "incorrect"), None)
        return verdict.reasoning, wrong or f"{len(verdict.steps)} steps checked"
    if verdict.ungrounded:
        return "incorrect", f"from nowhere: {', '.join(verdict.ungrounded)}"
    return "correct", f"{len(verdict.steps)} steps, every number is accounted for"
