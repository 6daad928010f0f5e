"""The index of a run: it says what the run's files say, follows them, and survives what is torn."""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_problem, make_rationale
from viewing import BASE, judge, write_round, write_run, write_stage

from selfimprove.errors import StoreError
from selfimprove.records import (
    KINDS,
    Checkpoint,
    CrossCheck,
    Decision,
    Example,
    Preference,
    Rationale,
    Record,
    Verdict,
    Vote,
)
from selfimprove.running.figures import read_funnels
from selfimprove.store import RunFolder
from selfimprove.store.export import export_rows
from selfimprove.store.files import list_files, missing_files
from selfimprove.store.index import Index
from selfimprove.store.lookup import Records
from selfimprove.store.made_from import read_changes, read_flow, read_funnel, read_health, read_parts, read_solved
from selfimprove.store.query import Query
from selfimprove.store.search import SORTS, Filters, Search
from selfimprove.store.written import read_written

TRACES = 3 * 4 + 2 * 5  # held out in rounds 0 to 2; sampled and one revised in rounds 1 and 2
TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "100% of it_\n#3", "Ünïcode 3\n#3")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The index of a run that no test changes."""
    index = index_of(write_run(tmp_path_factory.mktemp("still"), TEXTS, rounds=2))
    yield index
    index.close()


@pytest.fixture
def run(indexed: Index, tmp_path: Path) -> RunFolder:
    """A copy of that run, to be changed."""
    shutil.copytree(indexed.folder.path, tmp_path / "made")
    return RunFolder(tmp_path / "made")


def index_of(run: RunFolder) -> Index:
    index = Index(run, run.path.parent / "cache")
    index.refresh(force=True)
    return index


def test_it_holds_the_traces_that_the_parquet_files_hold(indexed: Index) -> None:
    index, query = indexed, Query(indexed.folder)
    by_hand = {row["id"]: row for row in query.traces()}
    rows = index.rows("SELECT * FROM trace")
    assert len(rows) == len(by_hand) == TRACES
    for row in rows:
        other = by_hand[row["id"]]
        same = (
            "round",
            "stage",
            "task",
            "level",
            "group",
            "problem",
            "origin",
            "outcome",
            "reasoning",
            "text",
            "tokens",
        )
        assert [row[name] for name in same] == [other[name] for name in same]
        assert row["kept"] == {True: "kept", False: "turned away", None: "none"}[other["kept"]]
    assert [row["id"] for row in index.rows("SELECT id FROM trace ORDER BY seq")] == list(by_hand)


def test_the_cube_counts_what_the_traces_are(indexed: Index) -> None:
    search = Search(indexed)
    rows = search.index.rows("SELECT * FROM trace")
    for name, values in search.facets(Filters()).items():
        assert dict(values) == Counter(row[name] for row in rows), name
    # The same with filters that the cube cannot answer.
    outcome, problem = {"outcome": ("correct",)}, next(row["problem"] for row in rows if row["origin"] == "revised")
    some = tuple(row["id"] for row in rows[::3])
    asked = [Filters(outcome), Filters(outcome, text="#3"), Filters(outcome, problem=problem),
             Filters(outcome, ids=some), Filters(outcome, problem, "#3"),
             Filters(outcome, text="#3", ids=some)]  # fmt: skip
    for filters in asked:
        counted = search.facets(filters)
        mine = [row for row in rows if filters.text in row["text"] and filters.problem in ("", row["problem"])
                and (filters.ids is None or row["id"] in filters.ids)]  # fmt: skip
        assert mine
        assert dict(counted["outcome"]) == Counter(row["outcome"] for row in mine)
        right = [row for row in mine if row["outcome"] == "correct"]
        assert dict(counted["stage"]) == Counter(row["stage"] for row in right)
        assert search.count(filters) == len(right) == len(search.page(filters, limit=200))


@pytest.mark.parametrize(
    ("text", "regex", "found"),
    [
        ("2=4", False, {"1+2=4\n#4"}),
        ("100%", False, {"100% of it_\n#3", "100% of it_\n#3 and more"}),
        ("it_", False, {"100% of it_\n#3", "100% of it_\n#3 and more"}),
        ("%", False, {"100% of it_\n#3"}),
        ("\\", False, set()),
        ("ünïCODE", False, {"Ünïcode 3\n#3"}),
        (r"=\d\n#4$", True, {"1+2=4\n#4"}),
        ("^ünï", True, {"Ünïcode 3\n#3"}),
    ],
)
def test_text_is_searched_for_without_case_and_as_it_stands(
    indexed: Index, text: str, regex: bool, found: set[str]
) -> None:
    search = Search(indexed)
    shown = {row["text"] for row in search.page(Filters(text=text, regex=regex), limit=200)}
    assert shown <= found | {f"{one} and more" for one in found} and (not found or shown & found)


def test_what_cannot_be_asked_is_said_in_one_line(indexed: Index) -> None:
    search = Search(indexed)
    with pytest.raises(StoreError, match="no regular expression"):
        search.count(Filters(text="(", regex=True))
    with pytest.raises(StoreError, match="characters long"):
        Filters(text="x" * 201)
    with pytest.raises(StoreError, match="no filter 'colour'"):
        Filters({"colour": ("red",)})
    with pytest.raises(StoreError, match="whole number"):
        Filters({"round": ("1; DROP TABLE trace",)})
    assert search.count(Filters({"task": ("'; DROP TABLE trace; --",)})) == 0


def test_sorting_and_pages_show_each_trace_once(indexed: Index) -> None:
    search = Search(indexed)
    everything = [row["id"] for row in search.page(Filters(), limit=200)]
    paged = [row["id"] for at in range(0, 30, 5) for row in search.page(Filters(), limit=5, offset=at)]
    assert paged == everything
    longest = [row["tokens"] for row in search.page(Filters(), sort="longest", limit=200)]
    assert longest == sorted(longest, reverse=True)
    newest = [row["round"] for row in search.page(Filters(), sort="newest", limit=200)]
    assert newest == sorted(newest, reverse=True)
    for sort in SORTS:  # what holds a text is looked for in another table
        found = [row["id"] for row in search.page(Filters(text="3"), sort=sort, limit=200)]
        rows = search.page(Filters(), sort=sort, limit=200)
        assert found == [row["id"] for row in rows if "3" in row["text"]] and len(found) > 15, sort
    for at, one in enumerate(everything):
        before = everything[at - 1] if at else None
        after = everything[at + 1] if at + 1 < len(everything) else None
        assert search.neighbours(Filters(), "order", at) == (before, after), one


def test_trained_follows_the_checkpoints(indexed: Index) -> None:
    index = indexed
    counts = {row["trained"]: row["n"] for row in index.rows("SELECT trained, count(*) AS n FROM trace GROUP BY ALL")}
    # In each of two rounds: texts 0 and 2 as examples, the revision chosen; text 0 was rejected too, and is an example.
    assert counts["example"] == 4 and counts["chosen"] == 2 and "rejected" not in counts
    chosen = "SELECT id FROM trace WHERE trained = 'example' AND round = 1 AND text = ?"
    trace = index.rows(chosen, TEXTS[0])[0]["id"]
    made = Records(index).children(trace)
    assert {one["kind"] for one in made} == {"example", "preference", "critique", "revision", "rationale"}
    example = next(one["child"] for one in made if one["kind"] == "example")
    assert [one["kind"] for one in Records(index).children(example)] == ["checkpoint"]


def test_every_record_is_found_and_read(indexed: Index) -> None:
    records, query = Records(indexed), Query(indexed.folder)
    for kind in ("problem", "rationale", "verdict", "decision", "critique", "revision", "example", "preference",
                 "checkpoint", "evaluation"):  # fmt: skip
        for row in query.rows(f"SELECT * FROM {kind}"):
            assert records.find(row["id"]) == (row["id"], kind)
            stored = records.record(row["id"], kind)
            assert stored is not None and {name: stored[name] for name in KINDS[kind].model_fields} == {
                name: row[name] for name in KINDS[kind].model_fields
            }
    for wrong in ("", "xyz", "' OR 1=1", "ffffffffffffffffffff"):
        with pytest.raises(StoreError):
            records.find(wrong)


def test_a_new_part_extends_it_and_a_part_taken_away_is_gone(run: RunFolder) -> None:
    index = index_of(run)
    before, generation = Search(index).count(Filters()), index.generation
    assert not index.refresh(force=True) and index.generation == generation
    write_round(run, 3, TEXTS)
    assert index.refresh(force=True)
    assert Search(index).count(Filters()) == before + len(TEXTS) + 1
    for file in run.path.glob("round-03/generate/*.parquet"):
        file.unlink()
    assert index.refresh(force=True)
    assert Search(index).count(Filters()) == before + 1
    # Opened again, it is there at once and nothing is indexed anew.
    index.close()
    again = Index(run, run.path.parent / "cache")
    assert not again.refresh(force=True) and Search(again).count(Filters()) == before + 1


def test_a_round_that_was_taken_away_is_gone(run: RunFolder) -> None:
    index = index_of(run)
    shutil.rmtree(run.path / "round-02")
    assert index.refresh(force=True) and not index.pending
    assert {row["round"] for row in index.rows("SELECT round FROM trace")} == {0, 1}
    assert {row["round"] for row in index.rows("SELECT round FROM cube")} == {0, 1}
    write_round(run, 2, TEXTS)
    assert index.refresh(force=True) and {row["round"] for row in index.rows("SELECT round FROM cube")} == {0, 1, 2}


def test_a_problem_part_that_is_whole_again_counts_in_all_rounds(run: RunFolder) -> None:
    (part,) = (run.path / "round-00/problems").glob("problem-*.parquet")
    data = part.read_bytes()
    part.write_bytes(data[:30])
    index = index_of(run)
    assert "unknown" in dict(Search(index).facets(Filters())["task"])
    part.write_bytes(data)
    assert index.refresh(force=True)
    assert set(dict(Search(index).facets(Filters())["task"])) == {"arithmetic"}


def test_an_example_stays_one_where_a_later_round_prefers_it(run: RunFolder) -> None:
    first, second, *_ = run.stage(1, "generate").read(Rationale)
    pair = Preference(parents=(first.id, second.id), prompt="p", chosen="a", rejected="b", margin=1.0,
                      source="verdicts", group="g")  # fmt: skip
    write_stage(run, 1, "again", "preference", [pair])
    used = Checkpoint(parents=(BASE.id, pair.id), path="q", method="dpo", weights="y")
    write_stage(run, 2, "later", "checkpoint", [used])
    trained = {row["id"]: row["trained"] for row in index_of(run).rows("SELECT id, trained FROM trace")}
    assert (trained[first.id], trained[second.id]) == ("example", "rejected")


def test_of_a_text_with_a_second_prompt_what_follows_it_counts(run: RunFolder) -> None:
    problems = [make_problem(f"q{at}", "3") for at in range(20)]
    records: list[Record] = []
    for problem in problems:
        first = make_rationale(problem, "hm", parents=(problem.id, BASE.id), round=3)
        then = make_rationale(problem, "hm, so 3", parents=(problem.id, BASE.id, first.id), round=3)
        records += [first, then, judge(first, "incorrect"), judge(then, "correct")]
    write_stage(run, 3, "evaluate", "rationale", records)
    assert [right for _, right in read_solved(index_of(run), 3).values()] == [True] * 20


def test_one_of_several_verifiers_that_differs_is_seen(run: RunFolder) -> None:
    verdict = run.stage(1, "verify").read(Verdict)[0]
    checks = [CrossCheck(parents=(verdict.parents[0], verdict.id), first=verdict.outcome, second=second, reason="",
                         verifier=second, version=1) for second in ("correct", "incorrect", "undecided")]  # fmt: skip
    write_stage(run, 1, "again", "crosscheck", checks)
    rows = index_of(run).rows("SELECT id FROM trace WHERE disputed = 'yes'")
    assert [row["id"] for row in rows] == [verdict.parents[0]] and Query(run).count(disputed=True) == 1


def test_what_is_not_judged_yet_is_not_wrong(run: RunFolder) -> None:
    index = index_of(run)
    judged = read_health(index)[-1]
    assert judged["round"] == 2 and judged["pass_1"] == 0.5
    for file in run.path.glob("round-02/verify/verdict-*.parquet"):
        file.unlink()
    index.refresh(force=True)
    waiting = read_health(index)[-1]
    assert waiting["samples"] == judged["samples"] and waiting["pass_1"] is None and waiting["pass_k"] is None


def test_a_row_is_not_trained_any_more_once_its_checkpoint_is_gone(run: RunFolder) -> None:
    examples = run.stage(1, "select").read(Example)
    pool = Checkpoint(parents=(BASE.id, *(one.id for one in examples)), path="pool", method="sft", weights="p")
    shutil.rmtree(run.path / "round-01/sft")
    shutil.rmtree(run.path / "round-01/dpo")
    write_stage(run, 3, "sft", "checkpoint", [pool])
    index, trained = index_of(run), Filters({"round": ("1",), "trained": ("example",)})
    assert Search(index).count(trained) == len(examples) == len(Search(index).page(trained)) > 0
    shutil.rmtree(run.path / "round-03")
    assert index.refresh(force=True)
    assert Search(index).count(trained) == 0 == len(Search(index).page(trained))
    assert Search(index).count(Filters({"round": ("2",), "trained": ("example",)})) > 0


def test_a_download_sees_one_state_of_a_run_that_goes_on(run: RunFolder) -> None:
    index = index_of(run)
    before = [row["id"] for row in index.rows("SELECT id FROM trace ORDER BY seq")]
    for filters in (Filters(), Filters(text="#")):
        batches = export_rows(index, filters, batch=2)
        rows = next(batches)
        # Round 2 is written again with more in it, and a round comes after it.
        for name in ("generate", "verify"):
            for file in run.path.glob(f"round-02/{name}/*"):
                file.unlink()
        write_round(run, 2 + len(list(run.path.glob("round-*"))), TEXTS)
        assert index.refresh(force=True)
        rows += [row for batch in batches for row in batch]
        assert [row["id"] for row in rows] == before
        before = [row["id"] for row in index.rows("SELECT id FROM trace ORDER BY seq")]


def test_compare_takes_the_sample_that_stands_for_the_majority(run: RunFolder) -> None:
    problem = make_problem("held out by vote", "3")
    texts = ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3", "1+2=5\n#5")
    samples = [make_rationale(problem, text, parents=(problem.id, BASE.id), round=3, sample=at)
               for at, text in enumerate(texts)]  # fmt: skip
    verdicts = [judge(one, "correct" if one.text.endswith("3") else "incorrect") for one in samples]
    vote = Vote(
        parents=(problem.id, samples[2].id, samples[0].id), answer="3", votes=2, samples=4, answers=3, tie=False
    )
    write_stage(run, 3, "problems", "problem", [problem])
    write_stage(run, 3, "evaluate", "rationale", [*samples, *verdicts, vote])
    index = index_of(run)
    assert read_solved(index, 3) == {problem.id: (samples[2].id, True)}
    assert Records(index).find(vote.id) == (vote.id, "vote")


def test_torn_parts_are_named_and_left_out(run: RunFolder) -> None:
    whole = Search(index_of(run))
    torn = next(run.path.glob("round-01/verify/verdict-*.parquet"))
    whole.index.close()
    torn.write_bytes(torn.read_bytes()[:-20])
    hollow = next(run.path.glob("round-02/generate/rationale-*.parquet"))
    data = bytearray(hollow.read_bytes())
    data[4 : len(data) // 2] = os.urandom(len(data) // 2 - 4)
    hollow.write_bytes(data)
    index = index_of(run)
    assert {Path(row["path"]).name for row in read_parts(index)} == {torn.name, hollow.name}
    counts = dict(Search(index).facets(Filters())["outcome"])
    assert counts["none"] == len(TEXTS)  # those of round 1 have lost their verdicts
    assert not Search(index).page(Filters({"round": ("2",), "stage": ("generate",)}))


@pytest.mark.parametrize("name", ["round-01 old", "round-²", "round-99999999999999999999"])
def test_a_copy_of_a_round_is_no_round(run: RunFolder, name: str) -> None:
    shutil.copytree(run.path / "round-01", run.path / name)
    assert len(index_of(run).rows("SELECT * FROM trace")) == Query(run).count() == TRACES
    assert {row["round"] for row in Query(run).rows("SELECT round FROM rationale")} == {0, 1, 2}
    assert {stage.key[0] for stage in run.stages()} == {0, 1, 2}


def test_rounds_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """By name the round 100 would come before the round 99."""
    run, rounds = RunFolder(tmp_path), [0, 9, 10, 99, 100, 101, 1000]
    for round_ in rounds:
        folder = tmp_path / f"round-{round_:02d}" / "evaluate"
        folder.mkdir(parents=True)
        (folder / "evaluation-00000.parquet").touch()
    assert [stage.key[0] for stage in run.stages()] == [file.round for file in list_files(run)] == rounds


def test_missing_files_are_named(run: RunFolder) -> None:
    next(run.path.glob("round-01/select/decision-*.parquet")).unlink()
    (run.path / "round-02/sft/stage.json").write_text("{")
    assert missing_files(run) == {
        "round-01/select/decision-00000.parquet": "missing",
        "round-02/sft/stage.json": "damaged",
    }


def test_a_damaged_or_locked_index_is_made_anew(run: RunFolder) -> None:
    first = index_of(run)
    # This process holds the file; another one gets an index of its own, and neither loses anything.
    cache = run.path.parent / "cache"
    first.close()
    for file in cache.glob("*.duckdb"):
        file.write_bytes(b"not a database")
    second = index_of(run)
    assert Search(second).count(Filters()) == TRACES


def test_the_funnel_the_health_and_the_flow(indexed: Index) -> None:
    index = indexed
    funnel = read_funnel(index)
    assert [(row["round"], row["sampled"], row["correct"], row["kept"], row["trained"]) for row in funnel] == [
        (1, 4, 2, 2, 2),
        (2, 4, 2, 2, 2),
    ]
    health = read_health(index)
    assert [(row["problems"], row["samples"], row["pass_1"], row["pass_k"]) for row in health] == [(4, 4, 0.5, 0.5)] * 2
    flow = {(row["parent_round"], row["parent_stage"], row["stage"]): row["records"] for row in read_flow(index, 1)}
    assert flow[1, "generate", "verify"] == 4 and flow[1, "frontier", "generate"] == 4
    assert flow[1, "verify", "select"] == 4 and flow[1, "prefer", "dpo"] == 1
    solved = read_solved(index, 2)
    assert sum(right for _, right in solved.values()) == 2
    problem = next(iter(solved))
    assert [row["round"] for row in read_changes(index, problem)] == [0, 1, 2]


def test_an_export_holds_the_whole_text_where_the_index_has_its_beginning(tmp_path: Path) -> None:
    long = "x" * 300_000
    index = index_of(write_run(tmp_path, (long, "short\n#3")))
    rows = [row for batch in export_rows(index, Filters({"stage": ("generate",)}), batch=1) for row in batch]
    assert {len(row["text"]) for row in rows} == {len(long), 8}
    assert rows[0]["expected"] == "3" and set(rows[0]) >= {"question", "outcome", "trained", "verdict"}


def test_a_log_probability_that_is_no_number_counts_as_none(run: RunFolder) -> None:
    """No record of ours holds one; an edited file or another program's may."""
    file = next(run.path.glob("round-01/generate/rationale-*.parquet"))
    table = pq.read_table(file)
    at = table.schema.get_field_index("logprob")
    values = [float("nan"), float("inf"), float("-inf"), *table["logprob"].to_pylist()[3:]]
    pq.write_table(table.set_column(at, "logprob", pa.array(values, pa.float64())), file)
    index = index_of(run)
    changed = [row["id"] for row in index.rows("SELECT id FROM trace WHERE logprob IS NULL")]
    assert len(changed) == 3
    for row in read_health(index):
        assert math.isfinite(row["nats"]) and row["nats"] > 0
    for identity in changed:
        record = Records(index).record(identity, "rationale")
        assert record is not None and record["logprob"] is None
        json.dumps(record, allow_nan=False)
    assert len(Search(index).page(Filters(), sort="unlikely", limit=200)) == TRACES


