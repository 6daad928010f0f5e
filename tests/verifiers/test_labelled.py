"""How often a verifier is wrong, where labels say which responses are right."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from small import small_recipe
from test_cli import call

from selfimprove.engines import ScriptedEngine
from selfimprove.errors import VerifierError
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.records.stats import wilson
from selfimprove.results.compare import describe as describe_sides
from selfimprove.results.compare import read_side
from selfimprove.results.status import print_status, to_json
from selfimprove.results.sweep import describe as describe_sweep
from selfimprove.results.sweep import read_outcome
from selfimprove.running.loop import run_loop
from selfimprove.running.sweep import Variant
from selfimprove.stages.evaluate import describe_evaluation
from selfimprove.store import RunFolder
from selfimprove.verifiers import make_verifier
from selfimprove.verifiers.labelled import measure_verifier, read_label
from selfimprove.viewer.app import create_app
from selfimprove.viewer.report import write_report

ROWS: list[dict[str, object]] = [
    {"response": "The answer is 7.", "answer": "7", "ok": True},
    {"response": ["The answer is 8.", "#### 7"], "answer": "7", "ok": ["wrong", 1]},
    {"response": "1.234", "answer": "1234", "ok": "incorrect"},
    {"response": "The answer is 9.", "answer": "9", "ok": "no"},
    {"response": "The answer is 10.", "answer": "11", "ok": "Yes"},
    {"response": "The answer is 12.", "answer": "11", "ok": "correct"},
]


@pytest.mark.parametrize(
    ("value", "label"),
    [(True, True), (1, True), (1.0, True), ("Right ", True), ("true", True), (False, False), (0, False),
     ("wrong", False),
     (None, None), (2, None), (0.5, None), ("", None), ("maybe", None), ([True], None)],
)  # fmt: skip
def test_a_label_says_right_or_wrong_or_nothing(value: object, label: bool | None) -> None:
    assert read_label(value) is label


def test_the_command_states_agreement_errors_and_the_worst_kinds(tmp_path: Path) -> None:
    lines = [*ROWS, {"response": "7", "answer": "7", "ok": "maybe"}, {"response": ["7", "8"], "answer": "7", "ok": [1]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = call("verify", "rows.jsonl", "--label", "ok", "--json", "--out", "out.jsonl", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    labelled = found["labelled"]
    counts = {name: (labelled[name]["count"], labelled[name]["n"]) for name in list(labelled)[:4]}
    assert counts == {"agreement": (3, 6), "false accepts": (1, 2), "false rejects": (2, 4), "undecided": (1, 7)}
    assert (labelled["false rejects"]["low"], labelled["false rejects"]["high"]) == wilson(2, 4)
    kinds = [(kind["error"], kind["reason"], kind["count"]) for kind in labelled["kinds"]]
    assert kinds == [
        ("false accept", "equal as whole numbers", 1), ("false reject", "not equal", 2),
        ("undecided, wrong", "a comma or a point that may set off decimals or thousands", 1),
    ]  # fmt: skip
    assert labelled["kinds"][1]["examples"][0].startswith("line 5: extracted '10', expected '11'")
    assert found["unreadable"] == {"'ok' does not say of each response whether it is right": 2}
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["label"] is False
    done = call("verify", "rows.jsonl", "--label", "ok", folder=tmp_path)
    for shown in ("Beside the labels", "agreement", "50.0%", "Worst kinds", "false accept", "Not judged: 2"):
        assert shown in done.stdout, done.stdout
    done = call("verify", "rows.jsonl", "--label", "oks", folder=tmp_path)
    assert done.returncode == 2 and "no key 'oks'; did you mean 'ok'?; name yours with --label" in done.stderr


def test_a_file_without_labels_has_no_rates(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]))
    assert "labelled" not in json.loads(call("verify", "rows.jsonl", "--json", folder=tmp_path).stdout)


def test_a_verifier_is_measured_on_rows_of_known_label() -> None:
    verifier = make_verifier(VerifierSettings(name="text"))

    def row(text: str, label: bool) -> tuple[Problem, Rationale, bool]:
        problem = Problem(question="", answer="7", task="file")
        rationale = Rationale(
            parents=(problem.id, "file"), prompt="", text=text, answer=text, origin="sampled", round=0, sample=0,
            seed=0, temperature=0.0, top_p=1.0, tokens=0, logprob=0.0, finish="stop",
        )  # fmt: skip
        return problem, rationale, label

    def judge(pairs: Iterable[tuple[Problem, Rationale]]) -> Iterator[Verdict]:
        return (verifier.verify(problem=problem, rationale=one) for problem, one in pairs)

    report = measure_verifier([row("7", True), row("8", False), row("seven", True), row("7", False)], judge)
    assert report.rates == {
        "agreement": (2, 4), "false accepts": (1, 2), "false rejects": (1, 2), "undecided": (0, 4),
    }  # fmt: skip
    assert [kind.error for kind in report.worst(9)] == ["false accept", "false reject"]
    assert measure_verifier([], judge).to_json()["agreement"] == {"count": 0, "n": 0, "low": 0.0, "high": 1.0}


def test_a_run_states_the_error_rates_of_its_verifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = tmp_path / "labelled.jsonl"
    rows = [("#7", "7", 1), ("#8", "7", 0), ("#7", "07", 1), ("#9", "9", 0)]
    labelled.write_text(
        "\n".join(json.dumps(dict(zip(("response", "answer", "label"), row, strict=True))) for row in rows)
    )
    run = RunFolder(tmp_path / "run")
    recipe = small_recipe(tmp_path, "rounds=0", f"verify.labelled={labelled}")
    run_loop(recipe, run, load=lambda checkpoint, context: ScriptedEngine(lambda prompt, seed: "#0"))
    stated = "the verifier on labelled responses: false accepts 1 of 2 (9.5% to 90.5%), false rejects 1 of 2"
    manifest = run.stage(0, "evaluate").manifest()
    assert manifest is not None and describe_evaluation(manifest.metrics)[0].startswith(stated)
    (rates,) = to_json(run)["verifier"].values()
    assert rates["agreement"]["count"] == 2 and "kinds" not in rates
    print_status(run)
    assert stated in " ".join(capsys.readouterr().out.split())
    write_report(run, tmp_path / "report.html")
    assert f"How far these can be trusted: {stated}" in (tmp_path / "report.html").read_text()
    assert stated in " ".join(describe_sides([read_side("run", tmp_path)], [], 0, 400))
    outcomes = [read_outcome(Variant(name, (), 0), tmp_path) for name in ("run", "none")]
    assert f"run: {stated}" in "\n".join(describe_sweep(outcomes, 400))
    assert stated in "\n".join(describe_sweep(outcomes[:1], 400))
    page = TestClient(create_app(tmp_path), base_url="http://127.0.0.1:8000")
    for address in ("/", "/compare?a=run&b=run"):
        assert f"How far run can be trusted: {stated}" in page.get(address).text, address


def test_a_labelled_file_that_cannot_be_read_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    for name, text, message in (
        ("none", None, "none: No such file or directory"),
        ("empty", "", "empty: holds no labelled response"),
        ("unlabelled", '{"response": "7", "answer": "7"}', "unlabelled:1: no key 'label'"),
        ("broken", '{"response": "7", "answer": "7", "label": 1}\n{', "broken: 1 × not a JSON object (lines 2)"),
    ):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        with pytest.raises(VerifierError, match=message.replace("(", "\\(").replace(")", "\\)")):
            run_loop(small_recipe(tmp_path, "rounds=0", f"verify.labelled={path}"), RunFolder(tmp_path / f"run-{name}"))
