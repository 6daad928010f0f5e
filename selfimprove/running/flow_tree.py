"""The flow of a recipe as a tree for the terminal: which stage reads what, and what it writes."""

from rich.text import Text
from rich.tree import Tree

from selfimprove.running.plan import Plan, PlannedStage


def draw_flow(plan: Plan) -> Tree:
    """What runs before round 1, and one round in full; a later round shows what the first one cannot read yet."""
    rounds = max(number for number, _ in plan)
    tree = Tree(Text("flow", "bold"))
    _add_round(tree.add("round 0"), plan, 0)
    if rounds:
        shown = min(2, rounds)
        title = "round 1" if rounds == 1 else f"each of {rounds} rounds (here round {shown})"
        _add_round(tree.add(title), plan, shown)
    return tree


def _add_round(tree: Tree, plan: Plan, number: int) -> None:
    for stage in plan.values():
        if stage.round == number:
            tree.add(_line(stage))


def _line(stage: PlannedStage) -> Text:
    """What a stage writes and, below, what it reads: of its own round first, then of those before, latest first."""
    declared = stage.declared
    name = stage.name if stage.name == declared.name else f"{stage.name} ({declared.name})"
    writes = ", ".join(dict.fromkeys(kind.kind for kind in (declared.writes, *declared.also)))
    read: dict[int, list[str]] = {stage.round: []}
    for number, each in stage.reads:
        read.setdefault(number, []).append(each)
    shown = [
        f"{', '.join(names)}{'' if number == stage.round else f' of round {number}'}"
        for number, names in sorted(read.items(), reverse=True)
        if names
    ]
    below = f"\n← {'; '.join(shown)}" if shown else ""
    return Text.assemble((name, "bold"), f" writes {writes}{below}")