def test_a_text_on_which_two_stages_decide_counts_once(run: RunFolder) -> None:
    """It was kept where one of them kept it."""
    index, before = index_of(run), [dict(row) for row in Query(run).traces(round=1)]
    funnels = read_funnels(Query(run), 1), read_funnel(index)[0]
    index.close()
    again = [row for row in before if row["kept"] is not None]
    assert [row["kept"] for row in again].count(True) == 2
    decisions = [
        Decision(parents=(row["id"], row["verdict"]), kept=row["id"] == again[-1]["id"], reason="the best")
        for row in again
    ]
    write_stage(run, 1, "best", "decision", decisions)
    after, index = list(Query(run).traces(round=1)), index_of(run)
    assert [row["id"] for row in after] == [row["id"] for row in before]
    kept = {row["id"] for row in before if row["kept"]} | {again[-1]["id"]}
    assert {row["id"] for row in after if row["kept"]} == kept
    assert {row["id"] for row in index.rows("SELECT id FROM trace WHERE round = 1 AND kept = 'kept'")} == kept
    assert len(list(read_written(Query(run), 1, "generate", "sampled"))) == len(TEXTS)
    more = len(kept) - 2
    funnels[0][1].kept += more
    assert read_funnels(Query(run), 1) == funnels[0]
    assert read_funnel(index)[0] == {**funnels[1], "kept": funnels[1]["kept"] + more}
    index.close()


def test_a_round_that_does_not_fit_takes_more_memory_and_loses_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, [f"{at} " * 20_000 + "#3" for at in range(30)], rounds=1)
    index = Index(run, tmp_path / "cache", memory=16)
    index.refresh(force=True)
    assert read_parts(index) == []
    # Held out in two rounds, sampled, and one of them revised.
    assert index.rows("SELECT count(*) AS n FROM trace") == [{"n": 91}]
    limit = index.rows("SELECT current_setting('memory_limit') AS set")[0]["set"]
    assert limit == "15.2 MiB"
