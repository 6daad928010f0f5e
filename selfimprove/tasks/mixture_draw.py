"""Drawing rows of a mixture: which data set is next, in which form, by which template."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from selfimprove.prompting.templates import Rendered, Unrendered
from selfimprove.recipe.mixture import Forms
from selfimprove.records import derive_seed
from selfimprove.tasks.mixture import Mixture, show_options
from selfimprove.tasks.mixture_rows import Item, Source, seed_of

BLOCK = 20  # rows in which a share is kept
AT_ONCE = 64  # rows that are rendered together
FORMS = ("few-shot", "chain of thought", "options", "inverted")
"""The forms of a row: after worked ones, with a rationale, with options shown, by a template that inverts the task."""


@dataclass(frozen=True)
class Drawn:
    """A row as it was drawn; `reason` says why there is none, where a template makes nothing of it."""

    source: Source
    template: str
    place: str
    forms: tuple[str, ...] = ()
    """Those of FORMS that it has."""
    able: tuple[str, ...] = ()
    """Those that it could have had."""
    prompt: str = ""
    completion: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Asked:
    """A row that shall be rendered."""

    item: Item
    template: Any
    few_shot: bool
    cot: bool
    options: bool
    able: tuple[str, ...]


class _Quota:
    """Yes for a share of what is asked, in each block of rows and in a random order within it."""

    def __init__(self, share: float, rng: random.Random) -> None:
        self._share, self._rng, self._left, self._owed = share, rng, list[bool](), 0.0

    def next(self) -> bool:
        if not self._left:
            self._owed += self._share * BLOCK
            count = int(self._owed + 1e-9)
            self._owed -= count
            self._left = [True] * count + [False] * (BLOCK - count)
            self._rng.shuffle(self._left)
        return self._left.pop()


class Draws:
    """The rows of a mixture in an endless supply of all its data sets, by what each of them weighs.

    A data set's rows are drawn without replacement: each row by one template after the other, in a random order.
    """

    def __init__(
        self, mixture: Mixture, seed: int, *, clusters: Sequence[str] | None = None, templates: int | None = None
    ) -> None:
        """`clusters` are those that are drawn from, `templates` how many of each data set are used at most."""
        sources = [one for one in mixture.trained if clusters is None or one.settings.cluster in clusters]
        weights = {one.name: _weigh(one, mixture) for one in sources}
        whole = sum(weights.values())
        self.shares = {name: one / whole for name, one in weights.items()}
        """What was asked for, by data set."""
        self.sources = {one.name: one for one in sources}
        self.size = round(sum(min(len(one.items), mixture.mixture.cap or len(one.items)) for one in sources))
        """The rows of the data sets, each up to the cap."""
        self.chosen = {one.name: _choose_templates(one, templates, seed) for one in sources}
        """The templates that are used, by data set."""
        self._mixture, self._seed = mixture, seed
        self._streams = {one.name: self._stream(one) for one in sources}
        self._taken = dict.fromkeys(self.shares, 0)
        self._items: dict[tuple[str, str], list[Item]] = defaultdict(list)
        for one in sources:
            for item in one.items:
                self._items[one.name, item.template].append(item)

    def next(self) -> Drawn | None:
        """The next row of the data set that lags behind most, None where all are exhausted."""
        while self._streams:
            name = min(self._streams, key=lambda one: ((self._taken[one] + 1) / self.shares[one], one))
            drawn = next(self._streams[name], None)
            if drawn is not None:
                return drawn
            del self._streams[name]
        return None

    def take(self, drawn: Drawn) -> None:
        """Count a row as one of its data set's; what is not taken is drawn again from the same data set."""
        self._taken[drawn.source.name] += 1

    def _stream(self, source: Source) -> Iterator[Drawn]:
        asked = self._plan(source)
        while some := list(islice(asked, AT_ONCE)):
            yield from self._render(source, some)

    def _plan(self, source: Source) -> Iterator[_Asked]:
        """Rows and the forms in which they are asked, each row by each template once."""
        forms, rng = self._mixture.mixture.forms, random.Random(derive_seed(self._seed, "plan", source.name))
        quotas = {name: _Quota(getattr(forms, name), rng) for name in ("few_shot", "cot", "options", "inverted")}
        chosen = self.chosen[source.name]
        items = [one for one in source.items if not one.template or one.template in chosen]
        rng.shuffle(items)
        used: dict[int, set[str]] = defaultdict(set)
        at = {False: rng.randrange(1000), True: rng.randrange(1000)}
        for _ in range(1 if any(one.template for one in items) else len(chosen)):
            for place, item in enumerate(items):
                able = [source.templates[name] for name in ([item.template] if item.template else chosen)]
                able = [one for one in able if one.name not in used[place]]
                both = len({one.inverts for one in able}) == 2
                inverts = quotas["inverted"].next() if both else able[0].inverts
                able = [one for one in able if one.inverts == inverts]
                # One that shows options itself cannot do without, and one that knows of none cannot show them.
                showing = [one for one in able if one.has_options or one.shows_options]
                hiding = [one for one in able if not one.shows_options]
                shows = quotas["options"].next() if showing and hiding else bool(showing)
                able = showing if shows else hiding
                at[inverts] += 1
                template = able[at[inverts] % len(able)]
                used[place].add(template.name)
                can = (len(items) > forms.shots, template.reasons, bool(showing and hiding), both)
                yield _Asked(
                    item,
                    template,
                    few_shot=can[0] and quotas["few_shot"].next(),
                    cot=can[1] and quotas["cot"].next(),
                    options=shows,
                    able=tuple(name for name, able_ in zip(FORMS, can, strict=True) if able_),
                )

    def _render(self, source: Source, asked: Sequence[_Asked]) -> Iterator[Drawn]:
        """What becomes of rows, in their order; rows by the same template are rendered together."""
        by_template: dict[str, list[Item]] = defaultdict(list)
        shown = [self._exemplars(source, one) if one.few_shot else () for one in asked]
        for one, others in zip(asked, shown, strict=True):
            by_template[one.template.name] += [one.item, *others]
        made: dict[tuple[str, str], Rendered | Unrendered] = {}
        for name, items in by_template.items():
            seeds = [seed_of(self._seed, item, name) for item in items]
            rendered = source.templates[name].render([item.values for item in items], seeds)
            made |= {(name, item.place): one for item, one in zip(items, rendered, strict=True)}
        for one, others in zip(asked, shown, strict=True):
            name = one.template.name
            yield self._assemble(source, one, made[name, one.item.place], [made[name, each.place] for each in others])

    def _exemplars(self, source: Source, asked: _Asked) -> list[Item]:
        """Other rows of the data set, chosen by what the row is."""
        rng = random.Random(derive_seed(self._seed, "shots", asked.item.place, asked.template.name))
        able = self._items[source.name, asked.item.template]
        wanted = self._mixture.mixture.forms.shots
        found = rng.sample(able, min(wanted + 1, len(able)))
        return [one for one in found if one.key != asked.item.key][:wanted]

    def _assemble(
        self, source: Source, asked: _Asked, made: Rendered | Unrendered, others: Sequence[Rendered | Unrendered]
    ) -> Drawn:
        forms, name, place = self._mixture.mixture.forms, asked.template.name, asked.item.place
        if isinstance(made, Unrendered):
            return Drawn(source, name, place, reason=made.reason)
        worked = [one for one in others if isinstance(one, Rendered) and one.prompt and one.completion]
        cot = asked.cot and bool(made.rationale)
        has = (bool(worked), cot, asked.options, asked.template.inverts)
        said = tuple(form for form, there in zip(FORMS, has, strict=True) if there)
        prompt, completion = self._say(made, asked, forms, cot=cot)
        blocks = [forms.join.join(self._say(one, asked, forms, cot=cot)) for one in worked]
        return Drawn(source, name, place, said, asked.able, "\n\n".join([*blocks, prompt]), completion)

    def _say(self, made: Rendered, asked: _Asked, forms: Forms, *, cot: bool) -> tuple[str, str]:
        """A prompt and its completion in the form that is asked for."""
        adds = asked.options and not asked.template.shows_options
        prompt = show_options(made, self._mixture.mixture) if adds else made.prompt
        if not cot or not made.completion or not made.rationale:
            return prompt, made.completion
        answer = forms.answer.replace("{answer}", made.completion)
        return f"{prompt}\n{forms.trigger}", f"{made.rationale}\n{answer}"


def _weigh(source: Source, mixture: Mixture) -> float:
    """How much of a mixture a data set is: as given, or by its rows up to the cap (T5, section 3.5.2)."""
    if source.settings.weight is not None:
        return source.settings.weight
    cap = mixture.mixture.cap
    rows = min(len(source.items), cap) if cap else len(source.items)
    return float(rows ** (1 / mixture.mixture.temperature))


def _choose_templates(source: Source, count: int | None, seed: int) -> list[str]:
    """All templates of a data set, or some that ask for the task itself where there are such."""
    names = list(source.templates)
    if count is None or count >= len(names):
        return names
    rng = random.Random(derive_seed(seed, "templates", source.name))
    rng.shuffle(names)
    return sorted(names, key=lambda one: source.templates[one].inverts)[:count]
