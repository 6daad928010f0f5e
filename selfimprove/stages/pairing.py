"""Which responses to a problem make a pair: what is better over what is worse, and what says so."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from selfimprove.prompting.phrases import find_boilerplate
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.records import Comparison, Problem, Rationale, Revision, Verdict
from selfimprove.stages.as_sampled import tokens_of_pair
from selfimprove.stages.passes import Requirement, why_not

JudgedTexts: TypeAlias = Sequence[tuple[Rationale, Verdict]]
"""Responses to one problem, or those that revisions and comparisons name, with the verdict on each."""
Found: TypeAlias = tuple[Rationale, Rationale, dict[str, Any]]
"""What is better, what is worse, and the fields of the pair that say so."""
Texts: TypeAlias = tuple[str, str, str]
"""What both begin with, then the chosen text and the rejected one."""


@dataclass(frozen=True)
class Revised:
    """What was revised and what was compared in a round, with the responses that these name."""

    revisions: Mapping[str, Revision]
    """By the rationale that was written."""
    comparisons: Sequence[Comparison]
    responses: Mapping[str, tuple[Rationale, Verdict]]
    """By id: of this round and of earlier ones."""
    problems: Mapping[str, Problem]

    def find_unfit(self) -> set[str]:
        """The revisions that are not better than anything: not kept, failing their principle's check, boilerplate."""
        written = [one for one, _ in self.responses.values() if one.id in self.revisions]
        texts: dict[str, list[str]] = defaultdict(list)
        for one in written:
            if self.problems[one.problem].is_open:
                texts[self.problems[one.problem].question].append(one.text)
        boilerplate = find_boilerplate(texts)
        return {
            one.id
            for one in written
            if not self.revisions[one.id].kept
            or self.revisions[one.id].after == "incorrect"
            or (self.problems[one.problem].is_open and one.text in boilerplate)
        }

    def pair_revisions(self, unfit: Set[str], require: Requirement, tie: float | None) -> Iterator[Found]:
        """The last kept revision of each chain over the response that it began with, where nothing contradicts it."""
        superseded = {one.response for one in self.revisions.values() if one.kept}
        judged = {frozenset(one.parents[:2]): one for one in self.comparisons}
        for identity, revision in self.revisions.items():
            if identity in unfit or identity in superseded:
                continue
            (revised, verdict), (first, before) = self.responses[identity], self._beginning(revision)
            if first.finish != "stop" or first.text.split() == revised.text.split():
                continue
            judged_by_answer = not self.problems[revised.problem].is_open
            contradicted = judged_by_answer and (why_not(revised, verdict, require) or before.outcome != "incorrect")
            comparison = judged.get(frozenset((identity, first.id)))
            margin = 1.0
            if comparison:
                better = comparison.preferred if comparison.parents[0] == identity else 1 - comparison.preferred
                margin = 2 * better - 1
            if contradicted or margin < (tie if tie and comparison else 0):
                continue
            parents = (identity, first.id, revision.id, *([comparison.id] if comparison else []))
            source = {"parents": parents, "margin": margin, "source": "revision", "principle": revision.principle}
            yield revised, first, source

    def _beginning(self, revision: Revision) -> tuple[Rationale, Verdict]:
        """The response that a chain of revisions began with."""
        while revision.response in self.revisions:
            revision = self.revisions[revision.response]
        return self.responses[revision.response]

    def pair_compared(self, unfit: Set[str], tie: float) -> Iterator[Found]:
        """What a model found better over what it found worse; ties are dropped, and so are revisions that it found
        worse: they were written for another prompt."""
        for one in self.comparisons:
            first, second = (self.responses[name][0] for name in one.parents[:2])
            margin = abs(2 * one.preferred - 1)
            if margin < tie or margin == 0:
                continue
            right, wrong = (first, second) if one.preferred > 0.5 else (second, first)
            if right.id in unfit or wrong.id in self.revisions or not right.finish == wrong.finish == "stop":
                continue
            parents = (right.id, wrong.id, one.id)
            yield right, wrong, {"parents": parents, "margin": margin, "source": "feedback", "principle": one.principle}


