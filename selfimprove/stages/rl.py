"""Train on what the policy writes while it is trained: reinforcement learning by RLOO or GRPO."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest

from selfimprove.errors import RecipeError, not_known
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake, of_others
from selfimprove.recipe.flow import flow_of, trains_full_prompt
from selfimprove.recipe.reinforcement import RlTraining
from selfimprove.records import Audit, Checkpoint, Example, Problem, Rationale, Record, Rollout, Verdict, derive_seed
from selfimprove.stages.as_sampled import prompt_as_trained
from selfimprove.stages.audit import audit_rollouts
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.training import trained_rows
from selfimprove.store import Manifest
from selfimprove.trainers.job import RlJob
from selfimprove.trainers.rewarding import RULES

OURS = ("verifier", "constitution", "model", *RULES)
"""The rewards that need no extension."""
MIXED = 10_000  # demonstrations at most
REQUIRE_VERSION = 2
PTX_VERSION = 2  # where demonstrations counted by the policy at the temperature at which it writes
ASKED_VERSION = 2  # where reward models are asked by another prompt than texts are written by


class Rl(RlTraining):
    """Train on texts that the policy writes for the round's problems while it is trained (RLOO, GRPO), from the
    checkpoint as the stages before leave it. With the reward `verifier` alone this is RLVR (Lambert et al., 2024). The
    trainer writes the texts itself, whatever `engine` says."""


def train(_: Sequence[object], desk: Desk[Rl]) -> Iterator[Record]:
    """Train on the round's problems; every text with what it was worth is kept while it goes on."""
    settings, start = desk.settings, desk.trained
    problems = [one for one in desk.read(Problem) if not one.is_pair]
    first = desk.first_checkpoint
    to_base = settings.reference == "base" and first.id != start.id
    judges = {name: desk.judging.verifier(name) for name in sorted({one.task for one in problems})}
    asked = [name for name, one in judges.items() if one.name == "judge"]
    if asked and settings.rewards.get("verifier"):
        raise RecipeError(
            f"'{desk.name}.rewards': a model judges the answers of '{asked[0]}', and cannot be asked while another one "
            "is trained; take a reward model, or a task with another verifier"
        )
    trained = desk.train(
        RlJob,
        problems,
        start,
        prompts=tuple(desk.prompts.render(one) for one in problems),
        asked=tuple(prompt_as_trained(one, desk.prompts, desk.trains_full_prompt) for one in problems),
        stop=desk.prompts.stop,
        checkpoint=start.id,
        round=desk.round,
        reference=desk.weights(first) if to_base else None,
        verifiers={name: one.settings for name, one in judges.items() if name not in asked},
        limits=desk.judging.pool.limits,
        workers=desk.judging.pool.workers,
        constitution=desk.constitution if "constitution" in settings.rewards else None,
        reward_models=_reward_models(desk) if "model" in settings.rewards else (),
        mixed=_demonstrations(desk) if settings.ptx else (),
    )
    measured = [name for name, weight in settings.rewards.items() if not weight]
    yield from audit_rollouts(desk.kept(Rollout), trained.id, measured)
    yield trained


def _reward_models(desk: Desk[Rl]) -> tuple[str, ...]:
    found = [one for one in desk.read(Checkpoint) if one.role == "reward"]
    if not found:
        raise RecipeError(
            f"'{desk.name}.rewards': there is no reward model in this round; train one with the stage 'reward'"
        )
    return tuple(desk.weights(one) for one in found)


def _demonstrations(desk: Desk[Rl]) -> tuple[Example, ...]:
    """What the first checkpoint was trained on, some of it where it is much."""
    return tuple(nsmallest(MIXED, desk.read_of(0, Example), key=lambda one: derive_seed("mixed", one.id)))


def reads(round_: Round[Rl]) -> list[Key]:
    models = round_.every(Checkpoint) if "model" in round_.settings.rewards else []
    seeds = round_.seeds if round_.settings.ptx else []
    return [*dict.fromkeys([round_.start, round_.trained, *round_.every(Problem), *models, *seeds])]


def depends(round_: Round[Rl]) -> dict[str, object]:
    constitution = round_.shared("constitution") if "constitution" in round_.settings.rewards else {}
    required = {} if round_.settings.require == "answer" else {"version of require": REQUIRE_VERSION}
    by_question = round_.recipe.prompt.style != "zero-shot" and not trains_full_prompt(round_.recipe)
    asked = {"version of asked": ASKED_VERSION} if by_question and "model" in round_.settings.rewards else {}
    tempered = round_.settings.ptx and round_.settings.temperature != 1
    mixed = {"version of ptx": PTX_VERSION} if tempered else {}
    return {**round_.own, **round_.shared(*SHOWN), **constitution, **required, **asked, **mixed}


def _curve(manifest: Manifest) -> list[Mapping[str, float]]:
    """The figures of the logged steps."""
    return [one["values"] for one in manifest.metrics.get("curve") or () if one.get("values")]


