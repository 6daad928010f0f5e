"""Which charts a run has, and the figures that each draws; the same figures stand in tables below them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.errors import StoreError
from selfimprove.records import KL
from selfimprove.store import Manifest
from selfimprove.store.collapse import read_texts
from selfimprove.store.instructions import read_proposals
from selfimprove.store.made_from import read_flow, read_funnel, read_health
from selfimprove.viewer import charts
from selfimprove.viewer.controls import Control
from selfimprove.viewer.graphs import graph_chart
from selfimprove.viewer.library import Figures, Run
from selfimprove.viewer.steps import charts_figures, draw_steps, finite

MAX_STEPS = 60
MAX_LEVELS = 6  # whose lines can be told apart in one chart
Node = tuple[str, str]  # when, where that is not the round itself, and the stage


def charts_of(figures: Figures, funnel: list[Any], health: list[Any]) -> set[str]:
    """The charts that have something to show."""
    several, judged = len(figures.rounds) > 1, decided(funnel)
    levels = len({(one.task, one.level) for one in figures.by("task", "level")})
    there = {
        "accuracy": several,
        "levels": several and 1 < levels <= MAX_LEVELS,
        "families": len(figures.rounds) == 1 and len(figures.by("task", "level", "group")) > 1,
        "funnel": bool(judged),
        "health": sum(row["pass_1"] is not None for row in health if row["round"] in judged) > 1,
        "signs": max(len(health), len(funnel)) > 1,
        "instructions": bool(read_proposals(figures.manifests)),
        "mixture": bool(figures.portions),
        "variety": len(read_proposals(figures.manifests)) > 1 or len(read_texts(figures.manifests)) > 1,
    }
    return {name for name, some in there.items() if some}


def decided(funnel: Sequence[Mapping[str, Any]]) -> set[int]:
    """The rounds in which the answer of any text could be judged: open prompts have none."""
    return {row["round"] for row in funnel if row["sampled"] + row["again"] > row["unjudged"] + row["undecided"]}


@dataclass(frozen=True)
class Trained:
    """The loss of a stage that trained, or trains."""

    round: int
    stage: str
    curve: list[tuple[int, float]]
    """Step and loss, as far as they were logged."""
    steps: int | None
    rows: int | None = None
    tokens_per_second: float | None = None
    going_on: bool = False

    @property
    def name(self) -> str:
        return f"round {self.round}, so far" if self.going_on else f"round {self.round}"


def losses(figures: Figures) -> dict[str, list[Trained]]:
    """The stages that trained or train, by their name."""
    found: dict[str, list[Trained]] = {}
    for one in figures.manifests:
        if (curve := one.metrics.get("curve")) and not charts_figures(figures, one.stage, one.declared):
            points = [(at["step"], at["loss"]) for at in finite(curve) if at.get("loss") is not None]
            values: dict[str, Any] = {name: one.metrics.get(name) for name in ("steps", "rows", "tokens_per_second")}
            found.setdefault(one.stage, []).append(Trained(one.round, one.stage, points, **values))
    for (round_, stage), trains in figures.underway.items():
        if charts_figures(figures, stage):
            continue
        points = [(at.step, at.loss) for at in trains.curve if at.loss is not None]
        found.setdefault(stage, []).append(Trained(round_, stage, points, trains.steps, going_on=True))
    return found


def divergences(figures: Figures) -> dict[int, dict[str, Any]]:
    """By round: the KL divergence from the model before round 1, where it was measured."""
    return {one.round: finite(one.metrics[KL]) for one in figures.manifests if one.metrics.get(KL)}


def measured_pairs(figures: Figures) -> list[dict[str, Any]]:
    """What DPO did to the log-probabilities of its pairs, which were scored before and after it."""
    return [
        {"round": one.round, "pairs": one.metrics.get("pairs"), **finite(one.metrics["measured"])}
        for one in figures.manifests
        if one.metrics.get("measured")
    ]


def signs(
    health: Sequence[Mapping[str, Any]], funnel: Sequence[Mapping[str, Any]], kl: Mapping[int, Mapping[str, Any]]
) -> list[charts.Line]:
    """What shows early that a loop goes wrong, each over the rounds in which it is known."""
    shares = {
        "wrong step, % of right answers": [(one["round"], one["wrong_reason"], one["correct"]) for one in funnel],
        "rationalized, % of kept": [(one["round"], one["kept_rationalized"], one["kept"]) for one in funnel],
        "undecided, % of judged": [
            (one["round"], one["undecided"], one["sampled"] + one["again"] - one["unjudged"]) for one in funnel
        ],
    }
    rows: dict[str, list[tuple[int, float | None]]] = {
        "unique texts a problem": [(one["round"], one["different"]) for one in health],
        "tokens a text": [(one["round"], one["tokens"]) for one in health],
        "entropy, nats a token": [(one["round"], one["nats"]) for one in health],
        "KL from the base, nats a token": [(round_, one.get("nats a token")) for round_, one in sorted(kl.items())],
    }
    for name, counted in shares.items():
        rows[name] = [(round_, 100 * part / whole if whole else None) for round_, part, whole in counted]
    known = {name: [(at, value) for at, value in found if value is not None] for name, found in rows.items()}
    return [(name, [at for at, _ in found], [value for _, value in found]) for name, found in known.items() if found]


def proposed(figures: Figures) -> dict[str, list[tuple[str, int]]]:
    """What became of what the model proposed, and what that is about which was kept."""
    fate, about = Counter[str](), Counter[str]()
    for one in read_proposals(figures.manifests).values():
        fate.update(one.fate)
        about.update({f"{verb} {noun}": count for verb, noun, count in one.common})
    return {"what became of the proposals": fate.most_common(), "verb and noun of what was kept": about.most_common(20)}


def portioned(figures: Figures) -> list[tuple[str, float, float]]:
    """The data sets of the latest mixture, each with the share of rows that was asked for and that was drawn."""
    last = figures.portions[max(figures.portions)] if figures.portions else []
    sets = [one for one in last if one.by == "data set"]
    return [(one.name, one.asked, one.share) for one in sorted(sets, key=lambda one: (-one.asked, one.name))]


def variety(figures: Figures) -> list[charts.Line]:
    """How different the texts of the rounds are, each over the rounds in which it is known."""
    rows: dict[str, list[tuple[int, float]]] = {}
    for round_, one in read_texts(figures.manifests).items():
        found = {f"distinct-{size}": share for size, share in one.distinct.items()}
        found |= {f"unbiased pass@{k}, %": 100 * share for k, (share, _) in one.passes.items()}
        shares = {
            "different answers, % of samples": one.answers,
            "different forms of steps, % of samples": one.skeletons,
            "own text, % of what may be trained": one.own,
            "rows of the round before, %": one.again,
        }
        found |= {name: 100 * share for name, share in shares.items() if share is not None}
        found |= {f"length, {at}": value for at, value in zip(("10%", "median", "90%"), one.lengths, strict=False)}
        for name, value in found.items():
            rows.setdefault(name, []).append((round_, value))
    for round_, of in read_proposals(figures.manifests).items():
        told = {"instructions kept": of.kept, "their verbs with nouns": of.pairs, "their ROUGE-L": of.similarity}
        for name, value in {**told, "their new runs of words, %": 100 * of.new}.items():
            rows.setdefault(name, []).append((round_, value))
    several = {name: found for name, found in rows.items() if len(found) > 1}
    return [(name, [at for at, _ in found], [value for _, value in found]) for name, found in several.items()]


def draw(chart: str, run: Run, figures: Figures, graph: int, control: Control | None = None) -> str | bytes:
    """A chart as SVG; raises StoreError where there is none of that name."""
    if chart == "accuracy":
        lines = {"all held-out problems": [(one.round, one.accuracy, *one.interval) for one in figures.rounds]}
        if control:
            lines[f"run {control.name}"] = [(one.round, one.accuracy, *one.interval) for one in control.figures.rounds]
        for name, others in figures.others.items():
            lines[name] = [(one.round, one.accuracy, *one.interval) for one in others]
        tasks = figures.by("task")
        if len({one.task for one in tasks}) > 1:
            for one in tasks:
                lines.setdefault(one.task, []).append((one.round, one.accuracy, *one.interval))
        return charts.accuracy_chart(lines, "Held-out accuracy per round with Wilson 95% intervals")
    if chart == "levels":
        several = len({one.task for one in figures.by("task")}) > 1
        levels: dict[str, list[tuple[int, float, float, float]]] = {}
        for one in figures.by("task", "level"):
            name = f"{one.task} {one.level}" if several else f"level {one.level}"
            levels.setdefault(name, []).append((one.round, one.accuracy, *one.interval))
        return charts.accuracy_chart(levels, "Held-out accuracy per round and level")
    if chart == "families":
        return charts.bars_chart(family_bars(figures), "Held-out accuracy by family with Wilson 95% intervals")
    if chart == "funnel":
        rows = read_funnel(run.index)
        different = {row["round"]: row["different_valid"] for row in read_health(run.index)}
        names = {"sampled": "sampled", "correct": "correct", "steps valid": "steps_valid", "trained": "trained"}
        counts = {label: [row[name] for row in rows] for label, name in names.items()}
        unique = [different.get(row["round"], 0) for row in rows]
        counts = {**{k: v for k, v in counts.items() if k != "trained"}, "unique": unique, "trained": counts["trained"]}
        return charts.funnel_chart([row["round"] for row in rows], counts, "From sampled to trained")
    if chart == "health":
        rows = [row for row in read_health(run.index) if row["pass_1"] is not None]  # the others are not judged yet
        rounds = [row["round"] for row in rows]
        most = max((row["most"] for row in rows), default=1)
        shares = [("pass@1", rounds, [row["pass_1"] for row in rows])]
        if most > 1:
            shares.append((f"pass@{most}", rounds, [row["pass_k"] for row in rows]))
        return charts.lines_chart(
            shares, "pass@1 and pass@k of training problems", "round", "share of problems", shares=True
        )
    if chart == "signs":
        found = signs(read_health(run.index), read_funnel(run.index), divergences(figures))
        found = [one for one in found if len(one[1]) > 1] or found  # a line has two points
        return charts.panels_chart(found, "Signs of the loop's health over the rounds")
    for stage, trained in losses(figures).items():
        if chart == f"loss-{stage}":
            lines_ = [(one.name, [at for at, _ in one.curve], [loss for _, loss in one.curve]) for one in trained]
            return charts.lines_chart(
                lines_, f"Training loss of {stage}", "step", f"loss of {stage}", log=_wide(lines_)
            )
    if chart == "instructions":
        return charts.counts_chart(proposed(figures), "Instructions that the model proposed")
    if chart == "mixture":
        return charts.shares_chart(portioned(figures), "What was drawn of each data set")
    if chart == "variety":
        return charts.panels_chart(variety(figures), "How different the texts of the rounds are")
    if steps := draw_steps(figures, chart):
        return steps
    if chart == "stages":
        return stage_graph(stage_flow(run, figures, graph))
    raise StoreError("there is no such chart")


def family_bars(figures: Figures) -> list[tuple[str, float, float, float]]:
    """The families of the last round by task and level, each with its accuracy and interval."""
    found = [one for one in figures.by("task", "level", "group") if one.round == figures.rounds[-1].round]
    found.sort(key=lambda one: (one.task, one.level or 0, one.group))
    return [(name_family(one.task, one.level, one.group), one.accuracy, *one.interval) for one in found]


def name_family(task: str, level: int | None, group: str) -> str:
    """A family of problems in a few words."""
    return group or f"{task}, level {level}"


def _wide(lines: Sequence[charts.Line]) -> bool:
    """Whether values differ so much that only their logarithms can be seen beside each other."""
    values = [value for _, _, ys in lines for value in ys]
    return bool(values) and min(values) > 0 and max(values) > 20 * min(values)


def spark_of(figures: Figures) -> str | bytes:
    return charts.spark([one.accuracy for one in figures.rounds] or [0.0])


def stage_table(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """Each closed stage with its seconds and tokens."""
    return [
        {"round": one.round, "stage": one.stage, "wall": one.seconds.wall - one.seconds.imports,
         "model": one.seconds.model,
         "tokens": sum(one.tokens.values()), "counts": one.counts}
        for one in manifests
    ]  # fmt: skip


def stage_flow(run: Run, figures: Figures, round_: int) -> dict[str, Any]:
    """The stages of a round, and how many records each made from those of which other stage."""
    manifests = {one.stage: one for one in figures.manifests if one.round == round_}
    rows = run.keep(f"flow {round_}", lambda: read_flow(run.index, round_))
    totals: dict[tuple[Node, Node], int] = {}
    for row in rows:
        when = "" if row["parent_round"] == round_ else f"round {row['parent_round']}" if row["parent_round"] in (
            0, round_ - 1) else "earlier rounds"  # fmt: skip
        key = ((when, row["parent_stage"]), ("", row["stage"]))
        totals[key] = totals.get(key, 0) + row["records"]
    nodes = dict.fromkeys([*(("", stage) for stage in manifests), *(node for edge in totals for node in edge)])
    return {"round": round_, "nodes": list(nodes), "edges": totals, "manifests": manifests}


def stage_graph(flow: dict[str, Any]) -> str | bytes:
    """A round's stages as boxes with time and tokens; what comes from other rounds is drawn in another colour."""
    labels, colors = {}, {}
    for node in flow["nodes"]:
        when, stage = node
        manifest = None if when else flow["manifests"].get(stage)
        if when:
            labels[node], colors[node] = f"{stage}\n{when}", 5
        elif manifest is None:
            labels[node], colors[node] = f"{stage}\nnot closed", 1
        else:
            tokens = sum(manifest.tokens.values())
            labels[node] = f"{stage}\n{manifest.seconds.wall:.1f} s" + (f"\n{tokens:,} tokens" if tokens else "")
            colors[node] = 0
    edges = {edge: f"{count:,}" for edge, count in flow["edges"].items()}
    return graph_chart(labels, edges, f"Stages of round {flow['round']}", colors=colors)


def step_graph(view: dict[str, Any]) -> str | bytes:
    """The steps of a rationale and which takes whose result."""
    steps = (view["verdict"] or {}).get("steps") or []
    if not steps:
        raise StoreError("this trace has no steps that were checked")
    text = view["rationale"]["text"]
    outcomes = {"correct": 2, "incorrect": 4}
    labels = {at: f"{at + 1}: {text[step['start'] : step['end']][:40]}" for at, step in enumerate(steps[:MAX_STEPS])}
    edges = {(use, at): "" for at, step in enumerate(steps[:MAX_STEPS]) for use in step["uses"] or () if 0 <= use < at}
    colors = {at: outcomes.get(steps[at]["outcome"], 5) for at in labels}
    return graph_chart(labels, edges, "Which step takes whose result", colors=colors)
