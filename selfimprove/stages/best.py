"""Keep the best texts of each problem by their rewards, or pair the best with the worst."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, own_settings, trains_full_prompt
from selfimprove.records import Decision, Example, Preference, Problem, Rationale, Record, Reward
from selfimprove.records.stats import best_of, best_of_kl
from selfimprove.settings import Settings
from selfimprove.stages.as_sampled import count_sampled, is_sample, prompt_of, tokens_of_pair
from selfimprove.stages.base import SHOWN, Ahead, Desk, Key, Round, Sizes, Stage
from selfimprove.stages.label import Worth, each_once, find_worth, rewards_by
from selfimprove.store import Manifest


class Best(Settings):
    """Of each problem's texts the best by their rewards: for SFT (best-of-n; with `above` rejection sampling, as RFT,
    Yuan et al., 2023), or the best over the worst for DPO (on-policy, as in self-rewarding, Yuan et al., 2024)."""

    by: str | None = None
    """The stage `rank` whose rewards count, by its name in the flow; by default the last one before this stage."""
    into: Literal["sft", "dpo"] = "sft"
    """sft: examples of the best texts; dpo: one pair a problem, the best over the worst."""
    keep: PositiveInt = 1
    """For sft: at most n texts of a problem."""
    above: float | None = None
    """Turn away texts with a lower reward than this; by default none."""
    gap: NonNegativeFloat = 0.0
    """For dpo: the rewards of a pair differ by more than this."""
    gold: str | None = None
    """A second stage `rank` by its name in the flow: what it gives the texts that `by` chooses is measured, and changes
    nothing (Gao et al., 2022)."""


def choose(_: Sequence[object], desk: Desk[Best]) -> Iterator[Record]:
    """A decision on each text, and the examples or pairs of what is kept."""
    gold = {one.rationale: one.value for one in desk.read(Reward) if one.by == desk.settings.gold}
    rewards = [one for one in desk.read(Reward) if one.by != desk.settings.gold]
    problems, texts = desk.by_id(Problem), desk.read(Rationale)
    worth = find_worth(texts, rewards)
    desk.note("best of n", measure_best(worth, gold))
    once = {name: each_once(mine) for name, mine in worth.items()}
    of_text, fit = {one.rationale: one for one in rewards}, {one.id for mine in once.values() for one, _ in mine}
    for one in texts:
        if one.id not in fit:
            reward = of_text.get(one.id)
            parents = (one.id, reward.id) if reward else (one.id,)
            yield Decision(parents=parents, kept=False, reason=why_not(one, reward))
    for name, mine in once.items():
        order = sorted(mine, key=lambda each: -worth_of(each))  # stable: of equal ones the first sample
        yield from (
            keep_best(order, problems[name], desk)
            if desk.settings.into == "sft"
            else pair_best(order, problems[name], desk)
        )


def worth_of(one: Worth) -> float:
    return float(one[1].value or 0.0)


def why_not(text: Rationale, reward: Reward | None) -> str:
    """Why a text takes no part."""
    if reward is None or reward.value is None:
        return "no reward: undecided"
    if text.finish != "stop":
        return "cut off at the longest length"
    if not text.text.strip():
        return "says nothing"
    return "written with a hint, or from another text" if not is_sample(text) else "the same text as another sample"


def keep_best(order: Sequence[Worth], problem: Problem, desk: Desk[Best]) -> Iterator[Record]:
    """The best texts of a problem as examples."""
    settings = desk.settings
    for place, (text, reward) in enumerate(order, 1):
        hint = desk.prompts.finds_hint(problem, text.text)
        low = settings.above is not None and worth_of((text, reward)) < settings.above
        kept = place <= settings.keep and not low and not hint
        why = f"; lower than {settings.above:g}" if low else f"; hint text: {hint[:60]!r}" if hint else ""
        yield Decision(parents=(text.id, reward.id), kept=kept, reason=describe_place(place, order, reward) + why)
        if kept:
            yield Example(
                parents=(text.id, reward.id),
                prompt=prompt_of(text, problem, desk.prompts, desk.trains_full_prompt),
                completion=text.text,
                origin=text.origin,
                group=problem.group,
                token_ids=text.token_ids,
                sampled_tokens=count_sampled(text, desk.prompts.stop),
            )


def describe_place(place: int, order: Sequence[Worth], reward: Reward) -> str:
    return f"place {place} of {len(order)}, reward {reward.value:.3f}"


def pair_best(order: Sequence[Worth], problem: Problem, desk: Desk[Best]) -> Iterator[Record]:
    """The best text of a problem over the worst one."""
    settings, first, last = desk.settings, order[0], order[-1]
    apart = worth_of(first) - worth_of(last)
    low = settings.above is not None and worth_of(first) < settings.above
    paired = apart > settings.gap and not low and not desk.prompts.finds_hint(problem, first[0].text)
    for place, one in enumerate(order, 1):
        kept = paired and one in (first, last)
        side = " (chosen)" if one is first else " (rejected)"
        said = describe_place(place, order, one[1]) + (side if kept else "")
        yield Decision(parents=(one[0].id, one[1].id), kept=kept, reason=said)
    if paired:
        yield Preference(
            parents=(first[0].id, last[0].id, first[1].id, last[1].id),
            prompt=prompt_of(first[0], problem, desk.prompts, desk.trains_full_prompt),
            chosen=first[0].text,
            rejected=last[0].text,
            margin=1.0,
            source="best",
            group=problem.group,
            **tokens_of_pair(first[0], last[0], desk.prompts.stop),
        )


def measure_best(
    worth: Mapping[str, Sequence[Worth]], gold: Mapping[str, float | None]
) -> list[dict[str, float | None]]:
    """For n of 1, 2, 4, …: the reward of the best of n, and what the gold reward gives it, each with its standard error
    over the problems; without bias (`best_of`), over problems with at least n texts."""
    rows: list[dict[str, float | None]] = []
    most, n = max((len(mine) for mine in worth.values()), default=0), 1
    while n <= most:
        enough = [mine for mine in worth.values() if len(mine) >= n]
        values = [[worth_of(one) for one in mine] for mine in enough]
        row: dict[str, float | None] = {"n": n, "problems": len(enough), "KL at most": best_of_kl(n)}
        row |= _mean("reward", [best_of(mine, mine, n) for mine in values])
        true = [[gold.get(one.id) for one, _ in mine] for mine in enough]
        known = [(mine, [one for one in each if one is not None]) for mine, each in zip(values, true, strict=True)]
        row |= _mean("gold", [best_of(mine, each, n) for mine, each in known if len(each) == len(mine)])
        rows.append(row)
        n *= 2
    return rows


def _mean(name: str, values: Sequence[float]) -> dict[str, float | None]:
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return {name: fmean(values), f"{name} error": error} if values else {}


def reads(round_: Round[Best]) -> list[Key]:
    settings = round_.settings
    by = rewards_by(round_, settings.by, but=settings.gold)
    gold = rewards_by(round_, settings.gold) if settings.gold else []
    return [*dict.fromkeys([*round_.every(Problem, Rationale), *gold, *by])]


def depends(round_: Round[Best]) -> dict[str, object]:
    return {**round_.own, "shown": trains_full_prompt(round_.recipe), **round_.shared(*SHOWN)}


def say(desk: Desk[Best]) -> str:
    """What was kept, and what the best of n is worth."""
    rows: list[dict[str, float]] = (desk.manifest.metrics.get("best of n") if desk.manifest else None) or []
    settings = desk.settings
    kept = len(desk.written(Example)) if settings.into == "sft" else len(desk.written(Preference))
    what = "examples" if settings.into == "sft" else "pairs"
    if not rows:
        return f"{kept} {what}: no text has a reward"
    first, last = rows[0], rows[-1]
    gold = f", gold {first['gold']:.2f} to {last['gold']:.2f}" if "gold" in first and "gold" in last else ""
    return f"{kept} {what}; reward {first['reward']:.2f}, of the best of {last['n']} {last['reward']:.2f}{gold}"


def figures(manifest: Manifest) -> Mapping[str, float | None]:
    """Reward and gold of one text, and of the best of all."""
    rows = manifest.metrics.get("best of n") or []
    ends = (("one", rows[0]), ("best", rows[-1])) if rows else ()
    names = ("reward", "gold")
    return {f"best/{name}_{moment}": row[name] for moment, row in ends for name in names if name in row}


def check(recipe: Recipe, settings: Best) -> Iterable[Mistake]:
    flow = flow_of(recipe)
    at = next((at for at, step in enumerate(flow) if own_settings(recipe, step) is settings), len(flow))
    there = [one.name for one in flow[:at] if one.stage.writes is Reward]
    for key in ("by", "gold"):
        name = getattr(settings, key)
        if name is not None and name not in there:
            said = f"no stage '{name}' that gives rewards stands before '{flow[at].name}'"
            yield Mistake(("stages", flow[at].name, key), said)
    needed = Example if settings.into == "sft" else Preference
    if not any(needed in one.stage.needs and one.stage.trains == "policy" for one in flow[at:]):
        said = f"'into: {settings.into}' needs the stage '{settings.into}' after it"
        yield Mistake(("stages", flow[at].name, "into"), said)


def sizes(ahead: Ahead[Best]) -> Sizes:
    kept = ahead.sizes.problems * ahead.settings.keep if ahead.settings.into == "sft" else 0
    return replace(ahead.sizes, kept=ahead.sizes.kept + kept)


BEST = Stage(
    name="best",
    version=1,
    settings=Best,
    writes=Decision,
    also=(Example, Preference),
    reads=reads,
    needs=(Problem, Rationale, Reward),
    run=choose,
    uses=SHOWN,
    depends=depends,
    open=True,
    say=say,
    sizes=sizes,
    figures=figures,
    check=check,
)
