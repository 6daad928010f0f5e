"""Preference pairs: what is chosen, what may be rejected, how often, and a whole run with DPO in it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import by_problem, make_rationale, make_verdict
from rich.console import Console
from small import SMALL, record_ids, small_recipe, weight_hashes
from test_select import FEW_SHOT, PROMPTS, A, B, Written, hinted, write

from selfimprove.engines.base import Score, ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import Continuation, PromptFormat
from selfimprove.records import Checkpoint, Evaluation, Outcome, Preference, Promotion, Step, by_id
from selfimprove.records.lineage import ancestors, build_graph, orphans
from selfimprove.results.show import print_record
from selfimprove.results.status import print_status, to_json
from selfimprove.results.traces import export_rows
from selfimprove.running.loop import run_loop
from selfimprove.stages.dpo import describe_dpo, score_pairs
from selfimprove.stages.prefer import Prefer, prefer
from selfimprove.stages.select import Select
from selfimprove.store import RunFolder
from selfimprove.store.query import Query
from selfimprove.tasks.addition import write_rationale


def pair(
    written: list[Written],
    *,
    require: str = "answer",
    shown: bool = False,
    prompts: PromptFormat = PROMPTS,
    **settings: Any,
) -> list[Preference]:
    return list(
        prefer(
            by_problem(written),
            problems=by_id([A, B]),
            prompts=prompts,
            shown=shown,
            require=Select(require=require),  # type: ignore[arg-type]
            settings=Prefer(**settings),
        )
    )


def texts(pairs: list[Preference]) -> list[tuple[str, str]]:
    return [(one.chosen, one.rejected) for one in pairs]


def test_right_over_wrong_of_the_same_problem_each_equally_often() -> None:
    written = [write(A, text) for text in ("r1", "r2")] + [write(A, text, "incorrect") for text in ("w1", "w2", "w3")]
    written += [write(B, "other", "incorrect")]
    found = pair(written)
    assert texts(found) == [("r1", "w1"), ("r2", "w2"), ("r1", "w2"), ("r2", "w3"), ("r1", "w3"), ("r2", "w1")]
    right, wrong = written[0], written[2]
    assert found[0].parents == (right[0].id, wrong[0].id, right[1].id, wrong[1].id)
    assert (found[0].prompt, found[0].source, found[0].margin) == (PROMPTS.render_question(A), "verdicts", 1.0)
    assert texts(pair(written, per_problem=2)) == [("r1", "w1"), ("r2", "w2")]


def test_a_pair_keeps_the_prompt_that_was_sampled_with() -> None:
    """Where it is what rows hold; otherwise the question alone."""
    written = [write(A, "r1", prompt="as it was: "), write(A, "w1", "incorrect", prompt="as it was: ")]
    assert [one.prompt for one in pair(written, shown=True)] == ["as it was: "]
    assert [one.prompt for one in pair(written, prompts=FEW_SHOT)] == [FEW_SHOT.render_question(A)]


@pytest.mark.parametrize(
    "never",
    [
        write(A, "unsure", "undecided"),
        write(A, "cut", "incorrect", finish="length"),
        write(A, "by hint", "incorrect", origin="rationalized"),
        write(A, "wrong step", "correct", ["incorrect"]),
    ],
    ids=["undecided", "cut off", "by hint", "right by a wrong step"],
)
def test_what_is_never_rejected(never: Written) -> None:
    assert pair([write(A, "right", "correct", ["correct"]), never], require="steps") == []


def test_what_is_chosen_passes_what_is_required() -> None:
    written = [write(A, "lucky", "correct", ["incorrect"]), hinted(A, "by hint"), write(A, "wrong", "incorrect")]
    assert texts(pair(written)) == [("lucky", "wrong"), ("by hint", "wrong")]
    assert pair(written, require="steps") == []


def test_equal_texts_are_one_and_a_limit_is_even_over_problems() -> None:
    written = [write(one, text, sample=at) for one in (A, B) for at, text in enumerate(("r", "r"))]
    written += [write(one, text, "incorrect") for one in (A, B) for text in ("w1", "w2")]
    assert len(pair(written)) == 4
    assert {one.prompt for one in pair(written, limit=2)} == {PROMPTS.render_question(one) for one in (A, B)}


def test_a_pair_can_be_the_first_wrong_step_over_the_right_one() -> None:
    def judged(text: str, outcome: Outcome, *outcomes: Outcome) -> Written:
        rationale = make_rationale(A, text)
        starts = [0, *(at + 1 for at, one in enumerate(text) if one == "\n")]
        steps = tuple(
            Step(start=start, end=text.find("\n", start) if "\n" in text[start:] else len(text), outcome=one, reason="")
            for start, one in zip(starts, outcomes, strict=False)
        )
        return rationale, make_verdict(rationale, outcome).model_copy(update={"steps": steps})

    right = judged("1+1=2\n2+2=4\n#4", "correct", "correct", "correct")
    wrong = judged("1+1=2\n2+2=5\n#5", "incorrect", "correct", "incorrect")
    same = judged("1+1=2\n2+2=5\n#7", "incorrect", "correct", "incorrect")
    elsewhere = judged("2-1=1\n2+2=5\n#5", "incorrect", "correct", "incorrect")
    unnamed = judged("1+1=2\n2+2=4\n#9", "incorrect", "correct", "correct")
    found = pair([right, wrong, same, elsewhere, unnamed], cut="step")
    assert texts(found) == [("2+2=4", "2+2=5")]
    assert (found[0].prompt, found[0].ends) == (PROMPTS.render_question(A) + "1+1=2\n", False)
    assert found[0].parents[:2] == (right[0].id, wrong[0].id)
    assert all(one.ends for one in pair([right, wrong]))
    lucky = judged("1+1=2\n2+2=6\n#4", "correct", "correct", "incorrect")  # right by a wrong step in the same place
    unchecked = judged("1+1=2\n2+2 is\n#4", "correct", "correct", "undecided")
    assert pair([lucky, unchecked, wrong], cut="step") == []


class Narrow(ScriptedEngine):
    """A model with room for texts of up to three characters."""

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        return [Score(0.0, 0, too_long=True) if len(text) > 3 else Score(-len(text), 1) for _, text in pairs]


def test_pairs_that_a_model_has_no_room_for_are_not_measured() -> None:
    found = pair([write(A, "r"), write(A, "right"), write(A, "w2", "incorrect"), write(A, "wrong", "incorrect")])
    fits = next(one for one in found if texts([one]) == [("r", "w2")])
    assert score_pairs(found, Narrow(lambda *_: "")) == {fits.id: (-1.0, -2.0)}


def test_a_stage_alone_is_refused(tmp_path: Path) -> None:
    for stage, other in (("dpo", "prefer"), ("prefer", "dpo")):
        with pytest.raises(RecipeError, match=f"the stage '{stage}' needs the stage '{other}'"):
            small_recipe(tmp_path, f"{stage}={{}}")


# --- a run -----------------------------------------------------------------------------------------------------

DPO = """
  prefer: {}
  dpo: {steps: 4, batch_size: 4, learning_rate: 0.001, checkpoint_every: 2, fewest: 1}
  evaluate: {part_size: 6}
