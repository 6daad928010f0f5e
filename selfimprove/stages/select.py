"""Turn rationales into SFT examples, with a reason for each one that is kept or turned away."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from selfimprove.phrases import find_boilerplate
from selfimprove.prompts import PromptFormat
from selfimprove.recipe import Select
from selfimprove.records import Decision, Example, Problem, Rationale, Revision, Verdict
from selfimprove.stages.vote import Votes

VERSION = 3


def select(
    rationales: Sequence[Rationale],
    *,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    earlier: Iterable[Example],
    prompts: PromptFormat,
    shown: bool,
    settings: Select,
    revisions: Mapping[str, Revision] | None = None,
    all_revisions: bool = False,
    votes: Votes | None = None,
) -> Iterator[Decision | Example]:
    """Decide on each rationale, in order; a kept one is followed by its example.

    `verdicts` is by rationale; `earlier` holds the examples that would be trained too, for duplicates; `shown` keeps
    the exemplars or the trigger in the trained prompt. Samples come before rationalizations, so that a cap per
    problem prefers what the model reached without the hint. `revisions`, by rationale, says which revised ones were
    kept; of an open prompt only these are trained, the last one of each chain or all. `votes` decide on the samples of
    problems without an answer.
    """
    render = prompts.render if shown else prompts.render_question
    seen = {(one.prompt, one.completion) for one in earlier}
    rendered: dict[str, str] = {}
    kept_of: Counter[str] = Counter()
    kept: Counter[str] = Counter()  # by origin
    became = revisions or {}
    why_not_open = _OpenTexts(rationales, problems, became, all_revisions)
    suspicious = _suspicious(rationales, problems, verdicts, settings)
    for rationale in sorted(rationales, key=lambda one: one.origin == "rationalized"):
        verdict, problem = verdicts[rationale.id], problems[rationale.problem]
        if problem.id not in rendered:
            rendered[problem.id] = render(problem)
        prompt = rendered[problem.id]
        revision, why = became.get(rationale.id), "kept"
        if revision and not revision.kept:
            reason = f"revision not kept: {revision.reason}"
        elif problem.is_open:
            reason = why_not_open(rationale)
        elif votes and votes.holds(rationale) and verdict.outcome == "undecided":
            reason = votes.why_not(rationale) or why_not_steps(verdict, settings, "the majority's answer")
            why = votes.why(rationale)
        else:
            reason = why_not(rationale, verdict, settings)
        if not reason and rationale.problem in suspicious:
            reason = (
                f"likely a coincidence: over {settings.hard_share:.0%} of the problem's samples are correct, "
                f"in a group with a yield below {settings.hard_below:.0%}"
            )
        if not reason and (prompt, rationale.text) in seen:
            reason = "duplicate of an example that is trained already"
        if not reason and settings.per_problem is not None and kept_of[problem.id] >= settings.per_problem:
            reason = f"over the cap of {settings.per_problem} a problem"
        if not reason and (hint := prompts.finds_hint(problem, rationale.text)):
            reason = f"hint text in the rationale: {hint[:60]!r}"
        if not reason and rationale.origin == "rationalized":
            hinted, cap = kept["rationalized"] + 1, settings.rationalized_cap
            if cap is not None and hinted > cap * (kept["sampled"] + hinted) + 1e-9:
                reason = "over the cap on rationalized examples"
        yield Decision(parents=(rationale.id, verdict.id), kept=not reason, reason=reason or why)
        if not reason:
            seen.add((prompt, rationale.text))
            kept_of[problem.id] += 1
            kept[rationale.origin] += 1
            yield Example(
                parents=(rationale.id, verdict.id),
                prompt=prompt,
                completion=rationale.text,
                origin=rationale.origin,
                group=problem.group,
            )


class _OpenTexts:
    """Why a response to an open prompt is not trained, or nothing."""

    def __init__(
        self,
        rationales: Sequence[Rationale],
        problems: Mapping[str, Problem],
        revisions: Mapping[str, Revision],
        all_revisions: bool,
    ) -> None:
        self.revisions = revisions
        self.superseded = set() if all_revisions else {one.response for one in revisions.values() if one.kept}
        texts: dict[str, list[str]] = defaultdict(list)
        for one in rationales:
            if one.id in revisions and problems[one.problem].is_open:
                texts[problems[one.problem].question].append(one.text)
        self.boilerplate = find_boilerplate(texts)

    def __call__(self, rationale: Rationale) -> str:
        if rationale.id not in self.revisions:
            return "a response to an open prompt that is not a revision"
        if rationale.text in self.boilerplate:
            return "boilerplate: most of it stands in the revisions for other prompts too"
        if rationale.id in self.superseded:
            return "there is a later revision of it"
        return ""


def why_not(rationale: Rationale, verdict: Verdict, settings: Select) -> str:
    """Why a rationale does not pass what is required of what is trained, or nothing."""
    if verdict.outcome != "correct":
        return f"{verdict.outcome}: {verdict.reason}"
    if rationale.finish != "stop":
        return "cut off at the length limit, so its end would be learned wrong"
    return why_not_steps(verdict, settings, "right answer")


def why_not_steps(verdict: Verdict, settings: Select, answer: str) -> str:
    """Why the steps of a text with an accepted answer do not pass what is required of them, or nothing."""
    if settings.require != "answer" and verdict.reasoning != "correct":
        wrong = next((step for step in verdict.steps if step.outcome == "incorrect"), None)
        return f"{answer}, wrong step: {wrong.reason}" if wrong else f"{answer}, no step could be checked"
    if settings.require == "grounded" and verdict.ungrounded:
        return f"{answer} from numbers that come from nowhere: {', '.join(verdict.ungrounded[:8])}"
    return ""


def _suspicious(
    rationales: Sequence[Rationale],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    settings: Select,
) -> set[str]:
    """Problems of groups with a low yield that are right too often to be more than a coincidence of a wrong rule."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    by_group: dict[str, list[bool]] = defaultdict(list)
    for rationale in rationales:
        if rationale.origin == "sampled" and verdicts[rationale.id].outcome != "undecided":
            correct = verdicts[rationale.id].outcome == "correct"
            outcomes[rationale.problem].append(correct)
            by_group[problems[rationale.problem].group].append(correct)
    hard = {group for group, found in by_group.items() if sum(found) / len(found) < settings.hard_below}
    return {
        problem
        for problem, found in outcomes.items()
        if problems[problem].group in hard and sum(found) / len(found) > settings.hard_share
    }


def check_no_hint(examples: Iterable[Example], prompts: PromptFormat, problems: Mapping[str, Problem]) -> int:
    """Count trained prompts that are not exactly the unhinted prompt of a problem; a round with one must not train."""
    allowed = {render(problem) for problem in problems.values() for render in (prompts.render, prompts.render_question)}
    return sum(example.prompt not in allowed for example in examples)
