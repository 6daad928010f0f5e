"""What the stages share that have a model go on with a list of texts, and keep what is new (Self-Instruct; Wang et al.,
2023, section 2)."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PositiveInt

from selfimprove.engines import Completion, Request
from selfimprove.errors import EngineError
from selfimprove.prompting import instruction_filters as filters
from selfimprove.prompting import instructions as asked
from selfimprove.prompting.rouge import Nearest
from selfimprove.recipe import Sampling
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import INSTRUCTIONS, Instruction, derive_seed, replace_surrogates
from selfimprove.settings import Share
from selfimprove.stages.base import Desk
from selfimprove.store import Manifest

COMMON = 20  # verbs with nouns that the figures name


class Proposing(Sampling):
    """Have the model go on with a list of texts, and keep what is new."""

    keep: PositiveInt = 100
    """Proposals that a round keeps."""
    most: PositiveInt = 200
    """Times that a round asks for proposals at most, however many are kept by then."""
    at_once: PositiveInt = 8
    """Times that are asked at once; what they propose is not shown to one another."""
    shown: Annotated[int, Field(ge=1, le=40)] = 8
    """Texts that are shown where new ones are asked for."""
    own: Annotated[int, Field(ge=0, le=40)] = 2
    """How many of these are the model's own, once there are so many; the others are given ones."""
    wanted: Annotated[int, Field(ge=1, le=40)] = 8
    """New texts that are asked for at a time."""
    alike: Share = 0.7
    """A proposal is turned away where its ROUGE-L with one that was given or kept, in whatever round, is higher."""


class Shown(NamedTuple):
    """A text that may be shown, by the id of its record."""

    id: str
    text: str


@dataclass(frozen=True)
class Asker:
    """Asks a model, each time with a seed of its own."""

    desk: Desk[Any]

    def ask(
        self, prompts: Sequence[str], what: str, sampling: Sampling, stop: tuple[str, ...]
    ) -> list[tuple[int, Completion]]:
        """The seeds and the completions, in order."""
        writer, desk = self.desk.writer(self.desk.incumbent), self.desk
        requests = [Request(one, derive_seed(desk.seed, desk.round, desk.name, what, at, one))
                    for at, one in enumerate(prompts)]  # fmt: skip
        found = sorted(writer.engine.generate(requests, sampling, (*writer.stop, *stop)), key=lambda one: one.index)
        if found and all(one.finish == "too_long" for one in found):
            raise EngineError(
                f"{desk.title}: the model has no room for a prompt with {desk.settings.shown} texts and "
                f"{sampling.max_tokens} tokens after it; lower '{desk.name}.shown' or '{desk.name}.max_tokens'"
            )
        return [(request.seed, one) for request, one in zip(requests, found, strict=True)]


class Pool:
    """What was given and what was kept so far, and what is like it."""

    def __init__(
        self, given: Sequence[Shown], own: Iterable[Shown], alike: float, why_not: Callable[[str], str]
    ) -> None:
        """`why_not` says what speaks against a text by itself, or nothing."""
        self.given, self.own, self.alike, self._why_not = list(given), list(own), alike, why_not
        self._nearest = Nearest()
        self._nearest.extend(one.text for one in (*self.given, *self.own))

    def draw(self, seed: int, shown: int, own: int) -> list[Shown]:
        """Texts to show, in any order: so many of the model's own, and given ones."""
        rng = random.Random(seed)
        mine = rng.sample(self.own, min(own, shown, len(self.own)))
        drawn = [*mine, *rng.sample(self.given, min(shown - len(mine), len(self.given)))]
        rng.shuffle(drawn)
        return drawn

    def know(self, last: Sequence[Instruction]) -> None:
        """The last ones that joined, with what became known of them."""
        self.own[len(self.own) - len(last) :] = [Shown(one.id, one.text) for one in last]

    def judge(self, text: str, *, cut_off: bool, enough: bool, **fields: Any) -> Instruction:
        """A proposal with what speaks against it; it joins the pool where nothing does."""
        similarity, nearest = self._nearest.find(text)
        reason = filters.CUT_OFF if cut_off else self._why_not(text)
        if not reason and similarity > self.alike:
            reason = filters.ALIKE
        reason = reason or (filters.ENOUGH if enough else filters.KEPT)
        verb, noun = filters.verb_and_noun(text)
        found = Instruction(
            text=text, origin="proposed", kept=reason == filters.KEPT, reason=reason, nearest=nearest,
            similarity=similarity, verb=verb, noun=noun, **fields,
        )  # fmt: skip
        if found.kept:
            self.own.append(Shown(found.id, found.text))
            self._nearest.add(text)
        return found


