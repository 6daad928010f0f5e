"""The graph of a run's stages: what each reads, and the fingerprint that says whether it must be done again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import networkx as nx

from selfimprove.recipe import Recipe
from selfimprove.records import digest
from selfimprove.settings import hashed_settings
from selfimprove.stages import (
    balance,
    compare,
    critique,
    evaluate,
    frontier,
    generate,
    prefer,
    promote,
    rationalize,
    repair,
    revise,
    select,
    teach,
    verify,
    vote,
)

Key = tuple[int, str]  # round, stage
Plan: TypeAlias = "nx.DiGraph[Key]"
VERSIONS = {
    "problems": 1,
    "base": 1,
    "warmup": 1,
    "frontier": frontier.VERSION,
    "generate": generate.VERSION,
    "verify": verify.VERSION,
    "repair": repair.VERSION,
    "rationalize": rationalize.VERSION,
    "revise": revise.VERSION,
    "select": select.VERSION,
    "sft": 1,
    "prefer": prefer.VERSION,
    "dpo": 1,
    "evaluate": evaluate.VERSION,
    "promote": promote.VERSION,
}
ORDER = tuple(VERSIONS)
MAIN = {
    "problems": "problem",
    "base": "checkpoint",
    "warmup": "checkpoint",
    "frontier": "problem",
    "generate": "rationale",
    "verify": "verdict",
    "repair": "rationale",
    "rationalize": "rationale",
    "revise": "revision",
    "select": "decision",
    "sft": "checkpoint",
    "prefer": "preference",
    "dpo": "checkpoint",
    "evaluate": "rationale",
    "promote": "promotion",
}


@dataclass(frozen=True)
class PlannedStage:
    """One stage of one round; `main` is the kind of record whose file finishes a part."""

    round: int
    name: str
    reads: tuple[Key, ...]
    settings: Mapping[str, Any] = field(compare=False)
    fingerprint: str = ""

    @property
    def key(self) -> Key:
        return self.round, self.name

    @property
    def version(self) -> int:
        return VERSIONS[self.name]

    @property
    def main(self) -> str:
        return MAIN[self.name]

    def __str__(self) -> str:
        return f"round-{self.round:02d}/{self.name}"


def start_stage(recipe: Recipe) -> str:
    """The stage of round 0 that gives the first checkpoint."""
    return "warmup" if recipe.stages.warmup else "base"


def last_training(recipe: Recipe) -> str:
    """The last stage that trains in a round, which gives the round's checkpoint."""
    return "dpo" if recipe.stages.dpo else "sft"


def rationalizes(recipe: Recipe) -> bool:
    return bool(recipe.stages.rationalize and recipe.stages.rationalize.enabled)


def retries(recipe: Recipe) -> list[str]:
    """The stages that write for problems on which all samples failed, as far as the recipe has them."""
    return [*(["repair"] if recipe.stages.repair else []), *(["rationalize"] if rationalizes(recipe) else [])]


def rewrites(recipe: Recipe) -> list[str]:
    """All stages after `generate` that write rationales for training problems, as far as the recipe has them."""
    return [*retries(recipe), *(["revise"] if recipe.stages.revise else [])]


def _reads(recipe: Recipe, round_: int) -> dict[str, list[Key]]:
    """What each stage of a round reads; a stage that is not named does not run in that round."""
    start = (0, start_stage(recipe))
    if round_ == 0:
        return {"problems": [], start_stage(recipe): [(0, "problems")], "evaluate": [(0, "problems"), start]}
    before = round_ - 1
    incumbent = (before, "promote") if before else start
    drawn = (round_, "frontier")
    samples = [drawn, (round_, "generate"), (round_, "verify")]
    again = [(round_, name) for name in retries(recipe)]
    first = 1 if recipe.stages.select.pool == "cumulative" else round_
    seeds = [start] if recipe.stages.warmup else []
    last_samples = [(before, name) for name in ("frontier", "generate", "verify")] if before else []
    stages: dict[str, list[Key]] = {
        "frontier": [(0, "problems"), *last_samples],
        "generate": [drawn, incumbent],
        "verify": [drawn, (round_, "generate")],
    }
    for _, name in again:
        stages[name] = [*samples, incumbent]
    if recipe.stages.revise:
        before_it = range(1, round_) if recipe.stages.revise.earlier else ()
        earlier = [(one, name) for one in before_it for name in ("frontier", "generate", "verify")]
        stages["revise"] = [*samples, incumbent, *earlier]
        again.append((round_, "revise"))
    stages["select"] = [*samples, *again, *((one, "select") for one in range(first, round_)), *seeds]
    if recipe.stages.sft:
        stages["sft"] = [start, incumbent, *samples, *((one, "select") for one in range(first, round_ + 1))]
    trained = (round_, last_training(recipe))
    if recipe.stages.prefer:
        stages["prefer"] = [*samples, *again, *([start] if recipe.stages.prefer.feedback else [])]
    if recipe.stages.dpo:
        stages["dpo"] = [start, (round_, "sft") if recipe.stages.sft else incumbent, (round_, "prefer")]
    stages["evaluate"] = [(0, "problems"), trained]
    stages["promote"] = [incumbent, trained, *((one, "evaluate") for one in range(round_ + 1))]
    return stages