def say(desk: Desk[Rl]) -> str:
    """What became of the rewards, and of what should not have changed meanwhile."""
    found = _curve(desk.manifest) if desk.manifest else []
    if not found:
        return ""
    first, last = _ends(found)
    parts = [f"{name} {first[name]:.3g} to {last[name]:.3g}" for name in last if name in first and _is_told(name)]
    if same := last.get("groups without difference"):
        parts.append(f"{same:.0%} of the problems without a text that was worth more than another")
    if undecided := _mean(found).get("undecided"):
        parts.append(f"{undecided:.0%} undecided, which gave no gradient")
    warnings = ["no text was worth more than another, so nothing was learned"] if _is_flat(found) else []
    warnings += [one.said for one in desk.written(Audit) if one.warns]
    return "; WARNING: ".join([", ".join(parts), *warnings])


def _is_told(name: str) -> bool:
    return name.startswith(("reward", "gold")) or name in ("right", "KL", "entropy", "tokens")


def _is_flat(found: Sequence[Mapping[str, float]]) -> bool:
    return _mean(found).get("groups without difference") == 1.0


def _ends(found: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """The means over the first and the last logged steps, a tenth of them all: one step is a handful of texts."""
    some = -(-len(found) // 10)
    return _mean(found[:some]), _mean(found[-some:])


def _mean(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in found:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: sum(some) / len(some) for name, some in values.items()}


def figures(manifest: Manifest) -> Mapping[str, float | None]:
    """What the first and the last logged steps show: rewards, KL, entropy, length, and shares."""
    found = _curve(manifest)
    if not found:
        return {}
    ends = dict(zip(("before", "after"), _ends(found), strict=True))
    return {f"rl/{name.replace(' ', '_')}_{when}": value for when, one in ends.items() for name, value in one.items()}


def cost(look: Look[Rl]) -> Sequence[Cost]:
    """Texts are written, and trained as often as there are passes over them."""
    settings = look.settings
    there = look.sizes.problems * settings.samples
    rows = trained_rows(settings, look.round, there * settings.passes)
    return [
        Cost(texts=rows / settings.passes, longest=settings.max_tokens),
        Cost(rows=rows, longest=settings.max_length),
    ]


def check(recipe: Recipe, settings: Rl) -> Iterable[Mistake]:
    name = next((step.name for step in flow_of(recipe) if getattr(recipe.stages, step.name, None) is settings), "rl")
    yield from (Mistake(("stages", name, *at), said) for at, said in _mistakes(recipe, settings, name))


def _mistakes(recipe: Recipe, settings: Rl, name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if not settings.kl and settings.reference != "none":
        yield (
            ("kl",),
            f"'{name}.kl: 0' would hold the policy to nothing, and it would find what the reward does not mean; set it "
            f"above 0, or say 'reference: none' as well",
        )
    if settings.kl and settings.reference == "none":
        yield ("reference",), f"'{name}.reference: none' needs 'kl: 0': there is nothing to measure it from"
    if settings.reference == "base" and settings.lora:
        yield ("reference",), "'reference: base' is not there for LoRA: TRL holds an adapter to its own beginning"
    if settings.samples < 2:
        yield ("samples",), f"'{name}.samples: 1' leaves no other text to compare one with; at least 2 are needed"
    texts = settings.batch_size * settings.accumulate * settings.batches
    if settings.samples > 1 and texts % settings.samples:
        yield (
            ("samples",),
            f"{texts} texts are written at once ('batch_size' x 'accumulate' x 'batches'), which is no multiple of "
            f"'samples: {settings.samples}'",
        )
    if settings.ptx and not any(step.stage.starts and Example in step.stage.also for step in flow_of(recipe)):
        yield ("ptx",), f"'{name}.ptx' mixes in the demonstrations of the stage 'warmup', and it does not run"
    if settings.ptx and settings.accumulate > 1:
        yield ("ptx",), f"'{name}.ptx' and 'accumulate: {settings.accumulate}' do not go together; raise 'batch_size'"
    yield from _reward_mistakes(recipe, settings, name)
    if settings.method == "rloo" and (settings.loss != "dapo" or settings.scale != "group"):
        yield ("method",), "'loss' and 'scale' are GRPO's; set 'method: grpo'"
    if settings.method == "grpo" and settings.normalize:
        yield ("normalize",), "'normalize' is RLOO's; GRPO has 'scale'"


def _reward_mistakes(recipe: Recipe, settings: Rl, name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    known = (*OURS, *of_others("reward"))
    for one in settings.rewards:
        if one not in known:
            yield ("rewards",), not_known("reward", one, known)
    if not any(settings.rewards.values()):
        yield ("rewards",), f"'{name}.rewards' is empty: nothing would be learned; '{{verifier: 1}}' is RLVR"
    if "constitution" in settings.rewards and recipe.constitution is None:
        yield ("rewards",), "the reward 'constitution' needs a 'constitution', by path or by name"
    if "model" in settings.rewards and not any(step.stage.trains == "reward" for step in flow_of(recipe)):
        yield ("rewards",), "the reward 'model' needs a stage before it that trains a reward model"
    if recipe.open is not None and settings.rewards.get("verifier"):
        yield ("rewards",), "open prompts have no answer that 'verifier' could go by; they would give no gradient"


RL = Stage(
    name="rl",
    version=1,
    settings=Rl,
    writes=Checkpoint,
    also=(Rationale, Verdict, Rollout, Audit),
    reads=reads,
    needs=(Problem,),
    run=train,
    uses=(*SHOWN, "constitution"),
    depends=depends,
    trains="policy",
    loss_tells=False,  # about 0 by construction: advantages of a group have a mean of 0
    charts="figures",
    open=True,
    say=say,
    figures=figures,
    cost=cost,
    check=check,
)