def propose_until_enough(desk: Desk[Any], asker: Asker, pool: Pool, begin: str) -> Iterator[list[Instruction]]:
    """What is proposed each time that several are asked at once, until enough is kept or was asked for. `begin` is what
    the model is told before the list."""
    settings, before, step = desk.settings, len(pool.own), 0
    while step < settings.most and len(pool.own) - before < settings.keep:
        yield list(_propose(desk, asker, pool, step, before + settings.keep, begin))
        step += settings.at_once


def _propose(desk: Desk[Any], asker: Asker, pool: Pool, step: int, enough: int, begin: str) -> Iterator[Instruction]:
    """What is proposed at once, each judged beside all before it."""
    settings = desk.settings
    times = range(step, min(step + settings.at_once, settings.most))
    shown = [pool.draw(derive_seed(desk.seed, desk.round, desk.name, "shown", at), settings.shown, settings.own)
             for at in times]  # fmt: skip
    prompts = [asked.propose(desk.prompts, [one.text for one in texts], begin) for texts in shown]
    stop = asked.stop_of_proposals(len(shown[0]), settings.wanted)
    for at, texts, (seed, completion) in zip(
        times, shown, asker.ask(prompts, f"propose {step}", settings, stop), strict=True
    ):
        parents = (desk.incumbent.id, *dict.fromkeys(one.id for one in texts))
        read = asked.read_proposals(replace_surrogates(completion.text))
        for place, text in enumerate(read):
            yield pool.judge(
                text,
                cut_off=completion.finish != "stop" and place == len(read) - 1,
                enough=len(pool.own) >= enough,
                parents=parents,
                round=desk.round,
                step=at,
                seed=seed,
            )


def count_asks(settings: Proposing) -> int:
    """How often it is asked, where half of the proposals are kept."""
    return min(settings.most, -(-2 * settings.keep // settings.wanted))


def check_shown(name: str, settings: Proposing) -> Iterator[Mistake]:
    """What is wrong with the number of texts that are shown."""
    if settings.own > settings.shown:
        yield Mistake(("stages", name, "own"), f"'{name}.own: {settings.own}' is more than '{name}.shown' texts")


def measure(proposed: Sequence[Instruction], before: Sequence[str]) -> dict[str, Any]:
    """The funnel of a round, why what was turned away, and how different what was kept is from all `before`."""
    kept = [one for one in proposed if one.kept]
    pairs = [(one.verb, one.noun) for one in kept]
    return {
        "proposed": len(proposed),
        "kept": len(kept),
        "turned away": dict(Counter(one.reason for one in proposed if not one.kept).most_common()),
        "verbs": len({verb for verb, _ in pairs if verb}),
        "verbs with nouns": len({one for one in pairs if all(one)}),
        "common": filters.most_common(pairs, COMMON),
        "new runs of words": filters.share_of_new((one.text for one in kept), before),
        "similarity": sum(one.similarity for one in kept) / len(kept) if kept else 0.0,
        "words": sum(len(one.text.split()) for one in kept) / len(kept) if kept else 0.0,
    }


def describe(manifest: Manifest | None, what: str) -> str:
    """One line on what a round's proposals came to."""
    found = manifest.metrics.get(INSTRUCTIONS) if manifest else None
    if found is None:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in found["turned away"].items())
    said = f"{found['kept']} of {found['proposed']} proposed {what} kept{f' ({reasons})' if reasons else ''}"
    if "instances" not in found:
        return said
    written = f"{found['instances kept']} of {found['instances']} instances kept"
    return f"{said}, {found['classifications']} of them classifications; {written}"


def figures(manifest: Manifest) -> dict[str, float | None]:
    """The counts and shares, for trackers."""
    found = manifest.metrics.get(INSTRUCTIONS, {})
    return {f"{manifest.stage}/{name.replace(' ', '_')}": value for name, value in found.items()
            if isinstance(value, (int, float))}  # fmt: skip
