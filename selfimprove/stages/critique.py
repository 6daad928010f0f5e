"""Ask a model what goes against a principle in a response."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveInt

from selfimprove.constitution import Principle
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Completion, Request
from selfimprove.recipe import Sampling
from selfimprove.records import Critique, Problem, Rationale, derive_seed, replace_surrogates
from selfimprove.stages.base import Writer

CRITIQUE_VERSION = 1
LEAST_QUOTE = 2  # characters; shorter lines stand in other words by chance
_LINE = re.compile(r"\blines? (?:no\.? |number )?(\d{1,4})\b", re.IGNORECASE)
_FINE = re.compile(r"\s+(?:is|are|looks?)\s+(?:all\s+)?(?:right|correct|fine|ok(?:ay)?|good)\b", re.IGNORECASE)


class CritiqueSettings(Sampling):
    """Ask the model what goes against a principle of the constitution (Constitutional AI, section 3.1)."""

    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    max_tokens: PositiveInt = 128
    """The longest critique in tokens."""


@dataclass(frozen=True)
class Link:
    """A response in a chain of revisions, and the principle that it is held against next."""

    problem: Problem
    response: Rationale
    principle: Principle
    step: int
    attempt: int = 0
    """Which of several critiques of the same response."""


def criticise(
    links: Sequence[Link], *, writer: Writer, prompter: Prompter, sampling: Sampling, purpose: str = "critique"
) -> list[Critique]:
    """The critiques of responses, in order (Constitutional AI, section 3.1); a blank one finds nothing."""
    prompts = [prompter.critique(one.principle, one.problem.question, one.response.text) for one in links]
    asked = ask(links, prompts, writer=writer, sampling=sampling, purpose=purpose)
    found = []
    for link, prompt, (seed, completion) in zip(links, prompts, asked, strict=True):
        text = replace_surrogates(completion.text).rstrip()
        blank = completion.finish == "too_long" or not text.strip()
        nothing = blank or prompter.constitution.finds_nothing(text)
        found.append(
            make_critique(link, prompt, text, seed, completion, writer, prompter, sampling.temperature, not nothing)
        )
    return found


def make_critique(
    link: Link,
    prompt: str,
    text: str,
    seed: int,
    completion: Completion,
    writer: Writer,
    prompter: Prompter,
    temperature: float,
    found: bool,
) -> Critique:
    """The record of a critique; `text` is the completion's own, or a part of it."""
    return Critique(
        parents=(link.response.id, writer.checkpoint),
        principle=link.principle.id,
        constitution=prompter.constitution.label,
        prompt=prompt,
        text=text,
        found=found,
        line=find_line(text, link.response.text) if found else None,
        round=writer.round,
        step=link.step,
        seed=seed,
        temperature=temperature,
        tokens=completion.tokens,
        logprob=completion.logprob,
        finish=completion.finish,
        token_ids=completion.token_ids if text == completion.text else None,
    )


def ask(
    links: Sequence[Link], prompts: Sequence[str], *, writer: Writer, sampling: Sampling, purpose: str
) -> Iterator[tuple[int, Completion]]:
    """One completion a prompt, in order, each with its seed: that of its response, principle and place in the chain."""
    seeds = [
        derive_seed(
            writer.seed, writer.round, purpose, one.response.id, one.principle.id, one.step,
            *([one.attempt] if one.attempt else []),
        )
        for one in links
    ]  # fmt: skip
    requests = [Request(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    completions = sorted(writer.engine.generate(requests, sampling, writer.stop), key=lambda one: one.index)
    return zip(seeds, completions, strict=True)


def find_line(critique: str, response: str) -> int | None:
    """Which line of a response a critique names, from 1: by its number, else the last one that it quotes whole; of
    lines that are alike the one that stands nearest to where the critique speaks of it."""
    lines = [line.strip() for line in response.strip().split("\n")]
    named = next((one for one in _LINE.finditer(critique) if not _FINE.match(critique, one.end())), None)
    if named:
        return int(named[1]) if 1 <= int(named[1]) <= len(lines) else None
    for at, said in reversed(list(enumerate(critique.strip().split("\n")))):
        quoted = [number for number, line in enumerate(lines) if len(line) >= LEAST_QUOTE and line in said]
        if quoted:
            # The longest first: a short line may stand within a longer one.
            return min(quoted, key=lambda number: (-len(lines[number]), abs(number - at), number)) + 1
    return None
