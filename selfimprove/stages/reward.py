"""Train a reward model on pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import PositiveInt

from selfimprove.errors import TrainingError
from selfimprove.recipe import Recipe, RewardTraining
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, own_settings
from selfimprove.records import Checkpoint, Preference, Problem, derive_seed
from selfimprove.settings import Share
from selfimprove.stages.base import Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.prefer import Prefer
from selfimprove.stages.reward_figures import Weighed, measure_rewards
from selfimprove.stages.training import trained_rows
from selfimprove.store import Manifest
from selfimprove.trainers.job import RewardJob
from selfimprove.trainers.rewarding import read_reading

OWN = "best"  # the source of pairs that a reward model has made, and learns nothing from


class BradleyTerry(RewardTraining):
    """Train a reward model on the pairs that are there, from whatever source (Christiano et al., 2017; InstructGPT,
    Ouyang et al., 2022, section 3.5). The policy is not trained on them."""

    models: PositiveInt = 1
    """Models of an ensemble, each with a head and an order of the pairs of its own (Coste et al., 2023)."""
    start: Literal["base", "last"] = "last"
    """What the reward model is made of: the policy as it is here (InstructGPT), or the model before round 1."""
    pool: Literal["fresh", "cumulative"] = "fresh"
    """Train on this round's pairs, or on all rounds'."""
    held_out: Share = 0.1
    """The share of the prompts whose pairs are kept to measure with, chosen by a hash."""
    fewest: PositiveInt = 8
    """With fewer pairs to train on the run stops."""


def train(_: Sequence[object], desk: Desk[BradleyTerry]) -> Iterator[Checkpoint]:
    """Train each model, then measure all of them on the pairs of prompts that none has seen."""
    settings = desk.settings
    pairs = read_pairs(desk)
    trained, held_out = split_by_prompt(pairs, settings.held_out)
    if len(trained) < settings.fewest:
        raise TrainingError(explain_too_few(desk, len(pairs), len(trained)))
    start = desk.first_checkpoint if settings.start == "base" else desk.trained
    made = [desk.train(RewardJob, trained, start, **describe_member(desk, at)) for at in range(settings.models)]
    desk.note("trained pairs", len(trained))
    desk.note("held out", measure(desk, made, held_out))
    yield from made


def read_pairs(desk: Desk[BradleyTerry]) -> list[Preference]:
    """The pairs of this round or of all, each once, but for those that a reward model made."""
    first = 1 if desk.settings.pool == "cumulative" else desk.round
    found = [one for at in range(first, desk.round + 1) for one in desk.read_of(at, Preference)]
    return list({one.id: one for one in found if one.source != OWN and one.ends}.values())


def split_by_prompt(pairs: Sequence[Preference], share: float) -> tuple[list[Preference], list[Preference]]:
    """Pairs to train on and pairs to measure with: no prompt is in both."""
    prompts = sorted({one.prompt for one in pairs}, key=lambda one: derive_seed("held out of rewards", one))
    aside = set(prompts[: max(1, round(share * len(prompts)))] if share and len(prompts) > 1 else ())
    return [one for one in pairs if one.prompt not in aside], [one for one in pairs if one.prompt in aside]


def explain_too_few(desk: Desk[BradleyTerry], pairs: int, trained: int) -> str:
    """What to do where there are too few pairs."""
    see = f"see why with: selfimprove traces {desk.run} --round {desk.round}"
    if not pairs:
        return (
            f"{desk.title}: no pairs to train a reward model on: nothing was found better than anything else, as where "
            f"all texts of each problem are right or all are wrong; {see}"
        )
    return (
        f"{desk.title}: {trained} pairs to train a reward model on ({pairs - trained} are held out), and "
        f"'{desk.name}.fewest' asks for {desk.settings.fewest}; sample more, or lower it"
    )


def describe_member(desk: Desk[BradleyTerry], at: int) -> dict[str, object]:
    """The fields of the job of one model; several lie beside each other in the stage's checkpoint."""
    given: dict[str, Any] = {"seed": derive_seed(desk.seed, "reward", desk.round, at)}
    if desk.settings.models > 1:
        folder = desk.folder.resolve()
        given["member"] = at + 1
        given["output"] = folder / "checkpoint" / str(at + 1)
        given["examples"] = folder / f"training-{at + 1}" / "examples.parquet"
    return given


