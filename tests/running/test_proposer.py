"""A model that proposes what a round changes, end to end: asked once, done only from the list, recorded and shown."""

import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import web
from rich.console import Console
from small import record_ids, small_recipe, weight_hashes
from tiny_models import make_llama
from viewing import serving

from selfimprove.engines import Completion, Request, ScriptedEngine
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Action, Advice, Prediction, Rationale
from selfimprove.results.status import print_status, to_json
from selfimprove.running.decisions import replay
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import build_plan
from selfimprove.store import RunFolder

RULES = """name: mine
rules:
  - name: refused
    reason: a checkpoint was rolled back
    when: [{figure: refused, op: ">=", value: 1}]
    change: [{setting: sft.learning_rate, scale: 0.5}]
  - name: warmer
    reason: to see another temperature
    of: family
    when: [{figure: yield, op: "<=", value: 1, bound: interval}]
    change:
      - {setting: generate.temperature, scale: 1.5, at_most: 1.4}
      - {setting: repair.samples, add: 1}
    expects: {figure: yield, direction: up, by: 0}
  - name: more
    reason: to see more
    when: [{figure: yield, op: ">=", value: 0}]
    change: [{setting: generate.samples, scale: 2}]
"""
QUICK = ("select.sources=seed", "warmup.steps=1", "sft.steps=1", "evaluate.part_size=100", "generate.part_size=100",
         "evaluate.controller=0.5", "promote.rule=not-worse")  # fmt: skip
SAID = {
    2: "change: generate.samples=4",
    3: "<script>Let us set generate.temperature to 99.</script>",
    4: "change: generate.temperature=99",
}
"""What the model writes before each round."""


def recipe_in(folder: Path, *changes: str) -> Recipe:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(RULES)
    proposer = "decide.proposer={traces: 2}"
    return small_recipe(folder, f"decide.rules={path}", proposer, *QUICK, *changes)


class Killed(Exception):
    """The process ends here."""


class Proposing(ScriptedEngine):
    """Answers sums with what is wrong, proposes what the table says, and notes how often it was asked; with `after` it
    ends the run once so many proposals are written."""

    def __init__(self, asked: list[str], after: int = 100) -> None:
        super().__init__(lambda prompt, seed: f"#{seed % 7}")
        self.asked, self.after = asked, after

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        if not requests[0].prompt.endswith("\nNumber:"):
            yield from super().generate(requests, sampling, stop)
            return
        self.asked.append(requests[0].prompt)
        round_ = int(requests[0].prompt.partition("Before round ")[2].split()[0])
        yield Completion(0, SAID[round_], 9, -1.0, "stop")
        if len(self.asked) >= self.after:
            raise Killed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[str]]:
    folder, asked = tmp_path_factory.mktemp("proposer"), list[str]()
    made = RunFolder(folder / "run")
    run_loop(recipe_in(folder, "rounds=4"), made, load=lambda *_: Proposing(asked))
    return made, asked


def test_what_is_on_the_list_is_done_and_all_else_is_recorded_with_its_reason(
    run: tuple[RunFolder, list[str]],
) -> None:
    folder, asked = run
    actions = [folder.stage(at, "decide").read(Action)[0] for at in (1, 2, 3, 4)]
    assert [one.rule for one in actions] == ["", "proposed", "warmer", "more"]
    assert actions[1].differences == [("generate.samples", "2", "4")]
    assert {one.sample for one in folder.stage(2, "generate").read(Rationale)} == {0, 1, 2, 3}
    assert not folder.stage(1, "decide").read(Advice)
    found = [folder.stage(at, "decide").read(Advice)[0] for at in (2, 3, 4)]
    assert [one.text for one in found] == list(SAID.values()) and [one.prompt for one in found] == asked
    assert [one.taken for one in found] == [True, False, False]
    assert found[1].verdict == "it is neither a number of the list nor a line 'change: SETTING=VALUE'"
    assert found[2].verdict == "'generate.temperature=99' is out of bounds: the rules allow 1.4"
    assert actions[1].parents == (found[0].id,)
    assert found[0].offered == ("sft.learning_rate=0.005", "generate.temperature=1.4, repair.samples=3",
                                "generate.temperature=1.4", "repair.samples=3", "generate.samples=4")  # fmt: skip
    # What round 2 did rests in round 3, which no longer offers it.
    assert "generate.samples=4" not in found[1].offered and "generate.samples=4" in found[2].offered
    first = folder.stage(0, "warmup").manifest()
    assert first and {one.weights for one in found} == set(weight_hashes(folder)[:1])


