"""Logs in Inspect's format: what they say is what the run says, and the real `inspect_ai` reads them."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale
from viewing import BASE, judge, write_run, write_stage

from selfimprove.cli import main
from selfimprove.records import Evaluation, Vote, replace_surrogates
from selfimprove.records.stats import wilson
from selfimprove.results.inspect_logs import write_logs
from selfimprove.store import RunFolder

TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "\x1b[31mred\x1b]0;title\x07",
    "a\x00b\u202e",
    replace_surrogates("lone \ud800 surrogate"),
    "NaN" * 2_000_000,
    '","id":"../../x',
)


def members(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as log:
        assert log.testzip() is None
        return {name: json.loads(log.read(name)) for name in log.namelist()}


def write_undecided(tmp_path: Path) -> RunFolder:
    """A run whose last evaluation has two answers a problem, one of the problems undecided."""
    run = write_run(tmp_path, TEXTS, rounds=1)
    problems = [make_problem(f"asked {at}", "3") for at in range(3)]
    pairs = [
        [make_rationale(one, f"{text}{at}", parents=(one.id, BASE.id), round=2, sample=at) for at in range(2)]
        for one, text in zip(problems, TEXTS, strict=True)
    ]
    written = [one for pair in pairs for one in pair]
    verdicts = [judge(one, ("correct", "incorrect", "undecided")[at // 2], steps=()) for at, one in enumerate(written)]
    votes = [Vote(parents=(one.id, pair[0].id), answer="3", votes=1, samples=2, answers=2, tie=True)
             for one, pair in zip(problems, pairs, strict=True)]  # fmt: skip
    low, high = wilson(1, 2)
    plain = {"task": "arithmetic", "level": 2, "group": "1+1", "wrong_reason": 0, "low": low, "high": high}
    found = [Evaluation(parents=(BASE.id,), n=2, correct=1, undecided=1, **plain)]
    write_stage(run, 2, "evaluate", "rationale", [*problems, *written, *verdicts, *votes, *found])
    return run


def test_a_log_a_round_says_what_the_run_says(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS, rounds=2)
    assert write_logs(run, tmp_path / "logs", "evaluations", None) == (3, 9)
    logs = [members(path) for path in sorted((tmp_path / "logs").glob("*-evaluate_*.eval"))]
    by_round = {log["header.json"]["eval"]["metadata"]["round"]: log for log in logs}
    for round_, log in by_round.items():
        verdict = log["header.json"]["results"]["scores"][0]
        values = {name: one["value"] for name, one in verdict["metrics"].items()}
        low, high = wilson(round_, 3)
        assert values["accuracy"] == pytest.approx(round_ / 3)
        assert (values["interval_low"], values["interval_high"]) == pytest.approx((low, high))
        assert len(log["summaries.json"]) == 3 == len([name for name in log if name.startswith("samples/")])
    sample = next(one for name, one in by_round[2].items() if name.startswith("samples/") and "#4" in str(one))
    assert sample["input"] == "held out 1" and sample["target"] == "3" and sample["epoch"] == 1
    assert sample["output"]["choices"][0]["message"]["content"] == TEXTS[1]
    assert sample["scores"]["verdict"]["value"] == "C"
    assert "by hand\ncorrect: 1+2=4 (line 0)" in sample["scores"]["verdict"]["explanation"]
    assert sample["metadata"]["trace"] == sample["uuid"] and sample["metadata"]["task"] == "arithmetic"


def test_what_was_written_in_training_is_a_log_a_stage(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS, rounds=2)
    assert write_logs(run, tmp_path / "logs", "traces", 1) == (3, 7)
    names = sorted(path.name.split("_")[1] for path in (tmp_path / "logs").iterdir())
    assert names == [f"made-round-01-{stage}" for stage in ("evaluate", "generate", "revise")]
    revised = members(next((tmp_path / "logs").glob("*-revise_*")))
    assert next(one for name, one in revised.items() if name.startswith("samples/"))["metadata"]["principle"] == "kind"


def test_the_same_export_again_replaces_its_files(tmp_path: Path) -> None:
    run, logs = write_run(tmp_path, TEXTS), tmp_path / "logs"
    write_logs(run, logs, "evaluations", None)
    (run.stage(1, "evaluate").path / "stage.json").touch()
    before = {path.name for path in logs.iterdir()}
    write_logs(run, logs, "evaluations", None)
    assert len(list(logs.iterdir())) == len(before) == 2


def test_undecided_counts_neither_way(tmp_path: Path) -> None:
    run = write_undecided(tmp_path)
    write_logs(run, tmp_path / "logs", "evaluations", 2)
    log = members(next((tmp_path / "logs").iterdir()))
    score = log["header.json"]["results"]["scores"][0]
    assert (score["scored_samples"], score["unscored_samples"], score["reducer"]) == (4, 2, "mode")
    assert score["metrics"]["accuracy"]["value"] == 0.5
    assert log["header.json"]["eval"]["config"]["epochs"] == 2
    undecided = [one for one in log["summaries.json"] if one["scores"]["verdict"]["value"] not in ("C", "I")]
    assert all(math.isnan(one["scores"]["verdict"]["value"]) for one in undecided)
    assert [one["scores"]["verdict"]["reason"] for one in undecided] == ["undecided: by hand"] * 2
    assert {one["metadata"]["counted"] for one in undecided} == {True, False}


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, TEXTS)
    with pytest.raises(SystemExit) as end:
        main(["export", "made", str(tmp_path / "logs"), "--inspect", "--runs", str(tmp_path)])
    assert not end.value.code
    assert "2 logs of 6 samples" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["export", "made", str(tmp_path / "logs"), "--inspect", "--what", "trace", "--runs", str(tmp_path)])
    assert end.value.code == 2
    assert "did you mean 'traces'" in capsys.readouterr().err


def test_inspect_reads_hostile_texts_as_they_are(tmp_path: Path) -> None:
    log_module = pytest.importorskip("inspect_ai.log", reason="needs the extra 'inspect'")
    run = write_run(tmp_path, HOSTILE)
    write_logs(run, tmp_path / "logs", "traces", None)
    found = log_module.list_eval_logs(str(tmp_path / "logs"))
    assert len(found) == 4
    for info in found:
        log = log_module.read_eval_log(info)
        assert log.status == "success" and log.eval.model == "base"
        summaries = log_module.read_eval_log_sample_summaries(info)
        assert {one.id for one in summaries} == {one.id for one in log.samples}
        assert all(len(str(one.input)) < 6000 for one in summaries)
        if "-generate_" in info.name:
            assert {one.output.completion for one in log.samples} == set(HOSTILE)
            assert {one.input for one in log.samples} == {f"asked: {text}" for text in HOSTILE}


def test_inspect_reads_what_is_undecided(tmp_path: Path) -> None:
    log_module = pytest.importorskip("inspect_ai.log", reason="needs the extra 'inspect'")
    write_logs(write_undecided(tmp_path), tmp_path / "logs", "evaluations", 2)
    log = log_module.read_eval_log(log_module.list_eval_logs(str(tmp_path / "logs"))[0])
    values = [one.scores["verdict"].value for one in log.samples]
    assert sorted(str(value) for value in values) == ["C", "C", "I", "I", "nan", "nan"]
    unscored = [one.scores["verdict"] for one in log.samples if one.scores["verdict"].value not in ("C", "I")]
    assert {one.reason for one in unscored} == {"undecided: by hand"}
    assert {one.epoch for one in log.samples} == {1, 2}


def test_inspect_counts_what_the_run_counts(tmp_path: Path) -> None:
    """Its own metrics, computed anew from the samples, give the accuracy and the standard error of the header."""
    log_module = pytest.importorskip("inspect_ai.log", reason="needs the extra 'inspect'")
    scorer = pytest.importorskip("inspect_ai.scorer")
    write_logs(write_run(tmp_path, TEXTS, rounds=1), tmp_path / "logs", "evaluations", 1)
    log = log_module.read_eval_log(log_module.list_eval_logs(str(tmp_path / "logs"))[0])
    to_float = scorer.value_to_float()
    scores = [
        scorer.SampleScore(score=scorer.Score(value=to_float(one.scores["verdict"].value))) for one in log.samples
    ]
    metrics = log.results.scores[0].metrics
    assert metrics["accuracy"].value == pytest.approx(scorer.accuracy()(scores)) == pytest.approx(1 / 3)
    assert metrics["stderr"].value == pytest.approx(scorer.stderr()(scores))
