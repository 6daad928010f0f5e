"""The page on which people rank responses without being told whose they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response
from starlette.requests import ClientDisconnect

from selfimprove.errors import StoreError
from selfimprove.people.comparisons import compare_ratings, measure_agreement
from selfimprove.records import derive_seed, digest, hash_text
from selfimprove.store.rankings import MOST, Ranking, person_of, rate_by_rank, write_ranking
from selfimprove.viewer.forms import library_of, run_of
from selfimprove.viewer.library import Run
from selfimprove.viewer.pages import banner
from selfimprove.viewer.posting import BY, WRITER, name_of, read_form, sign, writer_of
from selfimprove.viewer.rendering import render

router = APIRouter(include_in_schema=False)
MOST_SETS = 5000  # problems of a run that are offered
YEAR = 365 * 24 * 3600
# Only what the policy wrote for training problems: a held-out one that is ranked and trained on is held out no more.
# Those of demonstrations are training problems too.
SETS = f"""
    SELECT problem, list(id ORDER BY id)[1:{MOST}] AS ids FROM (
        SELECT problem, min(id) AS id FROM trace
        WHERE origin = 'sampled' AND finish = 'stop' AND trim(text) <> '' AND round > 0
              AND problem NOT IN (SELECT problem FROM trace WHERE is_held_out(stage))
              AND problem NOT IN (SELECT p.id FROM problem p JOIN part ON part.number = p.part
                                  WHERE is_held_out(part.stage))
        GROUP BY problem, text)
    GROUP BY problem HAVING count(*) > 1 ORDER BY problem LIMIT {MOST_SETS}
"""


@dataclass(frozen=True)
class Task:
    """What a person is shown: a problem and its responses, in an order of this person's own."""

    problem: str
    question: str
    responses: list[dict[str, Any]]

    @property
    def seal(self) -> str:
        """What a form sends back, so that ranks are never those of other responses."""
        return digest([one["id"] for one in self.responses])


def sets_to_rank(run: Run) -> dict[str, list[str]]:
    """The responses to each problem, in the order in which everybody is asked: so that people rank the same ones."""

    def read() -> dict[str, list[str]]:
        found = {row["problem"]: list(row["ids"]) for row in run.index.rows(SETS)}
        return {key: found[key] for key in sorted(found, key=lambda one: derive_seed("to rank", one))}

    sets: dict[str, list[str]] = run.keep("sets to rank", read)
    return sets


def show_task(run: Run, problem: str, ids: Sequence[str], person: str) -> Task:
    """The task of a person; raises StoreError where a part of the run is gone."""
    asked = run.records.record(problem, "problem")
    order = sorted(ids, key=lambda one: derive_seed("shown to", person, problem, one))
    texts = [run.records.record(one, "rationale") for one in order]
    if asked is None or None in texts:
        raise StoreError("what is to be ranked cannot be read: a file of the run is gone or damaged")
    responses = [{"id": one, "text": text["text"]} for one, text in zip(order, texts, strict=True) if text]
    return Task(problem, asked["question"], responses)


@router.get("/runs/{name}/rate")
def rate(request: Request, name: str, problem: str = Query("", max_length=40, pattern="^[0-9a-f]*$")) -> Response:
    """The next responses that this person has not ranked, or those of a problem again."""
    one = run_of(request, name)
    by, writer = name_of(request), writer_of(request)
    person = person_of(by, hash_text(writer))
    sets, rankings = sets_to_rank(one), one.rankings.current()
    mine = {each.problem: each for each in rankings if each.person == person and each.problem in sets}
    chosen = problem if problem in sets else next((key for key in sets if key not in mine), None)
    task = show_task(one, chosen, sets[chosen], person) if chosen else None
    answer = render(
        request, "rate.html", title="Rank responses", run=name, called=one.folder.called, task=task,
        by=by, sets=len(sets), done=len(mine),
        before=mine.get(chosen) if chosen else None, last=max(mine.values(), key=lambda each: each.at, default=None),
        ranked=task and _ranks_of(task, mine.get(task.problem)), agreement=agreement_of(one, rankings),
        banner=banner(one),
    )  # fmt: skip
    sign(answer, {WRITER: writer})
    return answer


def _ranks_of(task: Task, before: Ranking | None) -> list[int | None]:
    """The ranks that the person gave the responses shown before."""
    known = dict(zip(before.parents, before.ranks, strict=True)) if before else {}
    return [known.get(one["id"]) for one in task.responses]


def agreement_of(run: Run, rankings: Sequence[Ranking]) -> dict[str, object]:
    """How far people agree on the pairs that they ranked."""
    traces = {
        trace: {"prompt": one.problem, "text": trace, "checkpoint": ""} for one in rankings for trace in one.parents
    }
    return measure_agreement(compare_ratings(rate_by_rank(rankings, traces)))


@router.post("/runs/{name}/rate")
async def keep_ranking(request: Request, name: str) -> Response:
    """Keep what a person ranked or skipped, and show what comes next."""
    try:
        fields = await read_form(request, 20)
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    given = {key: values[0] for key, values in fields.items()}
    by, writer = given.get("by", "").strip(), writer_of(request)
    # The order shown was that of the name in the cookie: another name that is given now signs it.
    shown_to = person_of(name_of(request), hash_text(writer))
    run = library_of(request).run(name)
    await run_in_threadpool(_keep, run, given, shown_to, by, hash_text(writer))
    answer = RedirectResponse(f"/runs/{quote(name)}/rate", 303)
    sign(answer, {BY: by, WRITER: writer})
    return answer


def _keep(run: Run, given: dict[str, str], shown_to: str, by: str, writer: str) -> None:
    run.refresh()
    problem, ids = given.get("problem", ""), sets_to_rank(run).get(given.get("problem", ""))
    if ids is None:
        raise StoreError("there is nothing of that problem to rank in this run")
    task = show_task(run, problem, ids, shown_to)
    if given.get("seal") != task.seal:
        raise StoreError("other responses are shown here by now: open the page again and rank them")
    ranks: list[int | None] = [None] * len(task.responses)
    if given.get("action") != "skip":
        ranks = [_read_rank(given.get(f"rank-{at}", ""), len(ranks)) for at in range(len(ranks))]
        if not any(ranks):
            raise StoreError("nothing is ranked: give the best response rank 1, or skip them")
    reason = given.get("reason", "").replace("\r\n", "\n")
    write_ranking(run.folder, problem, [one["id"] for one in task.responses], ranks, reason, by, writer)


def _read_rank(text: str, most: int) -> int | None:
    if text == "":
        return None
    if not re.fullmatch("[1-9]", text) or int(text) > most:
        raise StoreError(f"a rank is a number from 1 to {most}")
    return int(text)
