"""Have the model write problems of its own, whose answers its samples vote on: a curriculum that nobody wrote."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pydantic import PositiveInt

from selfimprove.errors import RecipeError
from selfimprove.prompting import instruction_filters as filters
from selfimprove.prompting.instructions import PROPOSE_PROBLEMS
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import INSTRUCTIONS, Instruction, Problem, Record
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
from selfimprove.stages.select import Select
from selfimprove.tasks import question_key

GROUP = "proposed"


class Propose(Proposing):
    """Have the model propose problems after those of the round, and keep what is new. Nobody knows their answers:
    `select.vote` takes the majority of their samples, and says how many must and may agree, so that what is trained can
    be solved and is of medium difficulty."""

    keep: PositiveInt = 50
    """Problems that a round keeps."""
    begin: str = PROPOSE_PROBLEMS
    """What the model is told before the list."""
    numbers: bool = True
    """Turn a problem away that holds no number."""
    questions: bool = True
    """Turn a problem away that neither ends in a question mark nor begins with a request such as "Find": of a small
    model much of a list is answers to what stands before it."""


def propose(_: Sequence[object], desk: Desk[Propose]) -> Iterator[Record]:
    """Each proposal, and after one that is kept its problem."""
    settings = desk.settings
    given = [Shown(one.id, one.question) for one in desk.read(Problem) if one.answer is not None and not one.options]
    if not given:
        raise RecipeError(f"{desk.title}: no problem of the round can be shown: all have options or no answer")
    earlier = [one for at in range(1, desk.round) for one in desk.read_of(at, Instruction) if one.kept]
    own = [Shown(one.id, one.text) for one in earlier]
    held_out = {question_key(one.question) for one in desk.held_out}

    def why_not(text: str) -> str:
        if question_key(text) in held_out:
            return filters.HELD_OUT
        return filters.why_not_problem(
            text, numbers=settings.numbers, questions=settings.questions, begin=settings.begin
        )

    pool, proposed = Pool(given, own, settings.alike, why_not), list[Instruction]()
    for some in propose_until_enough(desk, Asker(desk), pool, settings.begin):
        proposed += some
        for one in some:
            yield one
            if one.kept:
                yield Problem(parents=(one.id,), question=one.text, answer=None, task=desk.task.name, group=GROUP)
    desk.note(INSTRUCTIONS, measure(proposed, [one.text for one in (*given, *own)]))


def reads(round_: Round[Propose]) -> list[Key]:
    mine = [(one, round_.name) for one in range(1, round_.number)]
    return [round_.incumbent, *round_.every(Problem), *mine]


def cost(look: Look[Propose]) -> Sequence[Cost]:
    return [Cost(texts=count_asks(look.settings), longest=look.settings.max_tokens, upto=True)]


def check(recipe: Recipe, settings: Propose) -> Iterable[Mistake]:
    yield from check_shown("propose", settings)
    if recipe.of(Select).vote is None:
        yield Mistake(
            ("stages", "propose"),
            "nobody knows the answers of proposed problems, so that none is trained; take what most samples say with "
            "'select.vote={}'",
        )


PROPOSE = Stage(
    name="propose",
    version=1,
    settings=Propose,
    writes=Instruction,
    also=(Problem,),
    reads=reads,
    needs=(Problem,),
    parts=lambda desk: [range(desk.settings.keep)],
    run=propose,
    uses=SHOWN,
    asks="policy",
    unit=Instruction,
    say=lambda desk: describe(desk.manifest, "problems"),
    cost=cost,
    sizes=lambda ahead: replace(ahead.sizes, problems=ahead.sizes.problems + ahead.settings.keep),
    figures=figures,
    check=check,
)
