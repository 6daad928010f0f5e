"""Have the model write tasks of its own, from a few that people wrote (Self-Instruct; Wang et al., 2023)."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveInt

from selfimprove.engines import Completion, Request
from selfimprove.errors import EngineError
from selfimprove.prompting import instruction_filters as filters
from selfimprove.prompting import instructions as asked
from selfimprove.prompting.instructions import SeedTask, load_seeds
from selfimprove.prompting.rouge import Nearest
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import (
    INSTRUCTIONS,
    Example,
    Instance,
    Instruction,
    Problem,
    Record,
    by_id,
    derive_seed,
    replace_surrogates,
)
from selfimprove.settings import Share, unhashed
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage
from selfimprove.store import Manifest

COMMON = 20  # verbs with nouns that the figures name
YES_OR_NO = Sampling(temperature=0.0, max_tokens=4)


class Instruct(Sampling):
    """Have the model propose instructions from seed tasks, write inputs and outputs for them, and keep what is new and
    sound as examples to train on (Self-Instruct; Wang et al., 2023, section 2)."""

    seeds: str = unhashed(
        "instructions",
        "seed tasks in the form of Self-Instruct's seed_tasks.jsonl, by path or by name in policies/seeds",
    )
    keep: PositiveInt = 100
    """Instructions that a round keeps."""
    most: PositiveInt = 200
    """Times that a round asks for proposals at most, however many are kept by then."""
    at_once: PositiveInt = 8
    """Times that are asked at once; what they propose is not shown to one another."""
    shown: Annotated[int, Field(ge=1, le=40)] = 8
    """Tasks that are shown where new ones are asked for."""
    own: Annotated[int, Field(ge=0, le=40)] = 2
    """How many of these are the model's own, once there are so many; the others are seeds."""
    wanted: Annotated[int, Field(ge=1, le=40)] = 8
    """New tasks that are asked for at a time."""
    alike: Share = 0.7
    """An instruction is turned away where its ROUGE-L with one that was kept, in whatever round, is higher."""
    examples: PositiveInt = 1
    """Inputs with outputs that are asked for each instruction."""
    temperature: NonNegativeFloat = 0.7
    """0 is greedy."""


@dataclass(frozen=True)
class Asker:
    """Asks a model, each time with a seed of its own."""

    desk: Desk[Instruct]

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
                f"{desk.title}: the model has no room for a prompt with {desk.settings.shown} tasks and "
                f"{sampling.max_tokens} tokens after it; lower '{desk.name}.shown' or '{desk.name}.max_tokens'"
            )
        return [(request.seed, one) for request, one in zip(requests, found, strict=True)]


class Pool:
    """What was kept so far: the seeds and the model's own instructions, and what is like them."""

    def __init__(self, seeds: Sequence[Instruction], own: Iterable[Instruction], alike: float) -> None:
        self.seeds, self.own, self.alike = list(seeds), list(own), alike
        self._nearest = Nearest()
        self._nearest.extend(one.text for one in (*self.seeds, *self.own))

    def draw(self, seed: int, shown: int, own: int) -> list[Instruction]:
        """Tasks to show, in any order: so many of the model's own, and seeds."""
        rng = random.Random(seed)
        mine = rng.sample(self.own, min(own, shown, len(self.own)))
        drawn = [*mine, *rng.sample(self.seeds, min(shown - len(mine), len(self.seeds)))]
        rng.shuffle(drawn)
        return drawn

    def know(self, last: Sequence[Instruction]) -> None:
        """The last ones that joined, with what became known of them."""
        self.own[len(self.own) - len(last) :] = last

    def judge(self, text: str, *, cut_off: bool, enough: bool, **fields: Any) -> Instruction:
        """A proposal with what speaks against it; it joins the pool where nothing does."""
        similarity, nearest = self._nearest.find(text)
        reason = filters.CUT_OFF if cut_off else filters.why_not_instruction(text)
        if not reason and similarity > self.alike:
            reason = filters.ALIKE
        reason = reason or (filters.ENOUGH if enough else filters.KEPT)
        verb, noun = filters.verb_and_noun(text)
        found = Instruction(
            text=text, origin="proposed", kept=reason == filters.KEPT, reason=reason, nearest=nearest,
            similarity=similarity, verb=verb, noun=noun, **fields,
        )  # fmt: skip
        if found.kept:
            self.own.append(found)
            self._nearest.add(text)
        return found


