"""Turn critiques and revisions that a verifier bears out into examples, so that the model gets better at them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from selfimprove.records import Critique, Example, Problem, Rationale, Revision, Verdict, by_id
from selfimprove.stages.passes import Requirement, why_not

CRITIQUE_EXAMPLES_VERSION = 1
NO_CRITIQUE = "no critique of "  # before the group of a problem


def critique_examples(
    rationales: Sequence[Rationale],
    critiques: Sequence[Critique],
    revisions: Iterable[Revision],
    *,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    settings: Requirement,
) -> Iterator[Example]:
    """The critiques that are right, and the revisions by them that pass what is required of what is trained.

    A group of its own keeps them apart from the rationales where rows are balanced by group.
    """
    by, said = by_id(rationales), by_id(critiques)
    seen: set[tuple[str, str]] = set()
    for critique in critiques:
        response, verdict = by[critique.response], verdicts[critique.response]
        problem = problems[response.problem]
        whole = critique.finish == "stop" and critique.text.strip()
        if whole and is_right(critique, response.text, verdict) and (critique.prompt, critique.text) not in seen:
            seen.add((critique.prompt, critique.text))
            yield Example(
                parents=(critique.id, verdict.id),
                prompt=critique.prompt,
                completion=critique.text,
                origin="critique",
                group=f"critique of {problem.group}" if critique.found else f"{NO_CRITIQUE}{problem.group}",
                token_ids=critique.token_ids,
            )
    for revision in revisions:
        revised, response = by[revision.rationale], by[revision.response]
        verdict = verdicts[revised.id]
        asked = said.get(revised.parents[3]) if len(revised.parents) > 3 else None
        if asked and not is_right(asked, response.text, verdicts[response.id]):
            continue
        if not revision.kept or why_not(revised, verdict, settings) or (revised.prompt, revised.text) in seen:
            continue
        seen.add((revised.prompt, revised.text))
        yield Example(
            parents=(revised.id, verdict.id, revision.id),
            prompt=revised.prompt,
            completion=revised.text,
            origin="revision",
            group=f"revision of {problems[revised.problem].group}",
            token_ids=revised.token_ids,
        )


def is_right(critique: Critique, response: str, verdict: Verdict) -> bool | None:
    """Whether a critique is borne out by the verifier; None where that cannot be said.

    It is right where it finds nothing in a response without a wrong step and with the right answer, or names the line
    in which the first wrong step stands; where no step is known to be wrong, finding something in a wrong answer is
    neither right nor wrong, and nor is a critique for which the prompt left no room.
    """
    if critique.finish == "too_long":
        return None
    fault = next((step for step in verdict.steps if step.outcome == "incorrect"), None)
    if verdict.outcome == "undecided" or (fault is None and verdict.outcome == "incorrect"):
        return None
    if fault is None:
        return not critique.found
    leading = len(response) - len(response.lstrip())
    return critique.found and critique.line == response.count("\n", leading, max(leading, fault.start)) + 1
