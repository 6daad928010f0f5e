"""What the records of a run say of a checkpoint: the facts that its cards are made of."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.constitution import Constitution, load_constitution
from selfimprove.constitution.adherence import FIGURES, Row, read_rows
from selfimprove.recipe import Recipe
from selfimprove.records import Checkpoint, Evaluation, Promotion
from selfimprove.records.stats import Accuracy, sum_by_task
from selfimprove.running.figures import read_manifests
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.evaluated import find_evaluating
from selfimprove.store.query import Query
from selfimprove.store.run import CONSTITUTION

EXAMPLES = 3


@dataclass(frozen=True)
class Evaluated:
    """What was measured of a round's checkpoint."""

    round: int
    tasks: list[Accuracy]
    rows: list[Row]
    promotion: str
    mine: bool
    """Whether it is the checkpoint that is published."""


@dataclass(frozen=True)
class Facts:
    """All that the cards say."""

    name: str
    recipe: Recipe
    checkpoint: Checkpoint
    base: str
    licence: str | None
    constitution: Constitution | None
    manifests: list[Manifest]
    rounds: list[Evaluated]
    verdicts: list[dict[str, Any]]
    """By verifier, version and outcome."""
    rows: list[dict[str, Any]]
    """Trained rows by round, kind and origin."""
    within: set[tuple[int, str]] = field(default_factory=set)
    """The stages, by round and name, whose training went into the checkpoint."""
    examples: list[dict[str, str]] = field(default_factory=list)
    control: "Facts | None" = None

    @property
    def mine(self) -> Evaluated | None:
        """What was measured of the published checkpoint."""
        return next((one for one in reversed(self.rounds) if one.mine), None)

    @property
    def built(self) -> bool:
        """Whether the run began with random weights."""
        return self.recipe.model.build is not None


def read_facts(
    folder: RunFolder, checkpoint: Checkpoint, *, base: str | None = None, licence: str | None = None,
    control: "Facts | None" = None,
) -> Facts:  # fmt: skip
    """Read what a run's records say; `base` is the name under which others find its first model."""
    recipe, query, manifests = folder.recipe(), Query(folder), read_manifests(folder)
    first = recipe.model.path or "built from nothing"
    local = Path(first).expanduser().exists() or first.startswith(("/", ".", "~"))
    held = folder.path / CONSTITUTION
    return Facts(
        name=folder.path.resolve().name,
        recipe=recipe,
        checkpoint=checkpoint,
        base=base or (Path(first).name if local else first),
        licence=licence,
        constitution=load_constitution(folder.check_text(CONSTITUTION), alone=True) if held.is_file() else None,
        manifests=manifests,
        rounds=_read_rounds(folder, checkpoint, manifests),
        verdicts=query.rows("SELECT verifier, version, outcome, count(*) AS n FROM verdict GROUP BY ALL ORDER BY ALL"),
        rows=query.rows(
            "SELECT round, 'sft' AS kind, origin AS source, count(DISTINCT id) AS n FROM example GROUP BY ALL "
            "UNION ALL SELECT round, 'dpo' AS kind, source, count(DISTINCT id) AS n FROM preference GROUP BY ALL "
            "ORDER BY ALL"
        ),
        within=_find_within(folder, checkpoint),
        examples=query.rows(
            f"SELECT prompt, completion FROM example ORDER BY round DESC, id LIMIT {EXAMPLES}"
        ),
        control=control,
    )  # fmt: skip


def _read_rounds(folder: RunFolder, checkpoint: Checkpoint, manifests: list[Manifest]) -> list[Evaluated]:
    found = []
    measured = {one.round: read_rows(one.metrics[FIGURES]) for one in manifests if FIGURES in one.metrics}
    promotions = {
        stage.key[0]: one.reason for stage in folder.stages() if stage.closed for one in stage.read(Promotion)
    }
    for round_, names in find_evaluating(folder).items():
        for name in names:
            stage = folder.stage(round_, name)
            evaluations = stage.read(Evaluation) if stage.closed else []
            mine = bool(evaluations) and evaluations[0].parents[0] == checkpoint.id
            if not evaluations or not (mine or name == names[-1]):
                continue  # of a checkpoint within the round, such as before its DPO
            tasks = [one for one in sum_by_task(evaluations, round_) if one.n]
            found.append(Evaluated(round_, tasks, measured.get(round_, []), promotions.get(round_, ""), mine))
    return found


def _find_within(folder: RunFolder, checkpoint: Checkpoint) -> set[tuple[int, str]]:
    """The stages that trained a checkpoint or one that it went on from; what was rolled back is not among them."""
    made = {one.id: (stage.key, one) for stage in folder.stages() if stage.closed for one in stage.read(Checkpoint)}
    found, left = set[tuple[int, str]](), [checkpoint.id]
    while left:
        if (there := made.get(left.pop())) and there[0] not in found:
            found.add(there[0])
            left.extend(there[1].parents)
    return found