def instruct(_: Sequence[object], desk: Desk[Instruct]) -> Iterator[Record]:
    """Propose, filter, classify, write instances, until enough is kept or was asked."""
    settings, seeds = desk.settings, load_seeds(desk.settings.seeds)
    rows = [Instruction(text=one.instruction, origin="seed", kept=True, reason="seed", round=0,
                        classification=one.is_classification) for one in seeds]  # fmt: skip
    earlier = [one for at in range(1, desk.round) for one in desk.read_of(at, Instruction)]
    own = [one for one in earlier if one.kept and one.origin == "proposed"]
    pool, before = Pool(rows, own, settings.alike), [one.text for one in (*rows, *own)]
    yield from rows
    asker, proposed, written = Asker(desk), list[Instruction](), list[Instance]()
    step = 0
    while step < settings.most and len(pool.own) - len(own) < settings.keep:
        some = list(_propose(desk, asker, pool, step, len(own) + settings.keep))
        step += min(settings.at_once, settings.most - step)
        kept = list(_classify(desk, asker, seeds, [one for one in some if one.kept]))
        pool.know(kept)
        told = iter(kept)
        some = [next(told) if one.kept else one for one in some]
        proposed += some
        yield from some
        known = by_id(kept)
        for instance in _instances(desk, asker, seeds, kept):
            written.append(instance)
            yield instance
            if instance.kept:
                yield _example(desk, instance, known[instance.instruction])
    desk.note(INSTRUCTIONS, measure(proposed, written, before))


def _propose(desk: Desk[Instruct], asker: Asker, pool: Pool, step: int, enough: int) -> Iterator[Instruction]:
    """What is proposed at once, each judged beside all before it."""
    settings = desk.settings
    times = range(step, min(step + settings.at_once, settings.most))
    shown = [pool.draw(derive_seed(desk.seed, desk.round, desk.name, "shown", at), settings.shown, settings.own)
             for at in times]  # fmt: skip
    prompts = [asked.propose(desk.prompts, [one.text for one in tasks]) for tasks in shown]
    stop = asked.stop_of_proposals(len(shown[0]), settings.wanted)
    for at, tasks, (seed, completion) in zip(
        times, shown, asker.ask(prompts, f"propose {step}", settings, stop), strict=True
    ):
        texts = asked.read_proposals(replace_surrogates(completion.text))
        parents = (desk.incumbent.id, *dict.fromkeys(one.id for one in tasks))
        for place, text in enumerate(texts):
            yield pool.judge(
                text,
                cut_off=completion.finish != "stop" and place == len(texts) - 1,
                enough=len(pool.own) >= enough,
                parents=parents,
                round=desk.round,
                step=at,
                seed=seed,
            )


def _classify(
    desk: Desk[Instruct], asker: Asker, seeds: Sequence[SeedTask], kept: Sequence[Instruction]
) -> Iterator[Instruction]:
    """Whether each is a classification; where the model does not say so it is none."""
    prompts = [asked.classify(desk.prompts, seeds, one.text) for one in kept]
    for one, (_, completion) in zip(kept, asker.ask(prompts, "classify", YES_OR_NO, asked.STOP), strict=True):
        yield Instruction(**one.model_dump() | {"classification": asked.read_classification(completion.text)})


def _instances(
    desk: Desk[Instruct], asker: Asker, seeds: Sequence[SeedTask], kept: Sequence[Instruction]
) -> Iterator[Instance]:
    """Inputs and outputs: the input first, or for a classification the output."""
    many = [one for one in kept for _ in range(desk.settings.examples)]
    prompts = [asked.instance(desk.prompts, seeds, one.text, output_first=bool(one.classification)) for one in many]
    answers = asker.ask(prompts, "instance", desk.settings, asked.STOP)
    for instruction in kept:
        mine = [answer for one, answer in zip(many, answers, strict=True) if one.id == instruction.id]
        yield from judge_instances(instruction, mine, desk.incumbent.id)


def judge_instances(
    instruction: Instruction, answers: Sequence[tuple[int, Completion]], checkpoint: str
) -> Iterator[Instance]:
    """The instances that were read out of answers, each with what speaks against it, by itself or beside the others."""
    first = bool(instruction.classification)
    read = [
        asked.read_instance(replace_surrogates(one.text), output_first=first) if one.finish == "stop" else None
        for _, one in answers
    ]
    alone = [
        (filters.CUT_OFF if one.finish != "stop" else filters.NO_FORM)
        if pair is None
        else filters.why_not_instance(instruction.text, *pair)
        for (_, one), pair in zip(answers, read, strict=True)
    ]
    beside = iter(filters.why_not_together([pair for pair, why in zip(read, alone, strict=True) if pair and not why]))
    for (seed, completion), pair, why in zip(answers, read, alone, strict=True):
        reason = why or next(beside) or filters.KEPT
        given, output = pair or ("", "")
        yield Instance(
            parents=(instruction.id, checkpoint), input=given, output=output, text=replace_surrogates(completion.text),
            kept=reason == filters.KEPT, reason=reason, output_first=first, round=instruction.round, seed=seed,
            tokens=completion.tokens, finish=completion.finish,
        )  # fmt: skip