def test_the_prompt_holds_figures_wrong_answers_and_the_list(run: tuple[RunFolder, list[str]]) -> None:
    folder, asked = run
    wrong = {one.id: one for one in folder.stage(1, "generate").read(Rationale)}
    (advice,) = folder.stage(2, "decide").read(Advice)
    shown = [wrong[one] for one in advice.parents if one in wrong]
    assert len(shown) == 2 and all(f"Answer: {one.text}\n" in asked[0] for one in shown)
    assert "- yield 0" in asked[0] and "5. generate.samples=4 (now 2)" in asked[0] and len(asked[0]) < 6000


def test_replaying_a_decision_with_the_recorded_text_gives_the_same_one(run: tuple[RunFolder, list[str]]) -> None:
    folder, asked = run
    before = len(asked)
    for round_ in (1, 2, 3, 4):
        recorded, again = replay(folder, round_)
        assert again == recorded and again.id == recorded.id
    assert len(asked) == before


def test_what_was_proposed_is_shown(run: tuple[RunFolder, list[str]], tmp_path: Path) -> None:
    folder, asked = run
    out = io.StringIO()
    print_status(folder, Console(file=out, width=250))
    said = " ".join(out.getvalue().split())
    assert "a model proposed 'change: generate.samples=4': done" in said and "is out of bounds" in said
    found = to_json(folder)["decisions"]
    assert [bool(one["advice"]) for one in found] == [False, True, True, True]
    assert found[1]["advice"]["prompt"] == asked[0] and found[3]["advice"]["verdict"].startswith("'generate.temp")
    manifest = folder.stage(3, "decide").manifest()
    assert (
        manifest and manifest.metrics["decided"]["proposed"] == 1 and not manifest.metrics["decided"]["proposal taken"]
    )
    with serving(folder.path.parent, tmp_path / "cache") as site:
        page = web.get(f"{site}/runs/run/decisions", timeout=60).text
        (advice,) = folder.stage(2, "decide").read(Advice)
        record = web.get(f"{site}/runs/run/records/{advice.id}", timeout=60)
    assert "what a model proposed" in page and "is out of bounds: the rules allow 1.4" in page
    assert "Changes that may be made:" in page and f"/runs/run/records/{advice.id}" in page
    assert advice.weights in page and "<script>Let us" not in page and "&lt;script&gt;Let us" in page
    assert record.status_code == 200


def test_a_kill_once_the_text_is_written_asks_no_second_time(run: tuple[RunFolder, list[str]], tmp_path: Path) -> None:
    whole, asked = run
    folder, mine = RunFolder(tmp_path / "run"), list[str]()
    recipe = recipe_in(whole.path.parent, "rounds=4")
    for after in (1, 2, 3):
        with pytest.raises(Killed):
            run_loop(recipe, folder, load=lambda *_, after=after: Proposing(mine, after))
        assert len(mine) == after and not folder.stage(after + 1, "decide").closed
    run_loop(recipe, folder, load=lambda *_: Proposing(mine))
    assert mine == asked and record_ids(folder) == record_ids(whole)


