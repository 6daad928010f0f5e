"""What is wrong with a constitution that can be read: errors, which no run starts with, and warnings."""

import difflib
import re
from collections.abc import Iterator, Set
from itertools import combinations
from typing import get_args

from selfimprove.constitution.checks import comply, find_pattern_error
from selfimprove.constitution.model import (
    REQUEST_FIELDS,
    Constitution,
    CritiqueExemplar,
    LengthCheck,
    PatternCheck,
    Principle,
    Use,
    VerifierCheck,
)
from selfimprove.errors import not_known, suggest
from selfimprove.recipe.catalog import known
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.recipe.yaml import Document, Location
from selfimprove.records import Problem, Rationale, Verdict

NEAR = 0.9  # of the words of two principles are the same
RARE = 0.005  # of the draws
REQUESTS = ("critique", "revision", "preference")
# What each part of the transcript may hold and what it must; where the model answers, its field ends the template.
PARTS = {
    "question": ((), ("question", "response")),
    "critique": (("request", "question"), ("critique",)),
    "revision": (("request", "question"), ("revision",)),
    "comparison": (("question", "request"), ("first", "second", "choice")),
    "reasoning": (("question", "request"), ("first", "second", "reasoning")),
    "answer": ((), ("choice",)),
}

Findings = Iterator[tuple[Location, str]]


def find_errors(constitution: Constitution, document: Document, left_out: Set[Location] = frozenset()) -> list[str]:
    """Every error, each with its file and line; none of what lies at the places that are left out."""
    found: list[tuple[Location, str]] = [*_templates(constitution), *_scopes(constitution), *_checks(constitution)]
    found += [*_exemplars(constitution), *_weights(constitution)]
    found += [(location, text) for location, text, wrong in _duplicates(constitution) if wrong]
    found = [one for one in found if not any(one[0][: len(place)] == place for place in left_out)]
    return [f"{document.where(location)}: {text}" for location, text in found]


def find_warnings(constitution: Constitution, document: Document) -> list[str]:
    """What may be meant, and more often is not."""
    found = [(location, text) for location, text, wrong in _duplicates(constitution) if not wrong]
    for place, principle in enumerate(constitution.principles):
        if principle.weight == 0:
            found.append((("principles", place, "weight"), f"'{principle.id}' has the weight 0 and is never drawn"))
            continue
        shares = {use: constitution.share(principle, use) for use in principle.uses}
        use = min(shares, key=lambda one: shares[one], default=None)
        if use and shares[use] < RARE:
            once = f"once in {1 / shares[use]:,.0f} draws for a {use}"
            found.append((("principles", place, "weight"), f"'{principle.id}' is drawn {once}"))
    return [f"{document.where(location)}: {text}" for location, text in found]


def _templates(constitution: Constitution) -> Findings:
    for name in REQUESTS:
        yield from _template((name,), getattr(constitution, name))
        for place, principle in enumerate(constitution.principles):
            template = getattr(principle, name)
            if template is not None:
                yield from _template(("principles", place, name), template)
    for name in PARTS:
        yield from _part(name, getattr(constitution.transcript, name))


def _template(location: Location, template: str, known: tuple[str, ...] = REQUEST_FIELDS) -> Findings:
    for field in re.findall(r"\{(\w*)\}", template):
        if field not in known:
            yield location, f"'{location[-1]}' holds the unknown field {{{field}}}{suggest(field, known)}"


def _part(name: str, template: str) -> Findings:
    location: Location = ("transcript", name)
    optional, required = PARTS[name]
    yield from _template(location, template, (*optional, *required))
    for field in required:
        if f"{{{field}}}" not in template:
            yield location, f"'{name}' lacks {{{field}}}"
    last = f"{{{required[-1]}}}"
    if name != "question" and last in template.removesuffix(last):
        yield location, f"'{name}' must end with {last}, where the model answers, and hold it once"


def _scopes(constitution: Constitution) -> Findings:
    for place, principle in enumerate(constitution.principles):
        for at, task in enumerate(principle.scope.tasks):
            if task.partition("/")[0] not in known("task"):
                yield ("principles", place, "scope", "tasks", at), not_known("task", task, known("task"))


def _checks(constitution: Constitution) -> Findings:
    for place, principle in enumerate(constitution.principles):
        check, location = principle.check, ("principles", place, "check")
        if isinstance(check, PatternCheck) and (error := find_pattern_error(check.regex)):
            yield (*location, "regex"), f"'regex' is not a regular expression: {error}"
        if isinstance(check, PatternCheck | LengthCheck):
            most = check.at_most
            if most is not None and check.at_least > most:
                yield location, f"'at_least' is {check.at_least} and 'at_most' is {most}: no response can pass"
            elif check.at_least == 0 and most is None:
                yield location, "has neither 'at_least' nor 'at_most': every response passes"


