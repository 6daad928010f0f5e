"""Say what each text is worth: by a reward model, by the verifier, or by a rule."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Annotated, Any

from pydantic import PositiveInt

from selfimprove.constitution import Constitution
from selfimprove.constitution.adherence import measured
from selfimprove.constitution.checks import comply_as_written
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake, Named
from selfimprove.recipe.flow import flow_of, own_settings, trains_full_prompt
from selfimprove.records import Checkpoint, Problem, Rationale, Reward, Verdict
from selfimprove.records.stats import correlation
from selfimprove.settings import Settings
from selfimprove.stages.as_sampled import prompt_of
from selfimprove.stages.base import SHOWN, Desk, Key, Round, Stage, chunks
from selfimprove.store import Manifest
from selfimprove.trainers.rewarding import RULES, Combine, RewardFunction, rule_function

WORTH: Mapping[str, float | None] = {"correct": 1.0, "incorrect": 0.0, "undecided": None}
Asked = Callable[[Sequence[Rationale]], list[Reward]]


class Rank(Settings):
    """Say what each text of a round is worth; nothing is kept or turned away here."""

    reward: Annotated[str, Named("reward", ("model", "verdict", "constitution", *RULES))] = "model"
    """model: the reward model that the stage `reward` before it trained; verdict: 1 for a correct text and 0 for an
    incorrect one; constitution: the share of its checks that a text passes, by the weights of their principles; or a
    rule that is declared."""
    path: str | None = None
    """With `reward: model`: a reward model of another run, by its folder, in place of this run's."""
    combine: Combine = "mean"
    """Of an ensemble: the mean of its models, or the lowest, which is harder to deceive (Coste et al., 2023)."""
    part_size: PositiveInt = 512
    """Texts in a part."""


def rank(part: Sequence[Rationale], desk: Desk[Rank]) -> Iterator[Reward]:
    """The rewards of a part's texts; a text that never was one, as its prompt was too long, has none."""
    found, done = desk.once(find_asked)(part), desk.once(read_done)
    done += found
    desk.note("rewards", summarize(done, desk.once(read_lengths)))
    yield from found


def read_done(desk: Desk[Rank]) -> list[Reward]:
    """The rewards of the parts that are there when the first of the others is made."""
    return [*desk.written(Reward)]


def find_asked(desk: Desk[Rank]) -> Asked:
    """Who says what texts are worth."""
    settings = desk.settings
    if settings.reward == "verdict":
        verdicts = {one.rationale: one for one in desk.read(Verdict)}
        return lambda part: [_by_verdict(one, verdicts.get(one.id), desk.name) for one in part]
    if settings.reward == "constitution":
        verdicts, problems = {one.rationale: one for one in desk.read(Verdict)}, desk.by_id(Problem)
        return lambda part: [
            _by_constitution(one, problems[one.problem], verdicts.get(one.id), desk.constitution, desk.name)
            for one in part
        ]
    if settings.reward != "model":
        return _ask(desk, [rule_function(settings.reward)], ())
    if settings.path is not None:
        models = [Checkpoint(path=settings.path, method="base", weights="", role="reward")]
        return _ask(desk, [desk.rewards(models)], ())
    models = [one for one in desk.read(Checkpoint, "reward") if one.role == "reward"]
    return _ask(desk, [desk.rewards([one]) for one in models], [one.id for one in models])


def _by_verdict(rationale: Rationale, verdict: Verdict | None, name: str) -> Reward:
    parents = (rationale.id, *([verdict.id] if verdict else []))
    value = WORTH[verdict.outcome] if verdict else None
    return Reward(parents=parents, value=value, by=name, reward="verdict")


def _by_constitution(
    rationale: Rationale, problem: Problem, verdict: Verdict | None, constitution: Constitution, name: str
) -> Reward:
    """The share of the checks that hold for a prompt; none where there are none, or one of them cannot tell."""
    held = [one for one in measured(constitution, problem) if one.check]
    said = [comply_as_written(one.check, rationale, verdict)[0] for one in held if one.check]
    value = None
    if held and "undecided" not in said:
        passed = sum(one.weight for one, outcome in zip(held, said, strict=True) if outcome == "correct")
        value = passed / sum(one.weight for one in held)
    parents = (rationale.id, *([verdict.id] if verdict else []))
    return Reward(parents=parents, value=value, by=name, reward="constitution")