def test_without_a_proposer_nothing_changes_and_with_one_its_settings_count(tmp_path: Path) -> None:
    plain, named, asking = (load_recipe("arithmetic-steered", one) for one in (
        [], ["decide.proposer=null"], ["decide.proposer={}"]))  # fmt: skip
    prints = [[one.fingerprint for one in build_plan(one, "data").values()] for one in (plain, named, asking)]
    assert prints[0] == prints[1] != prints[2]
    of = [build_plan(load_recipe("arithmetic-steered", ["decide.proposer={}", *more]), "data")[2, "decide"].fingerprint
          for more in ([], ["decide.proposer={traces: 1}"], ["judge.path=/models/judge"])]  # fmt: skip
    assert len(set(of)) == 3


def test_where_a_rule_that_guards_acts_no_model_is_asked(tmp_path: Path) -> None:
    asked = list[str]()
    folder = RunFolder(tmp_path / "run")
    recipe = recipe_in(tmp_path, "rounds=2")
    text = RULES.replace('figure: refused, op: ">=", value: 1', 'figure: refused, op: ">=", value: 0')
    (tmp_path / "mine.yaml").write_text(text)
    run_loop(recipe, folder, load=lambda *_: Proposing(asked))
    assert asked == [] and folder.stage(2, "decide").read(Action)[0].rule == "refused"
    assert not folder.stage(2, "decide").read(Advice)


def test_a_proposal_predicts_what_its_rule_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAID, 2, "3")
    folder = RunFolder(tmp_path / "run")
    run_loop(recipe_in(tmp_path, "rounds=2"), folder, load=lambda *_: Proposing([]))
    (action,), (prediction,) = (folder.stage(2, "decide").read(kind) for kind in (Action, Prediction))
    assert action.changes == ("generate.temperature=1.4",)
    assert (prediction.parents[0], prediction.figure, prediction.due) == (action.id, "yield", 2)
    assert isinstance(prediction, Prediction) and prediction.family


def test_a_model_that_cannot_read_the_question_is_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_loop(recipe_in(tmp_path, "rounds=1"), RunFolder(tmp_path / "run"), load=lambda *_: Proposing([]))
    assert "'decide.proposer' asks the run's first model, whose alphabet cannot write" in capsys.readouterr().err
    folder = RunFolder(tmp_path / "other")
    run_loop(recipe_in(tmp_path, "rounds=1", "judge.path=/models/judge"), folder, load=lambda *_: Proposing([]))
    assert "decide.proposer" not in capsys.readouterr().err


ALPHABET = "".join(map(chr, range(32, 127))) + "\n"
"""All that a prompt with figures holds."""


@pytest.mark.long
def test_a_kill_while_a_model_proposes_changes_nothing(tmp_path: Path) -> None:
    """Killed with SIGKILL as `decide` begins, once its text is written, and as its records are."""
    judge = make_llama(tmp_path / "judge", alphabet=ALPHABET, max_positions=8192)
    rules = tmp_path / "recipe" / "mine.yaml"
    rules.parent.mkdir()
    rules.write_text(RULES)
    changes = [f"decide.rules={rules}", "decide.proposer={traces: 1, max_tokens: 200}", f"judge.path={judge}",
               "evaluate.controller=0.5", "promote.rule=not-worse", "rounds=3"]  # fmt: skip
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    run_loop(small_recipe(tmp_path / "recipe", *changes), whole)
    moments = ["round-02/decide", "round-02/decide/texts-*.jsonl", "round-02/decide/advice-00000.parquet",
               "round-03/decide/texts-*.jsonl", "round-03/decide/stage.json"]  # fmt: skip
    support = Path(__file__).parents[1] / "support"
    command = [sys.executable, str(support / "kill_run.py"), str(killed.path), *changes, *moments]
    done = subprocess.run(command, cwd=support, capture_output=True, text=True, timeout=1800, check=False)
    assert done.stdout.endswith("finished the end\n") and done.stdout.count("killed") >= 3, done.stdout + done.stderr
    assert [len(whole.stage(at, "decide").read(Advice)) for at in (2, 3)] == [1, 1]
    assert all(one.tokens for at in (2, 3) for one in whole.stage(at, "decide").read(Advice))
    assert record_ids(killed) == record_ids(whole) and weight_hashes(killed) == weight_hashes(whole)