def _exemplars(constitution: Constitution) -> Findings:
    shown: list[tuple[Location, Principle | None, CritiqueExemplar]]
    shown = [(("exemplars", at), None, one) for at, one in enumerate(constitution.exemplars)]
    for place, principle in enumerate(constitution.principles):
        for at, one in enumerate(principle.exemplars):
            shown.append((("principles", place, "exemplars", at), principle, one))
    for location, owner, exemplar in shown:
        finds = not constitution.finds_nothing(exemplar.critique)
        changes = exemplar.revision.strip() != exemplar.response.strip()
        if finds and not changes and owner:
            yield (*location, "revision"), "the critique finds something, and the revision changes nothing"
        if changes and not finds:
            yield (*location, "revision"), "the critique finds nothing, and the revision changes the response"
        if owner:
            yield from _against_check(location, owner, exemplar, finds)
    for at, comparison in enumerate(constitution.comparisons):
        if comparison.chosen.strip() == comparison.rejected.strip():
            yield ("comparisons", at, "rejected"), "'chosen' and 'rejected' are the same text"


def _against_check(location: Location, principle: Principle, exemplar: CritiqueExemplar, finds: bool) -> Findings:
    check = principle.check
    if check is None or (isinstance(check, PatternCheck) and find_pattern_error(check.regex)):
        return
    for name, bad in (("revision", "incorrect"), ("response", "correct")):
        if name == "response" and not finds:
            continue
        text = getattr(exemplar, name)
        verdict = _judge(exemplar, text, check) if isinstance(check, VerifierCheck) else None
        outcome, reason = comply(check, text, verdict)
        if outcome == bad and name == "revision":
            yield (*location, name), f"the revision breaks the check of '{principle.id}': {reason}"
        elif outcome == bad:
            yield (*location, name), f"the critique finds something, and the response passes the check: {reason}"


def _judge(exemplar: CritiqueExemplar, text: str, check: VerifierCheck) -> Verdict | None:
    """The verdict of our own code on an exemplar's text; None where it needs an answer that the exemplar lacks."""
    # The verifiers take a while to import, and whoever only reads a run or a constitution needs none.
    from selfimprove.verifiers.math import MathVerifier
    from selfimprove.verifiers.steps import check_steps

    if check.require != "answer":
        steps = check_steps(text, exemplar.question).steps
        return Verdict(outcome="undecided", reason="only the steps count", steps=steps, verifier="steps", version=0)
    if exemplar.answer is None:
        return None
    verifier = MathVerifier(VerifierSettings(name="math"))
    problem = Problem(question=exemplar.question, answer=exemplar.answer, task="constitution")
    rationale = Rationale(
        parents=(problem.id, ""), prompt="", text=text, answer=verifier.extract_answer(text, problem), round=0,
        origin="sampled", sample=0, seed=0, temperature=0, top_p=1, tokens=0, logprob=0, finish="stop",
    )  # fmt: skip
    return verifier.quick(problem=problem, rationale=rationale)


def _weights(constitution: Constitution) -> Findings:
    if not constitution.principles:
        yield ("principles",), "there are no principles"
    for place, principle in enumerate(constitution.principles):
        if not principle.uses:
            yield (
                ("principles", place, "uses"),
                f"'{principle.id}' is used for nothing; known: {', '.join(get_args(Use))}",
            )
    for use in get_args(Use):
        drawn = [one for one in constitution.principles if use in one.uses]
        if drawn and not any(one.weight for one in drawn):
            yield ("principles",), f"no principle can be drawn for a {use}: every weight is 0"


def _duplicates(constitution: Constitution) -> Iterator[tuple[Location, str, bool]]:
    """Principles that say the same: an error where they are the same words, or where their weights contradict."""
    words = [re.findall(r"\w+", principle.text.casefold()) for principle in constitution.principles]
    for (first, one), (second, other) in combinations(enumerate(constitution.principles), 2):
        if not (set(one.uses) & set(other.uses) and _overlap(one, other)):
            continue
        matcher = difflib.SequenceMatcher(None, words[first], words[second], autojunk=False)
        if words[first] == words[second]:
            yield ("principles", second, "text"), f"'{other.id}' says the same as '{one.id}'", True
        elif matcher.quick_ratio() >= NEAR and matcher.ratio() >= NEAR:
            same = f"'{other.id}' says nearly the same as '{one.id}'"
            if one.weight != other.weight:
                yield (
                    ("principles", second, "weight"),
                    f"{same}, with the weights {other.weight:g} and {one.weight:g}",
                    True,
                )
            else:
                yield ("principles", second, "text"), same, False


def _overlap(one: Principle, other: Principle) -> bool:
    """Whether one prompt may draw both."""
    if not (one.scope.tasks or one.scope.tags) or not (other.scope.tasks or other.scope.tags):
        return True
    tasks = any(
        a == b or a.partition("/")[0] == b or a == b.partition("/")[0]
        for a in one.scope.tasks
        for b in other.scope.tasks
    )
    return tasks or bool(set(one.scope.tags) & set(other.scope.tags)) or bool(one.scope.tags) != bool(other.scope.tags)