@dataclass(frozen=True)
class Pairing:
    """How the responses to one problem are paired, problem by problem."""

    prompts: PromptFormat
    require: Requirement
    by_step: bool
    revisions: Mapping[str, Revision]
    left_out: Set[str]
    """Revised responses on which the verifier's word alone does not decide."""
    apart: Mapping[str, Sequence[Found]]
    """By problem: what revisions and comparisons say."""

    def pair(self, problem: Problem, judged: JudgedTexts) -> Iterator[tuple[Texts, dict[str, Any]]]:
        """The pairs of a problem, those of revisions and comparisons first; what contradicts an earlier one of them is
        left out."""
        done: set[frozenset[str]] = set()  # in either order
        for right, wrong, source in self.apart.get(problem.id, ()):
            key = frozenset((right.text, wrong.text))
            if key not in done and right.text != wrong.text:
                done.add(key)
                yield ("", right.text, wrong.text), source | tokens_of_pair(right, wrong, self.prompts.stop)
        found: set[Texts] = set()
        verdicts = {one.id: verdict for one, verdict in judged}
        for right, wrong in pair_evenly(*self._part_by_verdict(problem, judged)):
            judgements = verdicts[right.id], verdicts[wrong.id]
            texts = cut(right, wrong, *judgements) if self.by_step else ("", right.text, wrong.text)
            if texts is None or texts in found or frozenset((right.text, wrong.text)) in done:
                continue
            found.add(texts)
            parents = (right.id, wrong.id, *(one.id for one in judgements))
            tokens = {} if self.by_step else tokens_of_pair(right, wrong, self.prompts.stop)
            yield texts, {"parents": parents, "ends": not self.by_step, "margin": 1.0, "source": "verdicts", **tokens}

    def _part_by_verdict(self, problem: Problem, judged: JudgedTexts) -> tuple[list[Rationale], list[Rationale]]:
        """What may be chosen and what may be rejected by the verifier's word alone, each text once."""
        chosen: dict[str, Rationale] = {}
        rejected: dict[str, Rationale] = {}
        for one, verdict in () if problem.is_open else judged:
            if one.id in self.left_out:
                continue
            if not why_not(one, verdict, self.require) and not self.prompts.finds_hint(problem, one.text):
                chosen.setdefault(one.text, one)
            elif verdict.outcome == "incorrect" and one.finish == "stop" and self._written_for_question(one):
                rejected.setdefault(one.text, one)
        return [*chosen.values()], [*rejected.values()]

    def _written_for_question(self, one: Rationale) -> bool:
        """Whether a text was written for the prompt that is trained, and not for one with a hint or a critique."""
        return one.origin != "rationalized" and one.id not in self.revisions


def cut(right: Rationale, wrong: Rationale, judged: Verdict, blamed: Verdict) -> Texts | None:
    """What both texts begin with, the right step and the first wrong one; None where they do not begin alike, or no
    right step stands in its place."""
    fault = next((step for step in blamed.steps if step.outcome == "incorrect"), None)
    if fault is None or right.text[: fault.start] != wrong.text[: fault.start]:
        return None
    instead = next((one for one in judged.steps if one.start == fault.start and one.outcome == "correct"), None)
    if instead is None or right.text[fault.start : instead.end] == wrong.text[fault.start : fault.end]:
        return None
    return wrong.text[: fault.start], right.text[fault.start : instead.end], wrong.text[fault.start : fault.end]


def pair_evenly(right: Sequence[Rationale], wrong: Sequence[Rationale]) -> Iterator[tuple[Rationale, Rationale]]:
    """All pairs, ordered so that the first ones use each text equally often."""
    for shift in range(len(wrong)):
        yield from ((right[at], wrong[(at + shift) % len(wrong)]) for at in range(len(right)))


def find_named(revisions: Mapping[str, Revision], comparisons: Iterable[Comparison]) -> set[str]:
    """The responses that revisions and comparisons name."""
    revised = chain.from_iterable((name, one.response) for name, one in revisions.items())
    return {*revised, *chain.from_iterable(one.parents[:2] for one in comparisons)}
