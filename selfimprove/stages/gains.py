"""Which of several revisions of a response takes its place: the one that gains most, by checks or by a judge."""

from collections.abc import Callable, Iterator, Sequence

from selfimprove.constitution.adherence import overall
from selfimprove.records import Comparison, Record, Revision
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk
from selfimprove.stages.compare import Feedback, Match, compare
from selfimprove.stages.weigh import Scales, Weighed, count_passed

OUTDONE = "another revision of it gains more"
Prefer = Callable[[Sequence[Weighed]], list[Comparison]]
"""How much a judge prefers each revision to what it revises."""


def take_best(weighed: Sequence[Weighed], scales: Scales, prefer: Prefer | None) -> Iterator[Record]:
    """What becomes of the revisions of a step: of several of one response that may be kept the one that gains most is,
    and takes its place in the chain."""
    records = [scales.weigh(one) for one in weighed]
    of_chain: dict[int, list[int]] = {}
    for at, one in enumerate(weighed):
        of_chain.setdefault(id(one.chain), []).append(at)
    able = {chain: [at for at in mine if records[at].kept] for chain, mine in of_chain.items()}
    rivals = [at for mine in able.values() if len(mine) > 1 for at in mine]
    gains: dict[int, float] = {at: count_passed(weighed[at]) for at in rivals}
    if prefer and rivals:
        compared = prefer([weighed[at] for at in rivals])
        yield from compared
        gains = {at: one.preferred for at, one in zip(rivals, compared, strict=True)}
    best = {
        chain: max(mine, key=lambda at: (gains.get(at, 0.0), weighed[at].relevance or 0.0, -at))
        for chain, mine in able.items()
        if mine
    }
    for at, (one, record) in enumerate(zip(weighed, records, strict=True)):
        if at in gains and at != best[id(one.chain)]:
            record = Revision(**record.model_dump() | {"kept": False, "reason": OUTDONE})
        yield record
    for one, record in zip(weighed, records, strict=True):
        taken = best.get(id(one.chain))
        if taken is not None and weighed[taken] is one:
            one.chain.response, one.chain.verdict, one.chain.settled = one.revised, one.verdict, set()
        elif taken is None and "unchanged" in record.marks:
            one.chain.settled.add(one.link.principle.id)


def judge_gains(desk: Desk[Settings]) -> Prefer:
    """The recipe's judge, asked of each revision and what it revises by all principles together."""

    def prefer(rivals: Sequence[Weighed]) -> list[Comparison]:
        judge, prompter = desk.judge()
        matches = [
            Match(
                one.chain.problem,
                one.revised,
                one.chain.response,
                overall(desk.constitution, one.chain.problem) or one.link.principle,
            )
            for one in rivals
        ]
        return compare(
            matches,
            engine=desk.engine(judge),
            checkpoint=judge.id,
            prompter=prompter,
            settings=Feedback(),
            round_=desk.round,
            seed=desk.seed,
        )

    return prefer
