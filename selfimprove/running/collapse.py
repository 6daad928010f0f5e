"""What a round's texts are like once a policy is trained: noted for every run, whether it steers itself or not."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import nsmallest
from itertools import islice

from selfimprove.records import Example, Rationale, Verdict
from selfimprove.records.collapse import Texts
from selfimprove.records.diversity import distinct, pass_at, quantiles, skeleton
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.stages.base import Key
from selfimprove.stages.earlier import fold
from selfimprove.stages.passes import passes
from selfimprove.stages.select import Select
from selfimprove.store import StageFolder
from selfimprove.store.collapse import COLLAPSE
from selfimprove.store.rows import Rows, join_rows

MOST = 4_000  # texts of a round that are looked at, chosen by their ids
MOST_ROWS = 20_000
GIVEN = ("seed", "mixture")  # origins of rows that no model of the run wrote


def measure_texts(stage: PlannedStage, disk: StageFolder, session: Session) -> None:
    """Note how different the texts of a round are, once it trains the policy, beside what several samples are worth."""
    if stage.declared.trains != "policy" or not stage.round:
        return
    about = [key for key, one in session.plan.items() if one.declared.about == "training"]
    keys = [key for key in about[: about.index(stage.key)] if key[0] == stage.round]
    sampled, rows = list(_sampled(session, disk, keys)), _rows(session, keys)
    texts = [one.text for one in sampled] or [one.completion for one in islice(rows.pick("completion"), MOST)]
    if not texts:
        return
    answers, forms = _by_problem(sampled)
    before = _rows(session, [key for key in about if key[0] == stage.round - 1]) if stage.round > 1 else None
    found = Texts(
        texts=len(texts),
        sampled=bool(sampled),
        distinct={str(size): share for size in (1, 2, 3) if (share := distinct(texts, size)) is not None},
        passes=_passes(session, disk, keys, sampled, stage.recipe.of(Select).require),
        answers=answers,
        skeletons=forms,
        lengths=quantiles([one.tokens for one in sampled] or [len(one.split()) for one in texts]),
        own=_own_share(stage, session, rows),
        again=_share_again(rows, before) if before is not None else None,
    )
    session.clock.metrics[COLLAPSE] = found.model_dump()


def _rows(session: Session, keys: Iterable[Key]) -> Rows[Example]:
    return join_rows(Example, (session.disk(key).rows(Example) for key in keys))


def _sampled(session: Session, disk: StageFolder, keys: Iterable[Key]) -> Iterator[Rationale]:
    """Samples for training problems, those of the training itself too."""
    for folder in (*map(session.disk, keys), disk):
        ids = nsmallest(MOST, (one.id for one in folder.rows(Rationale).pick("origin") if one.origin == "sampled"))
        yield from folder.rows(Rationale).find(set(ids))


def _by_problem(sampled: list[Rationale]) -> tuple[float, float] | tuple[None, None]:
    """Of the samples of a problem, how many differ in their answers and in the form of their steps, on average."""
    of = defaultdict(list)
    for one in sampled:
        of[one.problem].append(one)
    several = [found for found in of.values() if len(found) > 1]
    if not several:
        return None, None
    answers = [len({one.answer for one in found}) / len(found) for found in several]
    forms = [len({skeleton(one.text) for one in found}) / len(found) for found in several]
    return sum(answers) / len(answers), sum(forms) / len(forms)


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


def _own_share(stage: PlannedStage, session: Session, rows: Rows[Example]) -> float | None:
    """How much of the text that may be trained is the model's own."""
    first = [key for key in session.plan if key[0] == 0]
    seeds = _rows(session, first if stage.recipe.of(Select).sources != "samples" else ())
    own, given = 0, sum(len(one) for one in seeds.values("completion"))
    for one in rows.pick("origin", "completion"):
        if one.origin in GIVEN:
            given += len(one.completion)
        else:
            own += len(one.completion)
    return own / (own + given) if own + given else None


def _share_again(rows: Rows[Example], before: Rows[Example]) -> float | None:
    """How many of a round's new rows stood in the round before; of many rows, of those that a hash draws."""
    share = min(1.0, MOST_ROWS / max(1, len(rows), len(before)))

    def hashes(some: Rows[Example]) -> Iterator[bytes]:
        found = (fold(one.prompt, one.completion) for one in some.pick("prompt", "completion"))
        return (one for one in found if int.from_bytes(one[:4]) < share * 2**32)

    known, now = set(hashes(before)), list(hashes(rows))
    return sum(one in known for one in now) / len(now) if now else None
