"""Compare texts of a problem by their rewards, as people with some noise would."""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from pydantic import NonNegativeFloat, PositiveInt

from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, own_settings, trains_by_margins, trains_full_prompt
from selfimprove.records import Preference, Problem, Rationale, Reward, derive_seed
from selfimprove.settings import Settings, added
from selfimprove.stages.as_sampled import is_sample, prompt_of, tokens_of_pair
from selfimprove.stages.base import SHOWN, Desk, Key, Round, Stage

Worth = tuple[Rationale, Reward]
SIGNED_VERSION = 2  # where a training goes by margins, and that of a text that was chosen by noise is below 0


class Label(Settings):
    """Make pairs by the rewards that a stage `rank` gave: the labeller of Gao et al. (2022, section 2), who is a rule
    or a larger reward model in place of people."""

    by: str | None = None
    """The stage `rank` whose rewards count, by its name in the flow; by default the last one before this stage."""
    per_problem: PositiveInt = 4
    """At most n pairs of a problem, chosen by a hash."""
    limit: PositiveInt | None = added(None)
    """At most n pairs of all problems, chosen by a hash: those of a lower limit are among those of a higher one."""
    noise: NonNegativeFloat = 1.0
    """The better text of two is chosen with the probability σ(difference of the rewards / noise), as Bradley and Terry
    have it; 0: always, and ties make no pair."""


def rewards_by(round_: Round[Settings], name: str | None, *, but: str | None = None) -> list[Key]:
    """The stage whose rewards count: the one of that name, or the last one."""
    found = [one for one in round_.every(Reward) if one[1] != but]
    return [one for one in found if one[1] == name] if name else found[-1:]


def find_worth(texts: Sequence[Rationale], rewards: Sequence[Reward]) -> dict[str, list[Worth]]:
    """By problem: the samples that ended by themselves and have a reward."""
    worth = {one.rationale: one for one in rewards if one.value is not None}
    found: dict[str, list[Worth]] = defaultdict(list)
    for one in texts:
        if one.id in worth and one.finish == "stop" and is_sample(one) and one.text.strip():
            found[one.problem].append((one, worth[one.id]))
    return found


def each_once(texts: Sequence[Worth]) -> list[Worth]:
    """Of equal texts the first."""
    found: dict[str, Worth] = {}
    for one in texts:
        found.setdefault(one[0].text, one)
    return list(found.values())


def label(_: Sequence[object], desk: Desk[Label]) -> list[Preference]:
    """The pairs, with the text of each that the labeller chose."""
    pairs, limit = list(pair_texts(desk)), desk.settings.limit
    if limit is None or len(pairs) <= limit:
        return pairs
    drawn = set(sorted((one.id for one in pairs), key=lambda one: derive_seed(desk.seed, "limit", one))[:limit])
    return [one for one in pairs if one.id in drawn]


def pair_texts(desk: Desk[Label]) -> Iterator[Preference]:
    """The pairs of each problem."""
    settings, problems = desk.settings, desk.by_id(Problem)
    for name, texts in find_worth(desk.read(Rationale), desk.read(Reward)).items():
        problem = problems[name]
        rng = random.Random(derive_seed(desk.seed, "label", desk.round, name))
        pairs = list(combinations(each_once(texts), 2))
        for first, second in rng.sample(pairs, min(settings.per_problem, len(pairs))):
            better = chance_of_better(float(first[1].value or 0.0) - float(second[1].value or 0.0), settings.noise)
            if better == 0.5 and not settings.noise:
                continue
            chosen, rejected, sure = (first, second, better) if rng.random() < better else (second, first, 1 - better)
            yield Preference(
                parents=(chosen[0].id, rejected[0].id, chosen[1].id, rejected[1].id),
                prompt=prompt_of(first[0], problem, desk.prompts, desk.trains_full_prompt),
                chosen=chosen[0].text,
                rejected=rejected[0].text,
                margin=margin_of(sure, signed=desk.trains_by_margins),
                source="label",
                group=problem.group,
                **tokens_of_pair(chosen[0], rejected[0], desk.prompts.stop),
            )


def chance_of_better(difference: float, noise: float) -> float:
    """The probability that the first of two texts is chosen."""
    if not noise:
        return 0.5 if difference == 0 else float(difference > 0)
    return 1 / (1 + math.exp(max(-700.0, min(700.0, -difference / noise))))


def margin_of(sure: float, *, signed: bool) -> float:
    """The margin of a pair whose text was chosen with a probability. With its sign it is 2p - 1, so that a soft label
    is right with p, whoever was chosen; without one noise that chose the worse text would be taken for certainty."""
    return 2 * sure - 1 if signed else abs(2 * sure - 1)


def reads(round_: Round[Label]) -> list[Key]:
    return [*dict.fromkeys([*round_.every(Problem, Rationale), *rewards_by(round_, round_.settings.by)])]


def depends(round_: Round[Label]) -> dict[str, object]:
    signed = {"version of margin": SIGNED_VERSION} if trains_by_margins(round_.recipe) and round_.settings.noise else {}
    return {**round_.own, "shown": trains_full_prompt(round_.recipe), **round_.shared(*SHOWN), **signed}


def say(desk: Desk[Label]) -> str:
    pairs = desk.written(Preference)
    shorter = sum(len(one.chosen) < len(one.rejected) for one in pairs)
    prompts = len({one.prompt for one in pairs})
    return f"{len(pairs)} pairs of {prompts} problems; in {shorter} the chosen text is the shorter one"


def check(recipe: Recipe, settings: Label) -> Iterable[Mistake]:
    flow = flow_of(recipe)
    at = next((at for at, step in enumerate(flow) if own_settings(recipe, step) is settings), len(flow))
    there = [one.name for one in flow[:at] if one.stage.writes is Reward]
    if settings.by is not None and settings.by not in there:
        said = f"no stage '{settings.by}' that gives rewards stands before '{flow[at].name}'"
        yield Mistake(("stages", flow[at].name, "by"), said)
    writers = [one for one in flow[:at] if one.stage.gives((Rationale,))]
    alone = len(writers) == 1 and not any(one.stage.name == "decide" for one in flow)
    if alone and getattr(own_settings(recipe, writers[0]), "samples", 2) < 2:
        name = writers[0].name
        said = f"'{name}.samples: 1' leaves '{flow[at].name}' no other text to compare one with; at least 2 are needed"
        yield Mistake(("stages", name, "samples"), said)


LABEL = Stage(
    name="label",
    version=1,
    settings=Label,
    writes=Preference,
    reads=reads,
    needs=(Problem, Rationale, Reward),
    run=label,
    uses=SHOWN,
    depends=depends,
    say=say,
    check=check,
)