"""
WITH_DPO = SMALL.replace("\n  evaluate: {part_size: 6}\n", DPO).replace("  repair: {samples: 2, part_size: 5}\n", "")


def half_right(prompt: str, seed: int) -> str:
    a, b = (int(part) for part in prompt.rsplit("?", 1)[-1].strip("=").split("+"))
    return write_rationale(a, b + seed % 2)


def run(folder: Path, *overrides: str) -> RunFolder:
    made = RunFolder(folder / "small")
    recipe = small_recipe(folder / "recipe", *(overrides or ["rounds=1"]), text=WITH_DPO)
    run_loop(recipe, made, load=lambda checkpoint, session: ScriptedEngine(half_right))
    return made


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("dpo"))


def test_a_round_ends_with_what_dpo_made(done: RunFolder) -> None:
    (sft,) = done.stage(1, "sft").read(Checkpoint)
    (trained,) = done.stage(1, "dpo").read(Checkpoint)
    pairs = done.stage(1, "prefer").read(Preference)
    assert (trained.method, trained.parents[0], set(trained.parents[1:])) == ("dpo", sft.id, {one.id for one in pairs})
    assert trained.weights != sft.weights
    assert {one.parents[0] for one in done.stage(1, "evaluate").read(Evaluation)} == {trained.id}
    assert done.stage(1, "promote").read(Promotion)[0].parents[0] == trained.id
    manifest = done.stage(1, "dpo").manifest()
    assert manifest is not None
    assert manifest.metrics["pairs"] == len(pairs) > 3
    assert set(manifest.metrics["measured"]["after"]) == {"loss", "accuracy", "chosen", "rejected"}


def test_each_pair_is_walked_to_its_problem_and_shown(done: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    query = Query(done)
    graph = build_graph(query.nodes())
    assert not orphans(graph)
    pair = done.stage(1, "prefer").read(Preference)[0]
    kinds = {graph.nodes[one]["kind"] for one in ancestors(graph, pair.id)}
    assert kinds >= {"problem", "rationale", "verdict", "checkpoint"}
    console = Console(width=140, force_terminal=False)
    for identity in (pair.id, pair.parents[0], done.stage(1, "dpo").read(Checkpoint)[0].id):
        print_record(query, identity, console)
    text = capsys.readouterr().out
    assert "by verdicts, margin 1" in text
    assert f"preference {pair.id} chosen, beside {pair.parents[1][:10]}" in text
    assert "preference pairs: by verdicts" in text


def test_status_shows_what_dpo_did(done: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(done, Console(width=160, force_terminal=False))
    text = capsys.readouterr().out
    measured = done.stage(1, "dpo").manifest().metrics["measured"]  # type: ignore[union-attr]
    assert "Preference pairs, before and after DPO" in text
    assert f"{measured['before']['chosen']:.2f} → {measured['after']['chosen']:.2f}" in text
    assert to_json(done)["preferences"][0]["measured"] == measured


def test_pairs_are_exported_in_trls_columns(done: RunFolder, tmp_path: Path) -> None:
    count = export_rows(Query(done), tmp_path / "pairs.jsonl", "dpo", None)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert count == len(rows) == len(done.stage(1, "prefer").read(Preference))
    assert {"prompt", "chosen", "rejected"} <= set(rows[0])


def test_the_same_recipe_gives_the_same_run(done: RunFolder, tmp_path: Path) -> None:
    again = run(tmp_path)
    assert record_ids(again) == record_ids(done)
    assert weight_hashes(again) == weight_hashes(done)
    assert again.stage(1, "dpo").read(Checkpoint) == done.stage(1, "dpo").read(Checkpoint)


def test_a_reference_before_round_1_gives_other_weights(done: RunFolder, tmp_path: Path) -> None:
    other = run(tmp_path, "rounds=1", "dpo.reference=base")
    assert other.stage(1, "sft").read(Checkpoint)[0].weights == done.stage(1, "sft").read(Checkpoint)[0].weights
    assert other.stage(1, "dpo").read(Checkpoint)[0].weights != done.stage(1, "dpo").read(Checkpoint)[0].weights


def test_without_pairs_the_sft_checkpoint_goes_on(tmp_path: Path) -> None:
    made = RunFolder(tmp_path / "small")
    recipe = small_recipe(tmp_path / "recipe", "rounds=2", text=WITH_DPO)
    right = ScriptedEngine(lambda prompt, seed: half_right(prompt, 0))
    run_loop(recipe, made, load=lambda checkpoint, session: right)
    for round_ in (1, 2):
        assert made.stage(round_, "dpo").read(Checkpoint) == made.stage(round_, "sft").read(Checkpoint)
    assert describe_dpo({"pairs": 0}) == "no pairs: the checkpoint is kept as it is"


def test_without_sft_dpo_starts_from_the_best_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing trains: a round needs the stage 'sft' or 'distill' or 'dpo'"):
        small_recipe(tmp_path, "sft=null")
    made = run(tmp_path, "sft=null", "rounds=2")
    assert not made.stage(1, "sft").path.exists()
    (base,), (first,), (second,) = (
        made.stage(*key).read(Checkpoint) for key in ((0, "warmup"), (1, "dpo"), (2, "dpo"))
    )
    assert (first.parents[0], second.parents[0]) == (base.id, first.id)


def test_a_falling_chosen_text_is_a_warning() -> None:
    before = {"loss": 0.69, "accuracy": 0.0, "chosen": -3.0, "rejected": -4.0}
    after = {"loss": 0.5, "accuracy": 0.9, "chosen": -5.0, "rejected": -9.0}
    line = describe_dpo({"pairs": 7, "measured": {"before": before, "after": after}})
    assert line.startswith("7 pairs: log-probability of the chosen -3.00 to -5.00, of the rejected -4.00 to -9.00")
    assert line.endswith("90% of the pairs with a margin above 0; WARNING: the chosen texts became less likely")
