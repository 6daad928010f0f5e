"""What was asked of models outlives a kill: a part under way does not ask again for what it has been given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from selfimprove.engines import Completion, Departing, Engine, Request, Score
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import Recipe, Sampling
from selfimprove.records import Problem, digest
from selfimprove.running.clock import Clock
from selfimprove.store.journal import Journal
from selfimprove.trainers.rewarding import RewardFunction

SCORED_AT_ONCE = 256  # texts, by an engine that makes its own batches


def written_at_once(recipe: Recipe) -> int | None:
    """Texts that are written in one company: the last digits of a log-probability, and with them a record's id, hang on
    it. None where an engine makes its own batches, and another company each time."""
    size = recipe.engine.batch_size
    return size if recipe.engine.name == "transformers" and size != "auto" else None


def scored_at_once(recipe: Recipe) -> int:
    """Texts that are scored in one company."""
    return written_at_once(recipe) or SCORED_AT_ONCE


class JournaledEngine:
    """An engine with one checkpoint that writes down what it gives as it comes, and gives what is written down.

    Requests that are asked together give the same each time, so it makes no difference who was asked.
    """

    def __init__(
        self, engine: Engine, checkpoint: str, journal: Journal, clock: Clock, *, written: int | None, scored: int
    ) -> None:
        """So many texts are `written` together, or each by itself, and so many are `scored` together."""
        self._engine, self._checkpoint, self._journal, self._clock = engine, checkpoint, journal, clock
        self._written, self._scored = written, scored

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        rule = digest(self._checkpoint, sampling.temperature, sampling.top_p, sampling.max_tokens, list(stop))
        names = [digest(rule, one.prompt, one.seed) for one in requests]
        for block in self._cut(requests):
            missing = [at for at in block if names[at] not in self._journal.known]
            # Of texts that are written together all are asked for again where one is missing.
            asked = block if missing and self._written else missing
            for at in sorted(set(block).difference(asked)):
                yield self._recall(at, names[at])
            if asked:
                for completion in self._engine.generate([requests[at] for at in asked], sampling, stop):
                    at = asked[completion.index]
                    self._journal.add(names[at], dict(vars(completion)))  # asdict copies each token
                    yield replace(completion, index=at)

    def _cut(self, requests: Sequence[Request]) -> Iterator[Sequence[int]]:
        """The places of the requests that are asked together: those of about one length, as no padding is wanted."""
        order = sorted(range(len(requests)), key=lambda at: (len(requests[at].prompt), requests[at].prompt, at))
        size = self._written or len(order)
        for start in range(0, len(order), size or 1):
            yield order[start : start + size]

    def _recall(self, at: int, name: str) -> Completion:
        found = self._journal.known[name]
        # What is a tuple comes back as a list; an older version noted fewer of them.
        plain: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
        known = Completion(**{**plain, "index": at})
        self._clock.count(written=known.tokens)  # the process that was killed could not
        return known

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        found: list[Score] = []
        for block in cut_blocks(pairs, self._scored):
            name = digest(self._checkpoint, "score", end, [list(one) for one in block])
            if name in self._journal.known:
                scores = [Score(**one) for one in self._journal.known[name]["scores"]]
                self._clock.count(scored=sum(one.tokens for one in scores))
            else:
                scores = self._engine.score(block, end=end)
                self._journal.add(name, {"scores": [dict(vars(one)) for one in scores]})
            found += scores
        return found

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        assert isinstance(self._engine, Departing)
        return self._engine.depart(pairs, most)

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
