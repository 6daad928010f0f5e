"""A constitution as people read it, and what changed between two of them, in words."""

import difflib
import re
from collections.abc import Iterator
from textwrap import indent

from selfimprove.constitution.model import (
    Check,
    Constitution,
    LengthCheck,
    PatternCheck,
    Principle,
    Scope,
)

QUIET = 60  # characters of a text from which only its changed words are shown
AROUND = 4  # words shown beside a change
VERIFIED = {
    "answer": "the verifier finds the answer correct",
    "steps": "the verifier finds no wrong step",
    "grounded": "the verifier finds no wrong step and no number from nowhere",
}


def describe(constitution: Constitution, only: str | None = None) -> Iterator[str]:
    """Lines that show a constitution, or one principle with all that the model is asked by it."""
    yield f"{constitution.name}, version {constitution.version} ({constitution.hash})"
    if constitution.description:
        yield constitution.description.strip()
    if constitution.preamble and not only:
        yield f"preamble: {constitution.preamble.strip()}"
    for principle in constitution.principles:
        if only in (None, principle.id):
            yield ""
            yield from _principle(constitution, principle, whole=only is not None)
    if not only:
        yield ""
        yield (
            f"{len(constitution.principles)} principles, {len(constitution.exemplars)} shared exemplars, "
            f"{len(constitution.comparisons)} comparisons"
        )


def _principle(constitution: Constitution, principle: Principle, *, whole: bool) -> Iterator[str]:
    title = f" · {principle.title}" if principle.title else ""
    yield f"{principle.id}{title}"
    yield indent(principle.text.strip(), "  ")
    drawn = ", ".join(f"{constitution.share(principle, use):.1%} of the draws for a {use}" for use in principle.uses)
    yield f"  weight {principle.weight:g}: {drawn}"
    yield f"  applies to {describe_scope(principle.scope)}"
    if principle.check:
        yield f"  check: {describe_check(principle.check)}"
    if principle.exemplars:
        yield f"  {_count(len(principle.exemplars), 'exemplar')} of its own"
    if not whole:
        return
    for kind in ("critique", "revision", "preference"):
        yield indent(f"{kind}: {constitution.request(principle, kind).strip()}", "  ")
    for exemplar in constitution.shown(principle):
        for name in ("question", "response", "critique", "revision"):
            yield indent(f"{name}: {getattr(exemplar, name).strip()}", "    ")
        yield ""


def describe_scope(scope: Scope) -> str:
    """What a principle applies to, in words."""
    parts = [f"the tasks {', '.join(scope.tasks)}"] if scope.tasks else []
    parts += [f"prompts tagged {', '.join(scope.tags)}"] if scope.tags else []
    return " and ".join(parts) or "every prompt"


def describe_check(check: Check) -> str:
    """What a check measures, in words."""
    if isinstance(check, PatternCheck):
        return f"{_range(check.at_least, check.at_most)} matches of /{check.regex}/"
    if isinstance(check, LengthCheck):
        return f"{_range(check.at_least, check.at_most)} {check.unit}"
    return VERIFIED[check.require]


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    if least == most:
        return f"exactly {least}" if least else "no"
    return f"{least} to {most}" if least else f"at most {most}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def compare(old: Constitution, new: Constitution) -> Iterator[str]:
    """What changed from one constitution to another, by principle; nothing where they say the same."""
    for name in ("name", "version", "description", "preamble", "critique", "revision", "preference", "nothing"):
        yield from _value(name, getattr(old, name), getattr(new, name))
    before = {one.id: one for one in old.principles}
    after = {one.id: one for one in new.principles}
    gone = {name: one for name, one in before.items() if name not in after}
    for name, principle in after.items():
        if name in before:
            yield from _changes(name, old, before[name], new, principle)
            continue
        renamed = next((other for other, one in gone.items() if one.text == principle.text), None)
        if renamed:
            yield f"'{renamed}' is called '{name}' now"
            yield from _changes(name, old, gone.pop(renamed), new, principle)
        else:
            yield f"'{name}' is new, with the weight {principle.weight:g}: {principle.text.strip()}"
    for name, principle in gone.items():
        yield f"'{name}' is gone: {principle.text.strip()}"
    kept = [name for name in after if name in before]
    if kept != [name for name in before if name in after]:
        yield f"the order is {', '.join(after)} now"
    for name in ("exemplars", "comparisons"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name}: {_exemplars(getattr(old, name), getattr(new, name))}"


def _changes(name: str, old: Constitution, before: Principle, new: Constitution, after: Principle) -> Iterator[str]:
    for field in ("title", "text", "critique", "revision", "preference"):
        for line in _value(field, getattr(before, field), getattr(after, field)):
            yield f"'{name}': {line}"
    if before.weight != after.weight:
        drawn = [f"a {use} {old.share(before, use):.1%} → {new.share(after, use):.1%}" for use in after.uses]
        yield f"'{name}': weight {before.weight:g} → {after.weight:g} (drawn for {', '.join(drawn)} of the draws)"
    if before.uses != after.uses:
        yield f"'{name}': drawn for {' and '.join(before.uses)} → {' and '.join(after.uses)}"
    if before.scope != after.scope:
        yield f"'{name}': applies to {describe_scope(before.scope)} → {describe_scope(after.scope)}"
    if before.check != after.check:
        checks = [describe_check(one) if one else "no check" for one in (before.check, after.check)]
        yield f"'{name}': check: {checks[0]} → {checks[1]}"
    if before.exemplars != after.exemplars:
        yield f"'{name}': exemplars: {_exemplars(before.exemplars, after.exemplars)}"


def _value(name: str, before: object, after: object) -> Iterator[str]:
    if before == after:
        return
    if not isinstance(before, str) or not isinstance(after, str) or not before or not after:
        shown = [str(one).strip() if one not in (None, "") else "none" for one in (before, after)]
        yield f"{name}: {shown[0]} → {shown[1]}"
    elif max(len(before), len(after)) < QUIET and not {*before.split()} & {*after.split()}:
        yield f"{name}: {before} → {after}"
    else:
        yield f"{name}: {word_diff(before, after)}"


def word_diff(before: str, after: str) -> str:
    """Two texts in one: [-what went-] and {+what came+}, with a few words around; spaces alone do not count."""
    one, other = before.split(), after.split()
    parts: list[str] = []
    groups = difflib.SequenceMatcher(None, one, other, autojunk=False).get_grouped_opcodes(AROUND)
    end = 0
    for group in groups:
        if group[0][1] > 0:
            parts.append("…")
        for action, i1, i2, j1, j2 in group:
            if action == "equal":
                parts.extend(one[i1:i2])
                continue
            if i1 < i2:
                parts.append(f"[-{' '.join(one[i1:i2])}-]")
            if j1 < j2:
                parts.append(f"{{+{' '.join(other[j1:j2])}+}}")
        end = group[-1][2]
    if parts and end < len(one):
        parts.append("…")
    return re.sub(r"… …", "…", " ".join(parts)) or "only spaces or line ends changed"


def _exemplars(before: tuple[object, ...], after: tuple[object, ...]) -> str:
    kept = sum(one in before for one in after)
    return f"{len(before)} → {len(after)}, {kept} of them unchanged"
