"""Rows that share text with held-out problems: said on the run's page, and both texts beside each other."""

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from test_viewer import check, get
from viewing import BASE, serving, write_run, write_stage

from selfimprove.records import Checkpoint, Example, Overlap, Problem
from selfimprove.store.overlaps import CLEAN, OVERLAPS, describe_overlaps

FOUND = {"rows": 1200, "found": 1, "dropped": 0, "problems": 1, "evaluated": 20, "compared": 19, "rules": {"words": 1}}
CLEAN_OF = {"problems": 1, "n": 19, "correct": 4}


def test_a_run_shows_what_is_shared(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("<b>copied</b> text",))
    [example, *_] = run.stage(1, "select").read(Example)
    [problem] = run.stage(0, "problems").read(Problem)
    made = Checkpoint(parents=(BASE.id, example.id), path="p", method="sft", weights="w")
    overlap = Overlap(parents=(example.id, problem.id), rule="words", where="completion", share=0.75,
                      passage="<i>held</i> out", dropped=False)  # fmt: skip
    write_stage(run, 1, "again", "checkpoint", [made, overlap], metrics={OVERLAPS: FOUND})
    write_stage(run, 1, "measure", "checkpoint", [made], metrics={CLEAN: CLEAN_OF})
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        page = get(site, "/runs/made").text
        check(page)
        assert (
            "Round 1, again: WARNING: 1 of 1,200 rows share text with 1 of 20 held-out problems (1 by words)." in page
        )
        assert "share text with what was trained: 21.1% of 19." in page
        assert f"/runs/made/records/{overlap.id}" in page
        record = get(site, f"/runs/made/records/{overlap.id}").text
        check(record)
        assert "&lt;b&gt;copied&lt;/b&gt; text" in record and problem.question in record
        assert "&lt;i&gt;held&lt;/i&gt; out" in record and "75.0% of the question" in record
        assert get(site, "/api/runs/made").json()["overlaps"][0]["stage"] == "again"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({}, []),
        ({OVERLAPS: FOUND | {"rows": "<b>"}, CLEAN: [1]}, []),
        ({OVERLAPS: FOUND | {"found": 0, "problems": 0, "rules": {}}},
         ["none of 1,200 rows shares text with the 20 held-out problems"]),
        ({OVERLAPS: FOUND | {"dropped": 1}},
         ["1 of 1,200 rows are left out, which share text with 1 of 20 held-out problems (1 by words)"]),
        ({CLEAN: CLEAN_OF | {"n": 0, "correct": 0}},
         ["without the 1 held-out problems that share text with what was trained: no problem is left"]),
    ],
)  # fmt: skip
def test_what_is_said_of_overlaps(metrics: dict[str, object], said: list[str]) -> None:
    assert describe_overlaps(metrics) == said
