"""Teach a model built from nothing by seed rationales of the task."""

from collections.abc import Iterable, Iterator, Sequence

from pydantic import NonNegativeInt, PositiveInt

from selfimprove.errors import TrainingError
from selfimprove.recipe import Recipe, SupervisedTraining
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Checkpoint, Example, Problem, Record, derive_seed
from selfimprove.settings import Share
from selfimprove.stages.base import SHOWN, Cost, Desk, Look, Round, Stage
from selfimprove.stages.training import trained_rows
from selfimprove.tasks import Arithmetic, LongAddition, Rising
from selfimprove.tasks.addition import write_critique
from selfimprove.trainers.job import SftJob

SEEDED = ("arithmetic", "long-addition", "rising")
SEEDED_RIGHT = 0.1  # of the seed responses are right; made-up mistakes leave some of the others right too


class Warmup(SupervisedTraining):
    """Teach a model built from nothing by seed rationales of the task."""

    examples: PositiveInt = 800
    """Number of seed rationales."""
    critiques: NonNegativeInt = 0
    """Seed critiques, each of a rationale with made-up mistakes or with none, and the revisions by them, in the form of
    the recipe's constitution; for a model that could not criticise otherwise. They count towards the cap of their
    problem's group where rows are balanced."""
    hinted: Share = 0.0
    """The share of seed rationales that is also shown with the hint, so that the model knows that prompt."""
    steps: PositiveInt | None = 350
    """Optimizer steps; with null `epochs` decides."""


def warm_up(_: Sequence[object], desk: Desk[Warmup]) -> Iterator[Record]:
    """Build the model and train it on seed rationales; a share of them is shown with the hint as well.

    The hinted rows teach the format of rationalization's prompt; they are seed data, no sample of a round.
    """
    problems, examples = _seed_rationales(desk)
    lessons = list(_seed_critiques(desk))
    problems += [one for one in lessons if isinstance(one, Problem)]
    examples += [one for one in lessons if isinstance(one, Example)]
    model = desk.model.path
    if desk.model.build:
        from selfimprove.engines.build import build_model

        desk.import_models()
        build_model(desk.model.build, desk.folder / "initial", derive_seed(desk.seed, "weights"))
        model = str(desk.folder / "initial")
    yield from problems
    yield from examples
    yield desk.train(SftJob, examples, None, model=model)


def _seed_rationales(desk: Desk[Warmup]) -> tuple[list[Problem], list[Example]]:
    task, settings = desk.task, desk.settings
    assert isinstance(task, Arithmetic | LongAddition | Rising)
    problems: list[Problem] = []
    examples: list[Example] = []
    rows = task.seed_rationales(settings.examples, desk.seed)
    hinted = round(len(rows) * settings.hinted)
    for at, (problem, rationale) in enumerate(rows):
        problems.append(problem)
        prompts = [desk.prompts.render_question(problem)]
        # Every n-th row, so that the hinted ones are spread over all shapes.
        if (at + 1) * hinted // len(rows) > at * hinted // len(rows):
            prompts.append(desk.prompts.render_hint(problem))
        examples += [
            Example(parents=(problem.id,), prompt=one, completion=rationale, origin="seed", group=problem.group)
            for one in prompts
        ]
    return problems, examples


def _seed_critiques(desk: Desk[Warmup]) -> Iterator[Problem | Example]:
    """Seed critiques by the constitution, and the revisions by those that find something."""
    task, count = desk.task, desk.settings.critiques
    if not count:
        return
    assert isinstance(task, Arithmetic)
    constitution, prompter = desk.constitution, desk.prompter
    for problem, response, rationale in task.seed_responses(count, desk.seed, right=SEEDED_RIGHT):
        applying = constitution.applying("critique", task.name, (problem.group,))
        if not applying:
            raise TrainingError(f"'{constitution.name}': no principle for critiques applies to '{task.name}'")
        principle = applying[0]
        critique = write_critique(problem.question, response, constitution.nothing)
        rows = [(prompter.critique(principle, problem.question, response), critique)]
        if response != rationale:
            rows.append((prompter.revision(principle, problem.question, response, critique), rationale))
        yield problem
        for shown, completion in rows:
            yield Example(
                parents=(problem.id,), prompt=shown, completion=completion, origin="seed", group=problem.group
            )


def depends(round_: Round[Warmup]) -> dict[str, object]:
    constitution = round_.shared("constitution") if round_.settings.critiques else {"constitution": ""}
    return {**round_.own, **round_.shared(*SHOWN), **constitution}


def cost(look: Look[Warmup]) -> Sequence[Cost]:
    return [Cost(rows=trained_rows(look.settings, 0, look.settings.examples), longest=look.settings.max_length)]


def check(recipe: Recipe, settings: Warmup) -> Iterable[Mistake]:
    if recipe.train.name not in SEEDED:
        *first, last = map(repr, SEEDED)
        yield Mistake(
            ("stages", "warmup"),
            f"only the tasks {', '.join(first)} and {last} have seed rationales; leave 'warmup' out and start from "
            "a pretrained model",
        )
    elif settings.critiques and recipe.train.name != "arithmetic":
        yield Mistake(("stages", "warmup", "critiques"), "only the task 'arithmetic' has seed critiques")
    if settings.critiques and recipe.constitution is None:
        where = ("stages", "warmup", "critiques")
        yield Mistake(where, "'warmup.critiques' needs a 'constitution', by path or by name")


WARMUP = Stage(
    name="warmup",
    version=1,
    settings=Warmup,
    writes=Checkpoint,
    also=(Problem, Example),
    reads=lambda round: [round.problems],
    run=warm_up,
    uses=(*SHOWN, "constitution"),
    depends=depends,
    when="first",
    starts=True,
    trains="policy",
    cost=cost,
    check=check,
)