def measure(desk: Desk[BradleyTerry], made: Sequence[Checkpoint], pairs: Sequence[Preference]) -> dict[str, Any]:
    """The figures of the models on pairs that they have not seen; pairs with a text that is too long are left out."""
    if not pairs:
        return measure_rewards([])
    texts = [text for one in pairs for text in (one.chosen, one.rejected)]
    prompts = [one.prompt for one in pairs for _ in range(2)]
    problems = [Problem(question=one, answer=None, task="") for one in prompts]
    given, scales = [], []
    for one in made:
        given.append(desk.rewards([one])(prompts, texts, problems))
        scales.append(read_reading(desk.weights(one)).scale)
    weighed = []
    for at, pair in enumerate(pairs):
        rewards = [(values[2 * at], values[2 * at + 1]) for values in given]
        known = [(good, bad) for good, bad in rewards if good is not None and bad is not None]
        if len(known) == len(made):
            ahead = tuple(scale * (good - bad) for scale, (good, bad) in zip(scales, known, strict=True))
            both = sum(good for good, _ in known) / len(made), sum(bad for _, bad in known) / len(made)
            weighed.append(Weighed(pair, ahead, both, desk.task.levels.get(pair.group)))
    return {**measure_rewards(weighed), "too long": len(pairs) - len(weighed)}


def reads(round_: Round[BradleyTerry]) -> list[Key]:
    earlier = round_.earlier_writers(Preference) if round_.settings.pool == "cumulative" else []
    start = round_.start if round_.settings.start == "base" else round_.trained
    return [*dict.fromkeys([round_.start, start, *earlier, *round_.every(Preference)])]


def say(desk: Desk[BradleyTerry]) -> str:
    """How often the models are right on pairs that they have not seen, and what else they go by."""
    metrics = desk.manifest.metrics if desk.manifest else {}
    found = metrics.get("held out") or {}
    many = f"{desk.settings.models} models, " if desk.settings.models > 1 else ""
    long = sum(int(some) for some in (metrics.get("left_out", 0), found.get("too long", 0)))
    apart = f" ({long} more are longer than 'max_length')" if long else ""
    trained = f"{many}{metrics.get('trained pairs', 0) - metrics.get('left_out', 0)} pairs{apart}"
    if not found.get("pairs"):
        return f"{trained}; none held out, so nothing is known of how good it is"
    right, length, agree = found["accuracy"], found["correlation with length"], found["agreement"]
    share, interval = right["right"] / right["n"], f"95% interval {right['low']:.1%} to {right['high']:.1%}"
    chance = "; WARNING: no better than chance" if right["low"] <= 0.5 else ""
    about = "" if length is None else f", correlation with length {length:.2f}"
    two = "" if agree is None else f", two models agree on {agree:.0%}"
    return (
        f"{trained}; right on {share:.1%} of {right['n']} held-out ones ({interval}), calibration "
        f"error {found['calibration']['error']:.2f}{about}{two}{chance}"
    )


def figures(manifest: Manifest) -> Mapping[str, float | None]:
    """Accuracy, loss, calibration, correlation with length and agreement on held-out pairs."""
    found = manifest.metrics.get("held out") or {}
    if not found.get("pairs"):
        return {}
    right = found["accuracy"]
    return {
        "reward/accuracy": right["right"] / right["n"],
        "reward/log_loss": found["log loss"],
        "reward/calibration_error": found["calibration"]["error"],
        "reward/length_correlation": found["correlation with length"],
        "reward/agreement": found["agreement"],
    }


def cost(look: Look[BradleyTerry]) -> Sequence[Cost]:
    """Both texts of a pair are trained, by each model."""
    prefer, settings = look.recipe.find(Prefer) or Prefer(), look.settings
    pairs = look.sizes.problems * prefer.per_problem
    rows = trained_rows(settings, look.round, min(pairs, prefer.limit or pairs))
    return [Cost(rows=2 * settings.models * rows, longest=settings.max_length, upto=settings.steps is None)]


def check(recipe: Recipe, settings: BradleyTerry) -> Iterable[Mistake]:
    flow = flow_of(recipe)
    at = next((at for at, step in enumerate(flow) if own_settings(recipe, step) is settings), len(flow))
    if not any(one.stage.gives((Preference,)) and one.stage.name != OWN for one in flow[:at]):
        said = f"'{flow[at].name}' needs pairs, and no stage 'prefer' or 'label' stands before it"
        yield Mistake(("stages", flow[at].name), said)
    if settings.held_out == 1:
        said = f"'{flow[at].name}.held_out: 1' leaves no pair to train on; it is the share of prompts to measure with"
        yield Mistake(("stages", flow[at].name, "held_out"), said)
    if settings.labels == "soft" and settings.margin:
        said = "'labels: soft' says how sure a pair is already; leave 'margin' out"
        yield Mistake(("stages", "reward", "margin"), said)
    prefer = recipe.find(Prefer)
    if prefer and prefer.cut == "step":
        said = "a reward model is trained on whole texts, and 'prefer.cut: step' makes pairs of steps"
        yield Mistake(("stages", "prefer", "cut"), said)


REWARD = Stage(
    name="reward",
    version=1,
    settings=BradleyTerry,
    writes=Checkpoint,
    reads=reads,
    run=train,
    trains="reward",
    say=say,
    figures=figures,
    cost=cost,
    check=check,
)
