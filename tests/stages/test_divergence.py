"""The KL divergence from the model before round 1, against log-probabilities that are worked out by hand."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
from small import small_recipe

from selfimprove.engines.models import load_model
from selfimprove.prompting.prompts import encode_completion, encode_prompt
from selfimprove.records import KL, Rationale
from selfimprove.running.desk import StageDesk
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.stages.kl import describe_kl, measure_kl
from selfimprove.store import RunFolder


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A run of two rounds that measured all its samples."""
    folder = tmp_path_factory.mktemp("kl")
    recipe, run = small_recipe(folder, "generate.kl_samples=1000"), RunFolder(folder / "run")
    run_loop(recipe, run)
    return Session(recipe, run)


def measured(session: Session, round_: int) -> dict[str, float]:
    manifest = session.folder.stage(round_, "select").manifest()
    assert manifest is not None
    found: dict[str, float] = manifest.metrics[KL]
    return found


def log_probability(folder: str, texts: Sequence[Rationale], *, end: bool = True) -> list[tuple[float, int]]:
    """Of each text after its prompt, with the end token where it was drawn and `end` does not leave it out."""
    model, tokenizer = load_model(folder, base=None, dtype="float32", device="cpu")
    found = []
    for one in texts:
        prompt = encode_prompt(tokenizer, one.prompt, chat=False)
        ids = encode_completion(tokenizer, one.text)
        ids = ids if end and one.finish == "stop" else ids[:-1]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        found.append((sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(ids)), len(ids)))
    return found


def test_it_is_the_mean_log_ratio_of_what_the_policy_sampled(session: Session) -> None:
    texts: list[Rationale] = session.read((2, "generate"), Rationale)
    assert {one.finish for one in texts} == {"stop", "length"}  # with and without an end token
    policy = log_probability(session.weights(session.incumbent((2, "generate"))), texts)
    base = log_probability(session.weights(session.first_checkpoint()), texts)
    ratios = [one[0] - other[0] for one, other in zip(policy, base, strict=True)]
    found = measured(session, 2)
    assert found["texts"] == len(texts) == 24
    assert found["nats a text"] == pytest.approx(mean(ratios), abs=1e-4)
    assert found["standard error"] == pytest.approx(stdev(ratios) / sqrt(24), abs=1e-4)
    assert found["nats a token"] == pytest.approx(sum(ratios) / sum(tokens for _, tokens in policy), abs=1e-5)
    assert found["nats a text"] > 3 * found["standard error"] > 0  # it has moved
    assert found["temperature"] == 1.0


def test_the_line_of_the_stage_says_it(session: Session) -> None:
    found = {"nats a text": 2.6116, "standard error": 0.39084, "nats a token": 0.14853}
    assert describe_kl(found) == "; KL from the base 2.61 ± 0.39 nats a text (0.149 a token)"
    assert describe_kl(found | {"standard error": None}) == "; KL from the base 2.61 nats a text (0.149 a token)"
    assert describe_kl(None) == ""
    desk = StageDesk(session.plan[2, "select"], session)
    assert desk.stage.declared.say(desk).endswith(describe_kl(measured(session, 2)))


def test_the_base_is_no_distance_from_itself(session: Session) -> None:
    assert measured(session, 1)["nats a text"] == pytest.approx(0.0, abs=1e-6)


def test_only_so_many_texts_of_the_round_are_scored_and_no_others(session: Session) -> None:
    fewer = Session(small_recipe(session.folder.path.parent, "generate.kl_samples=5"), session.folder)
    desk = StageDesk(fewer.plan[2, "select"], fewer)
    written: list[Rationale] = session.read((2, "generate"), Rationale)
    others: list[Rationale] = [*session.read((1, "generate"), Rationale), *session.read((2, "rationalize"), Rationale)]
    some = measure_kl(desk, written)
    assert some is not None and some["texts"] == 5
    assert measure_kl(desk, [*others, *reversed(written)]) == some
    assert measure_kl(desk, others) is None


def test_where_texts_may_end_at_a_stop_string_no_end_token_is_counted(session: Session, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, "generate.kl_samples=1000", "prompt.stop=[x]")
    stopping = Session(recipe, session.folder)
    texts: list[Rationale] = session.read((2, "generate"), Rationale)
    policy, base = (
        log_probability(session.weights(one), texts, end=False)
        for one in (session.incumbent((2, "generate")), session.first_checkpoint())
    )
    found = measure_kl(StageDesk(stopping.plan[2, "select"], stopping), texts)
    ratios = [one[0] - other[0] for one, other in zip(policy, base, strict=True)]
    assert found is not None and found["nats a text"] == pytest.approx(mean(ratios), abs=1e-4)
    assert found["nats a text"] != pytest.approx(measured(session, 2)["nats a text"], abs=1e-3)


def test_it_is_off_and_changes_no_fingerprint(tmp_path: Path) -> None:
    plain, asked = (small_recipe(tmp_path, *some) for some in ((), ("generate.kl_samples=9",)))
    assert plain.stages.generate.kl_samples == 0
    stages = [list(Session(one, RunFolder(tmp_path / "run")).plan.values()) for one in (plain, asked)]
    assert [one.fingerprint for one in stages[0]] == [one.fingerprint for one in stages[1]]
