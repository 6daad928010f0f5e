"""A mixture as a task: clusters of tasks that are drawn from, and whole clusters that are held out."""

import random
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from selfimprove.errors import RecipeError, suggest
from selfimprove.prompting.prompts import Exemplar
from selfimprove.prompting.sandbox import Sandbox
from selfimprove.prompting.templates import Rendered
from selfimprove.recipe.mixture import Mixture as MixtureFile
from selfimprove.recipe.mixture import load_mixture
from selfimprove.recipe.task_settings import MixtureTask
from selfimprove.records import Problem, derive_seed, digest
from selfimprove.tasks.base import compare_as, question_key
from selfimprove.tasks.mixture_rows import Item, Source, read_source, seed_of
from selfimprove.tasks.standard import Standard

SHOWN = 3  # rows that a remark names


class Mixture:
    """The data sets of a mixture; a group is a data set, and its level is 1 where its cluster is held out."""

    scored = False
    exemplars: Sequence[Exemplar] = ()
    standards: Mapping[str, Standard] = {}
    seeded: Set[str] = frozenset()

    def __init__(self, settings: MixtureTask, mixture: MixtureFile, sources: Sequence[Source]) -> None:
        self.name, self.settings, self.mixture = settings.name, settings, mixture
        self.verifier = compare_as(settings.compare, settings)
        self.hold_out = tuple(mixture.hold_out if settings.hold_out is None else settings.hold_out)
        self._sources = sources
        self._held_out, kept, passed = self._set_aside()
        self.trained = [
            _without(one, kept, settings.limit) for one in sources if one.settings.cluster not in self.hold_out
        ]
        """The data sets that are trained on, without the rows that are kept for evaluation."""
        self.levels = {one.group: 0 for one in self.trained}
        self.leads_to: Mapping[str, tuple[str, ...]] = {one.group: () for one in self.trained}
        unreadable = [said for one in sources for said in one.unreadable]
        self.left_out = len(unreadable)
        self.remarks = tuple(_remark(unreadable, "rows cannot be read and are left out")) + tuple(
            _remark(passed, "held-out rows make no problem and are left out")
        )

    def held_out(self) -> Sequence[Problem]:
        return self._held_out

    def draw(self, group: str, count: int, seed: int) -> list[Problem]:
        source = next((one for one in self.trained if one.group == group), None)
        if source is None:
            return []
        items = random.Random(seed).sample(source.items, min(count, len(source.items)))
        found = {one.id: one for one in self._problems(source, items, []) if one.answer}
        return list(found.values())

    def fingerprint(self) -> str:
        trained = [[one.name, one.fingerprint()] for one in self.trained]
        known = self.mixture.model_dump(mode="json", exclude={"description"})
        return digest(self.name, known, trained, "held out", *(one.id for one in self._held_out))

    def _set_aside(self) -> tuple[list[Problem], set[str], list[str]]:
        """The problems that are evaluated, the keys of their rows, and what is wrong with rows that make none."""
        problems: dict[str, Problem] = {}
        kept: set[str] = set()
        passed: list[str] = []
        for source in self._sources:
            count = self.settings.held_out if source.settings.cluster in self.hold_out else self.settings.seen
            able = [one for one in source.items if not one.template or not source.templates[one.template].inverts]
            most = count if source.settings.cluster in self.hold_out else min(count, len(able) // 2)
            chosen = sorted(able, key=lambda one: derive_seed("held out", one.key))[:most]
            kept |= {one.key for one in chosen}
            asked: set[str] = set()
            for one in self._problems(source, chosen, passed):
                if (key := question_key(one.question)) not in asked:
                    asked.add(key)
                    problems[one.id] = one
        return list(problems.values()), kept, passed

    def _problems(self, source: Source, items: Sequence[Item], passed: list[str]) -> Iterator[Problem]:
        """Zero-shot problems of rows, by each template in turn that asks for the task itself; options are shown."""
        templates = [one for one in source.templates.values() if not one.inverts] or list(source.templates.values())
        level = int(source.settings.cluster in self.hold_out)
        for at, item in enumerate(items):
            template = source.templates[item.template] if item.template else templates[at % len(templates)]
            made = template.render([item.values], [seed_of(0, item, template.name)])[0]
            if not isinstance(made, Rendered) or not made.prompt or not made.completion:
                passed.append(f"{item.place}: {'empty' if isinstance(made, Rendered) else made.reason}")
                continue
            yield Problem(
                question=show_options(made, self.mixture) if not template.shows_options else made.prompt,
                answer=made.completion, task=self.name, level=level, group=source.group, options=made.options,
            )  # fmt: skip


def show_options(made: Rendered, mixture: MixtureFile) -> str:
    """A prompt with its options below it (FLAN: Wei et al., 2022, section 2.1)."""
    if not made.options:
        return made.prompt
    return "\n".join([made.prompt, mixture.forms.options_before, *(f"- {one}" for one in made.options)])


def _without(source: Source, kept: Set[str], limit: int | None) -> Source:
    items = [one for one in source.items if one.key not in kept] if kept else list(source.items)
    return Source(source.name, source.settings, tuple(items[:limit]), source.templates, source.unreadable)


def _remark(found: Sequence[str], said: str) -> Iterator[str]:
    if found:
        yield f"{len(found)} {said} ({'; '.join(found[:SHOWN])}{' …' if len(found) > SHOWN else ''})"


def load_mixture_task(settings: MixtureTask) -> Mixture:
    """Read a mixture and its data sets; raises RecipeError or TaskError with the place of what is wrong."""
    mixture, document = load_mixture(settings.file or settings.name.removeprefix("mixture/"))
    for one in settings.hold_out or ():
        if one not in mixture.clusters:
            raise RecipeError(f"'hold_out': {document.source} has no cluster '{one}'{suggest(one, mixture.clusters)}")
    if not set(mixture.clusters) - set(settings.hold_out or ()):
        raise RecipeError(f"'hold_out': all clusters of {document.source} are held out, and none is left to train on")
    folders = [Path(settings.path).expanduser()] if settings.path else []
    folders.append(Path(document.source).resolve().parent)
    sandbox = Sandbox()
    sources = [read_source(name, one, document, folders, sandbox) for name, one in mixture.data_sets.items()]
    return Mixture(settings, mixture, sources)
