"""What was asked of models outlives a kill: a part under way does not ask again for what it has been given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from selfimprove.engines import Completion, Engine, Request, Score
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import Recipe, Sampling
from selfimprove.records import Problem, digest
from selfimprove.running.clock import Clock
from selfimprove.store.journal import Journal
from selfimprove.trainers.rewarding import RewardFunction

SCORED_AT_ONCE = 256  # texts, by an engine that makes its own batches


def scored_at_once(recipe: Recipe) -> int:
    """Texts that are scored between two notes: always the same ones, since a score's last digits hang on what is
    scored with it."""
    return recipe.engine.batch_size if recipe.engine.name == "transformers" else SCORED_AT_ONCE


class JournaledEngine:
    """An engine with one checkpoint that writes down what it gives as it comes, and gives what is written down.

    Equal requests give equal completions, so it makes no difference who was asked.
    """

    def __init__(self, engine: Engine, checkpoint: str, journal: Journal, clock: Clock, at_once: int) -> None:
        """`at_once` texts are scored together."""
        self._engine, self._checkpoint, self._journal, self._clock = engine, checkpoint, journal, clock
        self._at_once = at_once

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        rule = digest(self._checkpoint, sampling.temperature, sampling.top_p, sampling.max_tokens, list(stop))
        asked = [digest(rule, one.prompt, one.seed) for one in requests]
        missing: list[int] = []
        for index, name in enumerate(asked):
            if name not in self._journal.known:
                missing.append(index)
                continue
            found = self._journal.known[name]
            ids = found["token_ids"]
            known = Completion(**{**found, "index": index, "token_ids": None if ids is None else tuple(ids)})
            self._clock.count(written=known.tokens)  # the process that was killed could not
            yield known
        if not missing:
            return
        for completion in self._engine.generate([requests[index] for index in missing], sampling, stop):
            index = missing[completion.index]
            self._journal.add(asked[index], asdict(completion))
            yield replace(completion, index=index)

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        found: list[Score] = []
        for block in cut_blocks(pairs, self._at_once):
            name = digest(self._checkpoint, "score", end, [list(one) for one in block])
            if name in self._journal.known:
                scores = [Score(**one) for one in self._journal.known[name]["scores"]]
                self._clock.count(scored=sum(one.tokens for one in scores))
            else:
                scores = self._engine.score(block, end=end)
                self._journal.add(name, {"scores": [asdict(one) for one in scores]})
            found += scores
        return found

    def close(self) -> None:
        self._engine.close()


def cut_blocks(pairs: Sequence[tuple[str, Continuation]], size: int) -> Iterator[Sequence[tuple[str, Continuation]]]:
    """At least `size` pairs each but for the last; continuations of one prompt that follow each other stay together,
    since the prompt is computed once for them."""
    start = 0
    for at in range(1, len(pairs) + 1):
        if at == len(pairs) or (at - start >= size and pairs[at][0] != pairs[at - 1][0]):
            yield pairs[start:at]
            start = at


def journaled_rewards(
    ask: RewardFunction, models: Sequence[str], journal: Callable[[], Journal | None], clock: Clock, at_once: int
) -> RewardFunction:
    """The same rewards, each block of texts written down in the journal of the part that is being made.

    `models` says who is asked, and how several become one.
    """

    def ask_blocks(
        prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]
    ) -> list[float | None]:
        noted, found = journal(), list[float | None]()
        for start in range(0, len(prompts), at_once):
            block = slice(start, start + at_once)
            name = digest("reward", list(models), list(prompts[block]), list(completions[block]))
            known = noted.known.get(name) if noted else None
            if known is None:
                before = clock.tokens.get("scored", 0)
                values = ask(prompts[block], completions[block], problems[block])
                known = {"values": values, "tokens": clock.tokens.get("scored", 0) - before}
                if noted:
                    noted.add(name, known)
            else:
                clock.count(scored=known["tokens"])
            found += known["values"]
        return found

    return ask_blocks
