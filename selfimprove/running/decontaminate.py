"""Before anything is trained: which of its rows share text with problems that the run evaluates.

It stands where all rows pass on their way to a trainer, so that no flow and no stage of others goes round it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from shlex import quote
from typing import TYPE_CHECKING, Any

from selfimprove.errors import TrainingError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe.training_settings import Decontamination
from selfimprove.records import Evaluation, Overlap, Problem, Rationale, Record, Verdict
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.stages.base import Trainable
from selfimprove.store import StageFolder
from selfimprove.store.join import Chosen
from selfimprove.store.overlaps import CLEAN, OVERLAPS, Clean, Overlaps
from selfimprove.store.rows import Rows

if TYPE_CHECKING:
    from selfimprove.tasks.overlap import Hit

ASKS = ("prompt", "question")
TEXTS = (*ASKS, "completion", "chosen", "rejected", "text")
"""The columns of a row that are compared, as far as it has them; the first two may be a whole question."""
AT_ONCE = 2048  # rows


def decontaminate(
    stage: PlannedStage, session: Session, rows: Trainable, given: Mapping[str, Any]
) -> tuple[Trainable, Mapping[str, Any]]:
    """Compare the rows of a training with the held-out problems, keep what is found as records, and give the rows that
    are to be trained; raises TrainingError where the recipe says to stop, or no row is left.

    `given` are fields of the job; prompts among them go with the rows, and examples that are `mixed` in are compared
    like these.
    """
    settings, mixed = stage.recipe.decontaminate, given.get("mixed", ())
    if settings is None or not len(rows):
        return rows, given
    problems = session.read((0, "problems"), Problem)
    found = Comparing(problems, session.prompts, settings)
    kind = rows.kind if isinstance(rows, Rows | Chosen) else type(rows[0])
    columns = [name for name in TEXTS if name in kind.model_fields]
    overlaps = chain(found.compare(_read(rows, columns), columns), found.compare(mixed, ["prompt", "completion"]))
    session.folder.stage(*stage.key).keep(0, overlaps)
    session.clock.metrics[OVERLAPS] = found.counts().model_dump()
    if found.rows_found and settings.action == "stop":
        first = next(one.question for one in problems if one.id in found.problems)
        runs = quote(str(session.folder.path.parent))
        raise TrainingError(
            f"{stage}: {len(found.rows_found):,} of {found.rows:,} rows share text with held-out problems, such as "
            f"{' '.join(first.split())[:80]!r}; look at them with: selfimprove view {runs}; "
            f"leave them out with: --set decontaminate.action=drop --redo all"
        )
    if not found.rows_found or settings.action != "drop":
        return rows, given
    if len(found.rows_found) == found.rows:
        raise TrainingError(f"{stage}: all {found.rows:,} rows share text with held-out problems: nothing is left")
    if mixed:
        given = {**given, "mixed": tuple(one for one in mixed if one.id not in found.rows_found)}
    return _without(rows, found.rows_found, given)


class Comparing:
    """Compares rows with problems, some rows at a time."""

    def __init__(self, problems: list[Problem], prompts: PromptFormat, settings: Decontamination) -> None:
        from selfimprove.tasks.overlap import Questions  # numpy takes a while, and most runs compare nothing

        self._settings, self._ids = settings, [one.id for one in problems]
        shown = ((prompts.render_question(one), prompts.render(one)) for one in problems)
        questions = [one.question for one in problems]
        self._questions = Questions(questions, shown, share=settings.share, numbers=settings.numbers)
        self.rows = 0
        self.rows_found: set[str] = set()
        self.problems: set[str] = set()
        self.rules: Counter[str] = Counter()  # by row and problem

    def compare(self, rows: Iterable[Record], columns: list[str]) -> Iterator[Overlap]:
        """The overlaps of rows that have these columns."""
        left = iter(rows)
        while some := list(islice(left, AT_ONCE)):
            self.rows += len(some)
            texts = [*dict.fromkeys(getattr(row, name) for row in some for name in columns)]
            hits = dict(zip(texts, self._questions.find(texts), strict=True))
            asked = {getattr(row, name) for row in some for name in columns if name in ASKS}
            hits |= {text: [hit, *hits[text]] for text in asked if (hit := self._questions.find_whole(text))}
            for row in some:
                seen: set[int] = set()
                for name in columns:
                    for hit in hits[getattr(row, name)]:
                        if hit.question not in seen and (hit.rule != "exact" or name in ASKS):
                            seen.add(hit.question)
                            yield from self._note(row, name, hit)

    def _note(self, row: Record, where: str, hit: "Hit") -> Iterator[Overlap]:
        """One for each problem that has the question."""
        self.rows_found.add(row.id)
        self.rules[hit.rule] += 1
        dropped = self._settings.action == "drop"
        for problem in (self._ids[at] for at in self._questions.same(hit.question)):
            self.problems.add(problem)
            yield Overlap(parents=(row.id, problem), rule=hit.rule, where=where, share=hit.share, passage=hit.passage,
                          dropped=dropped)  # fmt: skip

    def counts(self) -> Overlaps:
        found = len(self.rows_found)
        return Overlaps(
            rows=self.rows,
            found=found,
            dropped=found if self._settings.action == "drop" else 0,
            problems=len(self.problems),
            evaluated=len(self._ids),
            compared=self._questions.compared,
            rules=self.rules,
        )


def _read(rows: Trainable, columns: list[str]) -> Iterable[Record]:
    """Each row once, with its id and the columns alone where it lies on disk."""
    if isinstance(rows, Rows):
        return rows.pick(*columns)
    if isinstance(rows, Chosen):
        wanted = set(rows.ids())
        return (one for one in rows.rows.pick(*columns) if one.id in wanted)
    return rows


def _without(rows: Trainable, out: set[str], given: Mapping[str, Any]) -> tuple[Trainable, Mapping[str, Any]]:
    if isinstance(rows, Rows | Chosen):
        source = rows if isinstance(rows, Rows) else rows.rows
        return Chosen(source, [one for one in rows.ids() if one not in out]), given
    if "prompts" in given:
        pairs = zip(rows, given["prompts"], strict=True)
        given = {**given, "prompts": tuple(prompt for row, prompt in pairs if row.id not in out)}
    return [one for one in rows if one.id not in out], given


def measure_clean(stage: PlannedStage, disk: StageFolder, session: Session) -> None:
    """Note the accuracy of an evaluation without the problems that share text with what was trained until then."""
    if stage.recipe.decontaminate is None or not stage.declared.evaluates:
        return
    before = list(session.plan.values())[: list(session.plan).index(stage.key)]
    shared = {
        one.parents[1]
        for trains in before
        if trains.declared.trains
        for one in session.disk(trains.key).rows(Overlap).pick("parents", "dropped")
        if not one.dropped
    }
    if not shared:
        return
    problem_of = {one.id: one.parents[0] for one in disk.rows(Rationale).pick("parents")}
    counted = {verdict for one in disk.rows(Evaluation).pick("parents") for verdict in one.parents[1:]}
    outcomes = Counter(
        one.outcome
        for one in disk.rows(Verdict).pick("parents", "outcome")
        if one.id in counted and problem_of[one.parents[0]] not in shared
    )
    clean = Clean(problems=len(shared), n=outcomes["correct"] + outcomes["incorrect"], correct=outcomes["correct"])
    session.clock.metrics[CLEAN] = clean.model_dump()
