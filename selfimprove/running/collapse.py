"""What a round's texts are like once a policy is trained: noted for every run, whether it steers itself or not."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import nsmallest

from selfimprove.records import Example, Rationale, Verdict
from selfimprove.records.diversity import distinct, pass_at, quantiles, skeleton
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.stages.base import Key
from selfimprove.stages.earlier import fold
from selfimprove.stages.passes import passes
from selfimprove.stages.select import Select
from selfimprove.store import StageFolder
from selfimprove.store.collapse import COLLAPSE, Texts

MOST = 4_000  # texts of a round that are looked at, chosen by their ids


def measure_texts(stage: PlannedStage, disk: StageFolder, session: Session) -> None:
    """Note how different the texts of a round are, once it trains the policy, beside what several samples are worth."""
    if stage.declared.trains != "policy" or not stage.round:
        return
    before = [key for key in session.plan if key[0] == stage.round and session.plan[key].declared.about == "training"]
    keys = before[: before.index(stage.key)]
    sampled = list(_sampled(session, disk, keys))
    rows = [one for key in keys for one in session.disk(key).rows(Example).pick("prompt", "completion", "origin")]
    if not sampled and not rows:
        return
    texts = [one.text for one in sampled] or [one.completion for one in rows][:MOST]
    found = Texts(
        texts=len(texts),
        sampled=bool(sampled),
        distinct={str(size): share for size in (1, 2, 3) if (share := distinct(texts, size)) is not None},
        **_by_problem(sampled),
        lengths=quantiles([one.tokens for one in sampled] or [len(one.split()) for one in texts]),
        **_of_rows(stage, session, rows),
    )
    require = stage.recipe.of(Select).require
    session.clock.metrics[COLLAPSE] = found.model_copy(
        update={"passes": _passes(session, disk, keys, sampled, require)}
    ).model_dump()


def _sampled(session: Session, disk: StageFolder, keys: Iterable[Key]) -> Iterator[Rationale]:
    """Samples for training problems, those of the training itself too."""
    for folder in (*map(session.disk, keys), disk):
        ids = nsmallest(MOST, (one.id for one in folder.rows(Rationale).pick("origin") if one.origin == "sampled"))
        yield from folder.rows(Rationale).find(set(ids))


def _by_problem(sampled: list[Rationale]) -> dict[str, float | None]:
    """Of the samples of a problem, how many differ in their answers and in the form of their steps, on average."""
    of = defaultdict(list)
    for one in sampled:
        of[one.problem].append(one)
    several = [found for found in of.values() if len(found) > 1]
    if not several:
        return {}
    answers = [len({one.answer for one in found}) / len(found) for found in several]
    forms = [len({skeleton(one.text) for one in found}) / len(found) for found in several]
    return {"answers": sum(answers) / len(answers), "skeletons": sum(forms) / len(forms)}


def _passes(
    session: Session, disk: StageFolder, keys: Iterable[Key], sampled: list[Rationale], require: str
) -> dict[str, tuple[float, int]]:
    """Unbiased pass@k for k of 1, 2, 4, …, each with the number of problems that have so many decided samples."""
    problem_of = {one.id: one.problem for one in sampled}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for folder in (*map(session.disk, keys), disk):
        for one in folder.rows(Verdict).find(set(problem_of), "parents"):
            if one.outcome != "undecided":
                count = counts[problem_of[one.rationale]]
                count[0] += 1
                count[1] += passes(one, require)
    found, k = {}, 1
    while enough := [(n, c) for n, c in counts.values() if n >= k]:
        found[str(k)] = (sum(pass_at(k, n, c) for n, c in enough) / len(enough), len(enough))
        k *= 2
    return found


def _of_rows(stage: PlannedStage, session: Session, rows: list[Example]) -> dict[str, float]:
    """How much of the text that may be trained is the model's own, and how many of the new rows stood in a round before
    already."""
    seeds = [one for key in session.plan if key[0] == 0 for one in session.disk(key).rows(Example).pick("completion")]
    mixed = seeds if stage.recipe.of(Select).sources != "samples" else []
    own, given = (sum(len(one.completion) for one in some) for some in (rows, mixed))
    found = {"own": own / (own + given)} if own + given else {}
    known: set[bytes] = set()
    for key in session.plan:
        if 0 < key[0] < stage.round and session.plan[key].declared.about == "training":
            known |= {fold(one.prompt, one.completion)
                      for one in session.disk(key).rows(Example).pick("prompt", "completion")}  # fmt: skip
    if stage.round > 1 and rows:
        found["again"] = sum(fold(one.prompt, one.completion) in known for one in rows) / len(rows)
    return found