def _example(desk: Desk[Instruct], instance: Instance, instruction: Instruction) -> Example:
    """The row that is trained: the instruction with its input as the question, the output as the completion."""
    question = "\n\n".join(filter(None, (instruction.text, instance.input)))
    problem = Problem(question=question, answer=None, task="instruct")
    return Example(
        parents=(instance.id, instruction.id),
        prompt=desk.prompts.render_question(problem),
        # A plain prompt ends in a cue such as "A:", and the model begins with a space.
        completion=instance.output if desk.prompts.chat else f" {instance.output}",
        origin="instructed",
        group="classification" if instance.output_first else "generation",
    )


def measure(proposed: Sequence[Instruction], written: Sequence[Instance], before: Sequence[str]) -> dict[str, Any]:
    """The funnel of a round, why what was turned away, and how different what was kept is from all `before`."""
    kept = [one for one in proposed if one.kept]
    pairs = [(one.verb, one.noun) for one in kept]
    return {
        "proposed": len(proposed),
        "kept": len(kept),
        "turned away": dict(Counter(one.reason for one in proposed if not one.kept).most_common()),
        "classifications": sum(one.classification is True for one in kept),
        "instances": len(written),
        "instances kept": sum(one.kept for one in written),
        "instances turned away": dict(Counter(one.reason for one in written if not one.kept).most_common()),
        "verbs": len({verb for verb, _ in pairs if verb}),
        "verbs with nouns": len({one for one in pairs if all(one)}),
        "common": filters.most_common(pairs, COMMON),
        "new runs of words": filters.share_of_new((one.text for one in kept), before),
        "similarity": sum(one.similarity for one in kept) / len(kept) if kept else 0.0,
        "words": sum(len(one.text.split()) for one in kept) / len(kept) if kept else 0.0,
    }


def say(desk: Desk[Instruct]) -> str:
    manifest = desk.manifest
    return describe(manifest.metrics[INSTRUCTIONS]) if manifest and INSTRUCTIONS in manifest.metrics else ""


def describe(found: Mapping[str, Any]) -> str:
    """One line on what a round's proposals came to."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in found["turned away"].items())
    return (
        f"{found['kept']} of {found['proposed']} proposed instructions kept{f' ({reasons})' if reasons else ''}, "
        f"{found['classifications']} of them classifications; {found['instances kept']} of {found['instances']} "
        "instances kept"
    )


def figures(manifest: Manifest) -> dict[str, float | None]:
    found = manifest.metrics.get(INSTRUCTIONS, {})
    return {f"instruct/{name.replace(' ', '_')}": value for name, value in found.items()
            if isinstance(value, (int, float))}  # fmt: skip


def depends(round_: Round[Instruct]) -> dict[str, object]:
    seeds = asked.hash_seeds(load_seeds(round_.settings.seeds))
    return {**round_.own, "seeds": seeds, **round_.shared(*SHOWN)}


def reads(round_: Round[Instruct]) -> list[Key]:
    return [round_.incumbent, *round_.earlier("instruct")]


def cost(look: Look[Instruct]) -> Sequence[Cost]:
    settings = look.settings
    asks = min(settings.most, -(-2 * settings.keep // settings.wanted))
    texts = asks + settings.keep * settings.examples
    return [Cost(texts=texts, longest=settings.max_tokens, upto=True)]


def check(recipe: Recipe, settings: Instruct) -> Iterable[Mistake]:
    if settings.own > settings.shown:
        yield Mistake(
            ("stages", "instruct", "own"), f"'instruct.own: {settings.own}' is more than 'instruct.shown' tasks"
        )


INSTRUCT = Stage(
    name="instruct",
    version=1,
    settings=Instruct,
    writes=Instruction,
    also=(Instance, Example),
    reads=reads,
    parts=lambda desk: [range(desk.settings.keep)],
    run=instruct,
    uses=SHOWN,
    depends=depends,
    asks="policy",
    unit=Instance,
    per_item=lambda desk: desk.settings.examples,
    open=True,
    say=say,
    cost=cost,
    figures=figures,
    check=check,
)
