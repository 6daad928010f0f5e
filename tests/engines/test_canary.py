"""The canary: what it compares, and what it does not take for proof."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from selfimprove.engines import Score, ScriptedEngine, Weights
from selfimprove.engines.build import build_model
from selfimprove.engines.canary import TEXTS, Canary, check_canary, read_expected
from selfimprove.engines.probe import Abilities
from selfimprove.errors import EngineError
from selfimprove.recipe import Build


class Scoring(ScriptedEngine):
    """An engine that scores what it is told to."""

    def __init__(self, scores: list[Score]) -> None:
        super().__init__(lambda prompt, seed: "")
        self.told = scores

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        return self.told


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("model")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), folder, seed=1)
    return Weights(str(folder))


def test_a_text_that_does_not_fit_the_engine_is_left_out(weights: Weights) -> None:
    right = read_expected(weights, "float32")
    short = [Score(0.0, 0, too_long=True), *right[1:]]
    canary = check_canary(Scoring(short), weights, "float32", None)
    assert canary.proved and canary.compared == (1, 2, 3)
    wrong = [short[0], Score(right[1].logprob - 5, right[1].tokens), *right[2:]]
    assert not check_canary(Scoring(wrong), weights, "float32", None).proved
    with pytest.raises(EngineError, match="none of the canary's texts fits"):
        check_canary(Scoring([Score(0.0, 0, too_long=True)] * len(TEXTS)), weights, "float32", None)


@pytest.mark.parametrize(
    ("served", "before", "proved"),
    [
        (-10.0, None, True),
        (-10.0005, None, True),
        (-10.1, None, False),
        (-10.008, -10.01, False),  # within what rounding may do, and nearer to the weights before
        (-10.0001, -10.0, True),
    ],
)
def test_old_weights_are_no_proof(served: float, before: float | None, proved: bool) -> None:
    old = None if before is None else (before,)
    assert Canary((-10.0,), (served,), old, (0,), 10, 1e-3).proved is proved


def test_a_model_that_is_sure_of_itself_is_no_other_server() -> None:
    before = Abilities(prompts="ids", seeds=True, stops=True, logprobs=True)
    assert Abilities(prompts="ids", seeds=False, stops=False, logprobs=True).covers(before)
    assert not Abilities(prompts="ids", seeds=True, stops=True, logprobs=False).covers(before)


def test_a_server_beside_a_silent_engine_still_logs(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfimprove.engines.supervisor import Supervised, Supervisor
    from selfimprove.recipe.engine_settings import EngineSettings

    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "CRITICAL")
    one = Supervised(1, None, Path("log"))
    made = Supervisor.__new__(Supervisor)
    made.settings, made.servers, made._key = EngineSettings(threads=1), [one], ""
    assert made._environment(one, weights)["VLLM_LOGGING_LEVEL"] == "INFO"


def test_the_end_of_a_log_is_why_its_program_ended(tmp_path: Path) -> None:
    from selfimprove.engines.local import end_of

    log = tmp_path / "server.log"
    log.write_text(
        "(EngineCore pid=1) ERROR 11-23 17:06:20 [core.py:1512] RuntimeError: Worker failed with error 'head_dim=16'\n"
        "(APIServer pid=2) ERROR 11-23 17:06:20 [x.py:9] vllm.v1.engine.exceptions.EngineDeadError: See (above)\n"
        "warnings.warn('resource_tracker: There appear to be')\n"
    )
    assert end_of(log) == "RuntimeError: Worker failed with error 'head_dim=16'"