def _ask(desk: Desk[Rank], asked: Sequence[RewardFunction], models: Sequence[str]) -> Asked:
    problems = desk.by_id(Problem)

    def ask(part: Sequence[Rationale]) -> list[Reward]:
        texts = [one for one in part if one.finish != "too_long"]
        of_texts = [problems[one.problem] for one in texts]
        prompts = [
            prompt_of(one, problem, desk.prompts, desk.trains_full_prompt)
            for one, problem in zip(texts, of_texts, strict=True)
        ]
        given = [each(prompts, [one.text for one in texts], of_texts) for each in asked]
        values: dict[str, tuple[float | None, ...]] = {
            one.id: row for one, row in zip(texts, zip(*given, strict=True), strict=True)
        }
        return [_reward(one, values.get(one.id, (None,)), models, desk) for one in part]

    return ask


def _reward(rationale: Rationale, values: Sequence[float | None], models: Sequence[str], desk: Desk[Rank]) -> Reward:
    known = [one for one in values if one is not None]
    value = None
    if known and len(known) == len(values):
        value = min(known) if desk.settings.combine == "min" else fmean(known)
    return Reward(
        parents=(rationale.id, *models),
        value=value,
        by=desk.name,
        reward=desk.settings.reward,
        members=tuple(known) if len(models) > 1 and value is not None else (),
    )


def read_lengths(desk: Desk[Rank]) -> dict[str, int]:
    return {one.id: len(one.text) for one in desk.scan(Rationale).pick("text")}


def summarize(rewards: Sequence[Reward], lengths: Mapping[str, int]) -> dict[str, Any]:
    """How many there are, their mean and spread, and whether long texts have more."""
    decided = [(one.value, lengths[one.rationale]) for one in rewards if one.value is not None]
    values = [value for value, _ in decided]
    return {
        "texts": len(rewards),
        "undecided": len(rewards) - len(values),
        "mean": fmean(values) if values else None,
        "deviation": pstdev(values) if values else None,
        "correlation with length": correlation(values, [length for _, length in decided]),
    }


def reads(round_: Round[Rank]) -> list[Key]:
    settings = round_.settings
    further = round_.every(Verdict) if settings.reward in ("verdict", "constitution") else []
    if settings.reward == "model" and settings.path is None:
        further = round_.this("reward")
    return [*dict.fromkeys([round_.start, *round_.every(Problem, Rationale), *further])]


def depends(round_: Round[Rank]) -> dict[str, object]:
    constitution = round_.shared("constitution") if round_.settings.reward == "constitution" else {}
    return {**round_.own, "shown": trains_full_prompt(round_.recipe), **round_.shared(*SHOWN), **constitution}


def say(desk: Desk[Rank]) -> str:
    """The mean reward, with a warning where it says nothing about the texts."""
    found = desk.manifest.metrics.get("rewards") if desk.manifest else None
    if not found or found["mean"] is None:
        return "no text has a reward"
    undecided = f", {found['undecided']} undecided" if found["undecided"] else ""
    length = found["correlation with length"]
    about = "" if length is None else f", correlation with length {length:.2f}"
    flat = "; WARNING: all are equal, so that nothing can be chosen by them" if not found["deviation"] else ""
    return f"mean {found['mean']:.3f} (deviation {found['deviation']:.3f}) of {found['texts']}{undecided}{about}{flat}"


def figures(manifest: Manifest) -> Mapping[str, float | None]:
    """The mean reward and its spread, under the name that the stage has in the flow."""
    found = manifest.metrics.get("rewards") or {}
    names = ("mean", "deviation", "correlation with length")
    return {f"{manifest.stage}/{name.replace(' ', '_')}": found.get(name) for name in names}


def check(recipe: Recipe, settings: Rank) -> Iterable[Mistake]:
    flow = flow_of(recipe)
    for at, step in enumerate(flow):
        own = own_settings(recipe, step)
        if own is not settings or step.stage.name != "rank":
            continue
        before = [one.stage.name for one in flow[:at]]
        where = ("stages", step.name, "reward")
        if settings.reward == "model" and settings.path is None and "reward" not in before:
            said = f"'{step.name}' asks a reward model, and no stage 'reward' stands before it; name one with 'path'"
            yield Mistake(where, said)
        if settings.reward == "constitution" and recipe.constitution is None:
            yield Mistake(where, "the reward 'constitution' needs a 'constitution', by path or by name")
        if settings.reward == "verdict" and "verify" not in before:
            yield Mistake(where, f"'{step.name}' goes by verdicts, and no stage 'verify' stands before it")


RANK = Stage(
    name="rank",
    version=1,
    settings=Rank,
    writes=Reward,
    reads=reads,
    needs=(Problem, Rationale),
    parts=lambda desk: chunks(desk.read(Rationale), desk.settings.part_size),
    run=rank,
    uses=(*SHOWN, "constitution"),
    depends=depends,
    say=say,
    figures=figures,
    check=check,
)
