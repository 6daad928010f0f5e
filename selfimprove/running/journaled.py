"""An engine whose texts outlive a kill: what a part under way has been given is not asked for again."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from selfimprove.engines import Completion, Departing, Engine, Request, Score
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import Sampling
from selfimprove.records import digest
from selfimprove.running.clock import Clock
from selfimprove.store.journal import Journal


class JournaledEngine:
    """An engine with one checkpoint that writes down each text as it comes, and gives those that are written down.

    Equal requests give equal completions, so it makes no difference who was asked.
    """

    def __init__(self, engine: Engine, checkpoint: str, journal: Journal, clock: Clock) -> None:
        self._engine, self._checkpoint, self._journal, self._clock = engine, checkpoint, journal, clock

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
        return self._engine.score(pairs, end=end)

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        assert isinstance(self._engine, Departing)
        return self._engine.depart(pairs, most)

    def close(self) -> None:
        self._engine.close()
