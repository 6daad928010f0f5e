"""Which responses of a round are revised: whole ones first, and of those that were cut off what a revision can save."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfimprove.constitution import Constitution, Principle
from selfimprove.constitution.model import LengthCheck
from selfimprove.records import Problem, Rationale, Verdict, by_id
from selfimprove.stages.base import Desk
from selfimprove.stages.generate import Generate
from selfimprove.store.join import Judged

LEFT_OUT = "left out"
"""Under this name the manifest of `revise` holds how many responses were cut off, and what was done about them."""


@dataclass(frozen=True)
class Taken:
    """The responses that a round revises, with their problems and verdicts."""

    responses: list[Rationale]
    problems: Mapping[str, Problem]
    verdicts: Mapping[str, Verdict]


@dataclass
class Choice:
    """The ids of the responses that are revised, and what became of those that were cut off."""

    whole: list[str] = field(default_factory=list)
    """First samples of their problems."""
    replaced: list[str] = field(default_factory=list)
    """Whole later samples in the place of first ones that were cut off."""
    shortened: list[str] = field(default_factory=list)
    """Cut off, and revised all the same."""
    left_out: int = 0
    responses: int = 0
    """All that would be revised if they were whole."""

    def limited(self, limit: int | None) -> "Choice":
        """At most this many, chosen by their ids, the whole ones first."""
        if limit is None:
            return self
        whole = sorted(self.whole)[:limit]
        replaced = sorted(self.replaced)[: limit - len(whole)]
        shortened = sorted(self.shortened)[: limit - len(whole) - len(replaced)]
        return Choice(whole, replaced, shortened, self.left_out, self.responses)

    @property
    def ids(self) -> list[str]:
        """What was cut off, and what stands for it, comes last, so that the parts of the others stay what they are."""
        return [*self.whole, *self.replaced, *self.shortened]


def asks_for_brevity(principle: Principle) -> bool:
    """Whether a principle has a check of the greatest length."""
    return isinstance(principle.check, LengthCheck) and principle.check.at_most is not None


def may_change(principles: Iterable[Principle], response: Rationale, cut_off: str) -> tuple[Principle, ...]:
    """The principles by which a response is revised: one that was cut off only by those that ask for brevity, or as
    `revise.cut_off` says."""
    if response.finish == "stop" or cut_off == "always":
        return tuple(principles)
    return tuple(one for one in principles if cut_off == "brevity" and asks_for_brevity(one))


def choose(
    judged: Iterable[tuple[Rationale, Verdict]],
    problems: Mapping[str, Problem],
    constitution: Constitution,
    settings: Any,
) -> Choice:
    """The first samples of each problem that are to be revised; in the place of one that was cut off a later whole one
    is taken, and where there is none, what `revise.cut_off` says.

    `judged` is gone over a second time where something was cut off.
    """
    found, cut_off = Choice(), dict[str, list[str]]()

    def fits(verdict: Verdict) -> bool:
        return bool(settings.of != "failed" or verdict.outcome != "correct")

    for one, verdict in judged:
        if one.sample < settings.per_problem and fits(verdict):
            found.responses += 1
            if one.finish == "stop":
                found.whole.append(one.id)
            elif one.finish == "length":
                cut_off.setdefault(one.problem, []).append(one.id)
    for one, verdict in judged if cut_off else ():
        left = cut_off.get(one.problem)
        if left and one.sample >= settings.per_problem and one.finish == "stop" and fits(verdict):
            left.pop(0)
            found.replaced.append(one.id)
    for name, left in cut_off.items():
        problem = problems[name]
        principles = constitution.applying("critique", problem.task, (problem.group,))
        if settings.cut_off == "always" or (settings.cut_off == "brevity" and any(map(asks_for_brevity, principles))):
            found.shortened += left
        else:
            found.left_out += len(left)
    return found


def take(desk: Desk[Any]) -> Taken:
    """The responses that are revised, and wrong ones of earlier rounds."""
    from selfimprove.stages.earlier import read_earlier

    settings, rationales, verdicts = desk.settings, desk.scan(Rationale), desk.scan(Verdict)
    problems = desk.by_id(Problem)
    judged = Judged(rationales, verdicts, of_rationale=("parents", "sample", "finish"), of_verdict=("outcome",))
    choice = choose(judged, problems, desk.constitution, settings).limited(settings.limit)
    by, earlier = by_id(rationales.find(set(choice.ids))), read_earlier(desk)
    if choice.replaced or choice.shortened or choice.left_out:
        counts = {
            "responses": choice.responses,
            "replaced": len(choice.replaced),
            "shortened": len(choice.shortened),
            "not revised": choice.left_out,
            **({"cut_off": settings.cut_off} if settings.cut_off == "always" else {}),
        }
        desk.note(LEFT_OUT, {**counts, "max_tokens": desk.other(Generate).max_tokens})
    return Taken(
        [*(by[one] for one in choice.ids), *earlier.responses],
        {**problems, **earlier.problems},
        {**{one.rationale: one for one in verdicts.find(set(choice.ids), "parents")}, **earlier.verdicts},
    )


def describe_left_out(found: Mapping[str, Any] | None) -> str:
    """What was cut off before it could be criticised and revised, and what to do; nothing where all was whole."""
    if not found:
        return ""
    cut_off = sum(found[name] for name in ("replaced", "shortened", "not revised"))
    how = "like any other" if found.get("cut_off") == "always" else "to be brief"
    rest = [
        f"for {found['replaced']} another sample is taken" if found["replaced"] else "",
        f"{found['shortened']} are revised {how}" if found["shortened"] else "",
        f"{found['not revised']} are neither criticised nor revised nor trained" if found["not revised"] else "",
    ]
    what_next = f": raise 'generate.max_tokens' ({found['max_tokens']})" if found["not revised"] else ""
    return f"{cut_off} of {found['responses']} responses were cut off: {', '.join(filter(None, rest))}{what_next}"
