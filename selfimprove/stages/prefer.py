"""Pair rationales of one problem: what is right over what is wrong."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from selfimprove.prompts import PromptFormat
from selfimprove.recipe import Prefer, Select
from selfimprove.records import Preference, Problem, Rationale, Verdict
from selfimprove.stages.select import why_not

VERSION = 1


def prefer(
    rationales: Sequence[Rationale],
    *,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    prompts: PromptFormat,
    shown: bool,
    require: Select,
    settings: Prefer,
) -> Iterator[Preference]:
    """Pair the right and the wrong rationales of each problem, each as often as the others (IRPO, section 2).

    What is undecided is never rejected, nor is a text that was cut off: its fault is not the model's choice. A
    rationalized text may be chosen and is never rejected, because its prompt was another one.
    """
    render = prompts.render if shown else prompts.render_question
    chosen: dict[str, dict[str, Rationale]] = defaultdict(dict)  # by problem, then by text
    rejected: dict[str, dict[str, Rationale]] = defaultdict(dict)
    for rationale in rationales:
        verdict, problem = verdicts[rationale.id], problems[rationale.problem]
        if not why_not(rationale, verdict, require) and not prompts.finds_hint(problem, rationale.text):
            chosen[problem.id].setdefault(rationale.text, rationale)
        elif verdict.outcome == "incorrect" and rationale.finish == "stop" and rationale.origin != "rationalized":
            rejected[problem.id].setdefault(rationale.text, rationale)
    ranked: list[tuple[int, str, Preference]] = []
    for identity in chosen:
        found: dict[tuple[str, str, str], Preference] = {}
        for right, wrong in _pair(list(chosen[identity].values()), list(rejected[identity].values())):
            if settings.cut == "step":
                texts = _cut(right, wrong, verdicts[right.id], verdicts[wrong.id])
            else:
                texts = ("", right.text, wrong.text)
            if texts is None or texts in found:
                continue
            found[texts] = Preference(
                parents=(right.id, wrong.id, verdicts[right.id].id, verdicts[wrong.id].id),
                prompt=render(problems[identity]) + texts[0],
                chosen=texts[1],
                rejected=texts[2],
                ends=settings.cut == "whole",
                margin=1.0,
                source="verdicts",
                group=problems[identity].group,
            )
            if len(found) == settings.per_problem:
                break
        ranked += [(rank, identity, one) for rank, one in enumerate(found.values())]
    # By rank first, so that a limit takes the same number of every problem before it takes one more of any.
    ranked.sort(key=lambda one: (one[0], one[1]))
    yield from (one for _, _, one in ranked[: settings.limit])


def _cut(right: Rationale, wrong: Rationale, judged: Verdict, blamed: Verdict) -> tuple[str, str, str] | None:
    """What both texts begin with, the right step and the first wrong one; None where they do not begin alike."""
    fault = next((step for step in blamed.steps if step.outcome == "incorrect"), None)
    if fault is None or right.text[: fault.start] != wrong.text[: fault.start]:
        return None
    instead = next((step for step in judged.steps if step.start == fault.start), None)
    if instead is None or right.text[fault.start : instead.end] == wrong.text[fault.start : fault.end]:
        return None
    return wrong.text[: fault.start], right.text[fault.start : instead.end], wrong.text[fault.start : fault.end]


def _pair(right: list[Rationale], wrong: list[Rationale]) -> list[tuple[Rationale, Rationale]]:
    """All pairs, ordered so that the first ones use each text equally often."""
    return [(right[at], wrong[(at + shift) % len(wrong)]) for shift in range(len(wrong)) for at in range(len(right))]
