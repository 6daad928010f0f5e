"""Have the model write tasks of its own, from a few that people wrote (Self-Instruct; Wang et al., 2023)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pydantic import PositiveInt

from selfimprove.engines import Completion
from selfimprove.prompting import instruction_filters as filters
from selfimprove.prompting import instructions as asked
from selfimprove.prompting.instructions import SeedTask, load_seeds
from selfimprove.recipe import Sampling
from selfimprove.records import (
    INSTRUCTIONS,
    Example,
    Instance,
    Instruction,
    Problem,
    Record,
    by_id,
    replace_surrogates,
)
from selfimprove.settings import unhashed
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.proposing import (
    Asker,
    Pool,
    Proposing,
    Shown,
    check_shown,
    count_asks,
    describe,
    figures,
    measure,
    propose_until_enough,
)

YES_OR_NO = Sampling(temperature=0.0, max_tokens=4)


class Instruct(Proposing):
    """Have the model propose instructions from seed tasks, write inputs and outputs for them, and keep what is new and
    sound as examples to train on (Self-Instruct; Wang et al., 2023, section 2)."""

    seeds: str = unhashed(
        "instructions",
        "seed tasks in the form of Self-Instruct's seed_tasks.jsonl, by path or by name in policies/seeds",
    )
    examples: PositiveInt = 1
    """Inputs with outputs that are asked for each instruction."""


def instruct(_: Sequence[object], desk: Desk[Instruct]) -> Iterator[Record]:
    """Propose, filter, classify, write instances, until enough is kept or was asked."""
    settings, seeds = desk.settings, load_seeds(desk.settings.seeds)
    rows = [Instruction(text=one.instruction, origin="seed", kept=True, reason="seed", round=0,
                        classification=one.is_classification) for one in seeds]  # fmt: skip
    earlier = [one for at in range(1, desk.round) for one in desk.read_of(at, Instruction)]
    own = [one for one in earlier if one.kept and one.origin == "proposed"]
    before = [one.text for one in (*rows, *own)]
    pool = Pool(_as_shown(rows), _as_shown(own), settings.alike, filters.why_not_instruction)
    yield from rows
    asker, proposed, written = Asker(desk), list[Instruction](), list[Instance]()
    for some in propose_until_enough(desk, asker, pool, asked.PROPOSE):
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
    desk.note(INSTRUCTIONS, measure(proposed, before) | measure_written(proposed, written))


def _as_shown(instructions: Iterable[Instruction]) -> list[Shown]:
    return [Shown(one.id, one.text) for one in instructions]


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


def measure_written(proposed: Sequence[Instruction], written: Sequence[Instance]) -> dict[str, object]:
    """What became of the instructions, where each is to have inputs and outputs."""
    return {
        "classifications": sum(one.classification is True for one in proposed if one.kept),
        "instances": len(written),
        "instances kept": sum(one.kept for one in written),
        "instances turned away": dict(Counter(one.reason for one in written if not one.kept).most_common()),
    }


def depends(round_: Round[Instruct]) -> dict[str, object]:
    seeds = asked.hash_seeds(load_seeds(round_.settings.seeds))
    return {**round_.own, "seeds": seeds, **round_.shared(*SHOWN)}


def reads(round_: Round[Instruct]) -> list[Key]:
    return [round_.incumbent, *round_.earlier("instruct")]


def cost(look: Look[Instruct]) -> Sequence[Cost]:
    settings = look.settings
    texts = count_asks(settings) + settings.keep * settings.examples
    return [Cost(texts=texts, longest=settings.max_tokens, upto=True)]


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
    say=lambda desk: describe(desk.manifest, "instructions"),
    cost=cost,
    sizes=lambda ahead: replace(ahead.sizes, kept=ahead.sizes.kept + ahead.settings.keep * ahead.settings.examples),
    figures=figures,
    check=lambda recipe, settings: check_shown("instruct", settings),
)
