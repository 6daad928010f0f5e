"""Which questions a model was trained on, as far as the runs tell that it comes from."""

from dataclasses import dataclass, field
from pathlib import Path

from selfimprove.recipe.catalog import known_stages
from selfimprove.records import Distillation, Example, Preference, Problem, Rationale
from selfimprove.records.files import RECIPE, is_regular
from selfimprove.store import RunFolder, StageFolder
from selfimprove.store.links import ROUND_NAME
from selfimprove.store.weights import find_first, locate_weights
from selfimprove.tasks.base import question_key


@dataclass
class Seen:
    """Questions in the form that `question_key` gives, by which two are the same."""

    drawn: set[str] = field(default_factory=set)
    """Those that rounds before the model drew to train on."""
    trained: set[str] = field(default_factory=set)
    """Those of them of which rows were kept."""
    runs: list[str] = field(default_factory=list)


def find_seen(model: str | None) -> Seen:
    """What a model was trained on in the run that its folder lies in, and in those of the models that the run began
    with."""
    found, path = Seen(), Path(model) if model else None
    known: set[Path] = set()
    while path is not None and (place := _place(path)) is not None and place[0].path not in known:
        folder, round_ = place
        known.add(folder.path)
        found.runs.append(folder.path.name)
        _add(found, folder, round_)
        begun = find_first(folder)
        path = Path(locate_weights(folder, begun.path)) if begun else None
    return found


def _place(model: Path) -> tuple[RunFolder, int] | None:
    """The run and the round that a checkpoint's folder lies in."""
    model = model.resolve()
    for folder in model.parents:
        if ROUND_NAME.fullmatch(folder.name) and is_regular(folder.parent / RECIPE):
            return RunFolder(folder.parent), int(folder.name.removeprefix("round-"))
    return None


def _add(found: Seen, run: RunFolder, last: int) -> None:
    questions: dict[str, str] = {}
    problems: dict[str, str] = {}
    rows: list[str] = []
    for stage in run.stages():
        if stage.key[0] > last or _is_held_out(stage):
            continue
        for problem in stage.rows(Problem).pick("question"):
            questions[problem.id] = question_key(problem.question)
        for text in stage.rows(Rationale).pick("parents"):
            problems[text.id] = text.parents[0]
        for kind in (Example, Preference, Distillation):
            rows += [parent for row in stage.rows(kind).pick("parents") for parent in row.parents]
    found.drawn |= set(questions.values())
    found.trained |= {questions[one] for row in rows if (one := problems.get(row, row)) in questions}


def _is_held_out(stage: StageFolder) -> bool:
    manifest = stage.manifest()
    declared = known_stages().get((manifest.declared or manifest.stage) if manifest else stage.key[1])
    return declared is not None and declared.about == "held out"
