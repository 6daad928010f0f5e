"""What a run is given: its tasks with their problems, exemplars, prompts, the constitution, people's pairs."""

from functools import cached_property
from itertools import zip_longest
from pathlib import Path

from selfimprove.constitution import load_constitution
from selfimprove.constitution.transcript import Prompter
from selfimprove.errors import TaskError
from selfimprove.prompting.prompts import Exemplar, PromptFormat, load_exemplars
from selfimprove.recipe import Recipe
from selfimprove.records import FILE, Problem, derive_seed, digest
from selfimprove.running.seen import find_seen
from selfimprove.stages.evaluate import Evaluate
from selfimprove.stages.prefer import Prefer
from selfimprove.stages.split import controllers
from selfimprove.tasks import Task, check_disjoint, load_task
from selfimprove.tasks.base import PoolTask, draw_evenly, question_key, take
from selfimprove.tasks.pairs import HumanPair, load_pairs
from selfimprove.tasks.standard import Standard


class Inputs:
    """The data of a recipe, read once; raises TaskError where training and held-out problems overlap."""

    def __init__(self, recipe: Recipe, run: Path | None = None) -> None:
        """`run` is the folder of the run, which keeps the time that a chat template is told."""
        self.recipe, self._run = recipe, run
        self._left_out: list[str] = []
        self.exemplars = load_exemplars(recipe.prompt.exemplars, recipe.prompt.shots)
        apart = recipe.open_prompt
        self.open_exemplars = load_exemplars(apart.exemplars, apart.shots) if apart else ()
        evaluate = recipe.of(Evaluate)
        self.task: Task = load_task(recipe.train)
        if not self.task.levels and (recipe.rounds or evaluate.training):
            raise TaskError(f"task '{self.task.name}' has no problems to train on here; use it in 'evaluate_on'")
        self.open_task: Task | None = load_task(recipe.open) if recipe.open else None
        self.held_out_tasks: list[Task] = [load_task(one) for one in recipe.evaluate_on] or [self.task]
        self.seen = ""
        """What is left out of the evaluation because the model was trained on it, in words."""
        given = [one for task in self.held_out_tasks for one in task.held_out()]
        if evaluate.everything and isinstance(self.task, PoolTask):
            given = [*given, *self.task.train()]
        self.held_out: list[Problem] = take(self._unseen(given) if evaluate.unseen else given, evaluate.limit)
        if evaluate.training:  # a recipe without rounds, which trains on nothing
            self.held_out = draw_evenly(self.task, evaluate.training, derive_seed(recipe.seed, "training problems"))
        elif not evaluate.everything:
            check_disjoint([self.task, *([self.open_task] if self.open_task else [])], self.held_out)
        controllers(self.held_out, evaluate.controller)  # raises where one side would be empty
        self.standards = self._find_standards()
        self.constitution = load_constitution(recipe.constitution) if recipe.constitution else None
        self.pairs = self._load_pairs()

    def _unseen(self, problems: list[Problem]) -> list[Problem]:
        """The problems that the model was not trained on; raises TaskError where none is left."""
        seen = find_seen(self.recipe.model.path)
        drawn = [one for one in problems if question_key(one.question) in seen.drawn]
        if not drawn:
            return problems
        trained = sum(question_key(one.question) in seen.trained for one in drawn)
        self.seen = (
            f"{len(drawn):,} of {len(problems):,} problems were drawn for training by the run that made the model "
            f"({', '.join(seen.runs)}), and rows of {trained:,} of them were kept: they are left out "
            f"(--set evaluate.unseen=false asks them too)"
        )
        if len(drawn) == len(problems):
            raise TaskError(f"{self.seen}, and none is left")
        left_out = {one.id for one in drawn}
        self._left_out = sorted(left_out)
        return [one for one in problems if one.id not in left_out]

    @property
    def tasks(self) -> list[Task]:
        return [*self.held_out_tasks, self.task, *([self.open_task] if self.open_task else [])]

    def data(self, judges: object) -> str:
        """The hash of everything that the records depend on and no setting says: problems, exemplars,
        and the identity of who judges."""
        tasks = [task.fingerprint() for task in self.tasks]
        shown_sets = (self.exemplars, self.open_exemplars, *self.own_exemplars.values())
        exemplars = [[one.model_dump() for one in shown] for shown in shown_sets]
        standards = [
            one.fingerprint([problem for problem in self.held_out if problem.task == name])
            for name, one in self.standards.items()
        ]
        left_out = ["left out", self._left_out] if self._left_out else []
        found = (tasks, exemplars, judges, *map(_identify, self.pairs), *left_out)
        return digest(*found, *(["standards", standards] if standards else []))

    @cached_property
    def own_exemplars(self) -> dict[str, tuple[Exemplar, ...]]:
        """The exemplars that tasks bring, where the recipe names no file; raises TaskError where one should and does
        not."""
        if self.recipe.prompt.exemplars or not self.recipe.prompt.style.startswith("few-shot"):
            return {}
        # A scored prompt stands as it is, and open ones may have a format of their own.
        apart = "prompts/" if self.recipe.open_prompt else "\0"
        shown = [task for task in self.tasks if not task.scored and not task.name.startswith(apart)]
        found = {task.name: tuple(task.exemplars)[: self.recipe.prompt.shots] for task in shown}
        without = next((name for name, exemplars in found.items() if not exemplars), None)
        if without:
            raise TaskError(f"task '{without}': brings no exemplars here; name a file with 'prompt.exemplars'")
        return found

    def _find_standards(self) -> dict[str, Standard]:
        """By task: the prompts of the standard that the evaluation asks by; raises TaskError where no task has one."""
        name = self.recipe.of(Evaluate).standard
        if name is None:
            return {}
        found = {task.name: task.standards[name] for task in self.held_out_tasks if name in task.standards}
        if not found:
            names = ", ".join(task.name for task in self.held_out_tasks)
            raise TaskError(
                f"evaluate.standard: {name} has no prompts for {names}; it has them for gsm8k, mmlu/SUBJECT and, "
                f"from a local copy with its cot-prompts, bbh/TASK"
            )
        return found

    def _load_pairs(self) -> list[HumanPair]:
        """Pairs that people chose between: problems whose answer is preferred to their other options."""
        prefer = self.recipe.find(Prefer)
        if prefer is None or prefer.files is None:
            return []
        pairs = load_pairs(Path(prefer.files.path))
        evaluated = {question_key(one.question) for one in self.held_out}
        for one in (pair.problem for pair in pairs):
            if question_key(one.question) in evaluated:
                raise TaskError(
                    f"{prefer.files.path}: a pair is held out too: {one.question[:80]!r}; take it out of one"
                )
        return pairs

    def draw_open(self, round_: int) -> list[Problem]:
        """The open prompts of a round, evenly over their tags."""
        task, settings = self.open_task, self.recipe.open
        if task is None or settings is None:
            return []
        seed, groups = derive_seed(self.recipe.seed, "draw open", round_), sorted(task.levels)
        drawn = [task.draw(group, settings.draw, derive_seed(seed, group)) for group in groups]
        return [one for row in zip_longest(*drawn) for one in row if one is not None][: settings.draw]

    @cached_property
    def prompts(self) -> PromptFormat:
        """The prompt format, with the model's chat template where it has one and the recipe lets it be used."""
        chat = None
        if self.recipe.prompt.chat == "auto" and self.recipe.model.path:
            from selfimprove.engines.models import load_chat

            chat = load_chat(self.recipe.model.path, self._run)
        formats = {}
        if self.recipe.open_prompt:
            apart = PromptFormat(self.recipe.open_prompt, self.open_exemplars, chat)
            formats = {task.name: apart for task in self.tasks if task.name.startswith("prompts/")}
        return PromptFormat(self.recipe.prompt, self.exemplars, chat, self.own_exemplars, formats)

    @cached_property
    def prompter(self) -> Prompter | None:
        """What writes prompts by the constitution, in the form of the recipe's other prompts."""
        return Prompter(self.constitution, self.prompts.chat) if self.constitution else None


def _identify(pair: HumanPair) -> str | list[object]:
    """What the hash of the data holds of a pair."""
    if pair.source != FILE:
        return [pair.problem.id, pair.margin, pair.weight, pair.source]
    if pair.weight != 1.0:
        return [pair.problem.id, pair.margin, pair.weight]
    return pair.problem.id if pair.margin == 1.0 else [pair.problem.id, pair.margin]