def _settings(recipe: Recipe, data: str, constitution: str) -> dict[str, dict[str, Any]]:
    """The settings that each stage's records depend on; `data` is the hash of all problems and exemplars."""
    stages = recipe.stages
    own = {name: hashed_settings(one) for name, one in stages if one is not None}
    shown = {
        "answer": stages.verify.answer,
        "prompt": hashed_settings(recipe.prompt),
        "open prompt": recipe.open_prompt and hashed_settings(recipe.open_prompt),
        "model": hashed_settings(recipe.model),
    }
    by_constitution = {
        "constitution": constitution,
        "critique": own.get("critique"),
        "revise": own.get("revise"),
        "versions": [critique.VERSION, revise.VERSION],
    }
    lessons = stages.revise is not None and stages.revise.lessons
    feedback = stages.prefer.feedback if stages.prefer else None
    return {
        "problems": {
            "data": data,
            **{name: own["evaluate"][name] for name in ("limit", "training") if name in own["evaluate"]},
        },
        "base": shown,
        "warmup": {
            **own.get("warmup", {}),
            **shown,
            "constitution": constitution if stages.warmup and stages.warmup.critiques else "",
        },
        "frontier": {
            **own["frontier"],
            "require": stages.select.require,
            **({"vote": own["select"]["vote"]} if stages.select.vote else {}),
            "open": recipe.open and hashed_settings(recipe.open),
        },
        "generate": {**own["generate"], **shown},
        "verify": {**own["verify"], **({"version of vote": vote.VERSION} if stages.select.vote else {})},
        "repair": {**own.get("repair", {}), "sampling": hashed_settings(stages.generate), **shown},
        "rationalize": {**own.get("rationalize", {}), "sampling": hashed_settings(stages.generate), **shown},
        "revise": {**by_constitution, "sampling": hashed_settings(stages.generate), **shown},
        "select": {
            **own["select"],
            "shown": stages.shown,
            **shown,
            "revise": own.get("revise"),
            **({"version of teach": teach.VERSION} if lessons else {}),
        },
        "sft": {
            **own.get("sft", {}),
            "pool": own["select"]["pool"],
            "sources": own["select"]["sources"],
            "balance": own["select"]["balance"],
            "mastered_at": own["frontier"]["mastered_at"],
            "version of balance": balance.VERSION,
        },
        "prefer": {
            **own.get("prefer", {}),
            "require": (stages.prefer and stages.prefer.require) or stages.select.require,
            "shown": stages.shown,
            **shown,
            "constitution": constitution if feedback else "",
            **({"judge": recipe.judge.path, "version of compare": compare.VERSION} if feedback else {}),
        },
        "dpo": own.get("dpo", {}),
        "evaluate": {
            **own["evaluate"],
            "max_tokens": stages.evaluate.max_tokens or stages.generate.max_tokens,
            **shown,
            **(by_constitution if stages.evaluate.revise else {}),
            **({"version of vote": vote.VERSION} if stages.evaluate.samples > 1 else {}),
        },
        "promote": own["promote"],
    }


def build_plan(recipe: Recipe, data: str, constitution: str = "") -> "nx.DiGraph[Key]":
    """All stages of all rounds, each node with its PlannedStage; edges go from what is read to what reads it.

    `data` and `constitution` are hashes of what the recipe only names.
    """
    graph: nx.DiGraph[Key] = nx.DiGraph()
    settings = _settings(recipe, data, constitution)
    fingerprints: dict[Key, str] = {}
    for round_ in range(recipe.rounds + 1):
        for name, reads in _reads(recipe, round_).items():
            key = (round_, name)
            graph.add_node(key)
            graph.add_edges_from((read, key) for read in reads)
            parents = {f"{read[0]}/{read[1]}": fingerprints[read] for read in reads}
            fingerprints[key] = digest(name, VERSIONS[name], round_, recipe.seed, settings[name], parents)
            graph.nodes[key]["stage"] = PlannedStage(
                round_, name, tuple(dict.fromkeys(reads)), settings[name], fingerprints[key]
            )
    return graph


def in_order(graph: "nx.DiGraph[Key]") -> Iterator[PlannedStage]:
    """The stages so that each comes after all that it reads, round by round."""
    for key in nx.lexicographical_topological_sort(graph, key=lambda key: (key[0], ORDER.index(key[1]))):
        yield graph.nodes[key]["stage"]
