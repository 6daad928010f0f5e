"""Small records for tests: every field has a plain value that a test overrides where it matters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from selfimprove.constitution import Constitution, Principle
from selfimprove.engines import Completion, Request, ScriptedEngine
from selfimprove.recipe import Sampling
from selfimprove.records import Comparison, Critique, Outcome, Problem, Rationale, Revision, Step, Verdict

CHECKPOINT = "c0ffee"


def make_problem(question: str = "1+2=", answer: str | None = "3", **fields: Any) -> Problem:
    return Problem(
        **{"question": question, "answer": answer, "task": "arithmetic", "level": 2, "group": "1+1"} | fields
    )


def make_rationale(problem: Problem, text: str = "#3", **fields: Any) -> Rationale:
    """A finished sample of a problem; its answer is the problem's own."""
    plain: dict[str, Any] = {
        "parents": (problem.id, CHECKPOINT),
        "prompt": problem.question,
        "text": text,
        "answer": problem.answer,
        "origin": "sampled",
        "round": 1,
        "sample": 0,
        "seed": 5,
        "temperature": 1.0,
        "top_p": 1.0,
        "tokens": len(text) + 1,
        "logprob": -0.5,
        "finish": "stop",
    }
    return Rationale(**plain | fields)


def by_problem(judged: Iterable[tuple[Rationale, Verdict]]) -> list[list[tuple[Rationale, Verdict]]]:
    """Judged rationales problem by problem, in the order of their ids."""
    found: dict[str, list[tuple[Rationale, Verdict]]] = {}
    for one in judged:
        found.setdefault(one[0].problem, []).append(one)
    return [found[name] for name in sorted(found)]


def make_steps(outcomes: Sequence[Outcome]) -> tuple[Step, ...]:
    return tuple(Step(start=at, end=at + 1, outcome=one, reason=f"step {at}") for at, one in enumerate(outcomes))


def make_verdict(rationale: Rationale, outcome: Outcome = "correct", steps: Sequence[Outcome] = ()) -> Verdict:
    return Verdict(
        parents=(rationale.id,), outcome=outcome, reason="scripted", steps=make_steps(steps), verifier="test", version=1
    )


# --- by a constitution -----------------------------------------------------------------------------------------


def make_constitution(*principles: Principle | str, **fields: Any) -> Constitution:
    """A constitution of principles; a name alone stands for a principle that says nothing else."""
    made = [Principle(id=one, text=f"It is {one}.") if isinstance(one, str) else one for one in principles]
    return Constitution(**{"name": "mine", "principles": made} | fields)


def make_critique(response: Rationale, text: str = "It is rude.", **fields: Any) -> Critique:
    plain: dict[str, Any] = {
        "parents": (response.id, CHECKPOINT),
        "principle": "kind",
        "constitution": "mine 1 0",
        "prompt": f"{response.prompt}{response.text}?",
        "text": text,
        "found": True,
        "line": None,
        "round": 1,
        "step": 1,
        "seed": 5,
        "temperature": 0.0,
        "tokens": len(text) + 1,
        "logprob": -0.5,
        "finish": "stop",
    }
    return Critique(**plain | fields)


def make_revised(
    response: Rationale, text: str, critique: Critique | None = None, **fields: Any
) -> tuple[Rationale, Revision]:
    """A revised rationale, and a revision that was kept; `fields` are the revision's."""
    parents = (*response.parents[:2], response.id, *([critique.id] if critique else []))
    prompt = f"{response.prompt}{response.text}!"
    revised = response.model_validate(
        {**response.model_dump(), "parents": parents, "prompt": prompt, "text": text, "origin": "revised"}
    )
    plain: dict[str, Any] = {
        "parents": (revised.id, response.id, *([critique.id] if critique else [])),
        "principle": "kind",
        "constitution": "mine 1 0",
        "round": 1,
        "step": 1,
        "kept": True,
        "reason": "kept",
        "marks": (),
        "before": None,
        "after": None,
    }
    return revised, Revision(**plain | fields)


def make_comparison(first: Rationale, second: Rationale, forward: float, backward: float, **fields: Any) -> Comparison:
    plain: dict[str, Any] = {
        "parents": (first.id, second.id, CHECKPOINT),
        "principle": "kind",
        "constitution": "mine 1 0",
        "prompt": "",
        "reasoning": (),
        "forward": forward,
        "backward": backward,
        "round": 1,
        "tokens": 0,
    }
    return Comparison(**plain | fields)


class CutEngine(ScriptedEngine):
    """A scripted engine whose texts may end other than by themselves: at the length limit, or before they begin."""

    def __init__(
        self, write: Callable[[str, int], str], finish: Callable[[str], Literal["stop", "length", "too_long"]]
    ):
        super().__init__(write)
        self.finish = finish

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        # Backwards, as engines give completions in any order.
        for one in reversed(list(super().generate(requests, sampling, stop))):
            yield Completion(one.index, one.text, one.tokens, one.logprob, self.finish(one.text))
