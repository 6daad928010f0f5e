"""Charts of what rounds and steps came to: lines, bars, panels and bands."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from selfimprove.viewer.canvas import (
    DASHES,
    FORM,
    INK,
    LOCK,
    SERIES,
    SETTINGS,
    draw_chart,
    finish,
    legend,
    say_cut,
    style_axes,
)
from selfimprove.viewer.text import plain

MAX_LINES = 24
MAX_BARS = 30
PANELS = 3  # small charts in a row
Line = tuple[str, Sequence[float], Sequence[float]]


def accuracy_chart(lines: Mapping[str, Sequence[tuple[int, float, float, float]]], title: str) -> str | bytes:
    """Accuracy per round as points with their intervals; a line for each name."""

    def draw(axes: Any) -> None:
        drawn = list(lines.items())[:MAX_LINES]
        for at, (name, points) in enumerate(drawn):
            rounds = [one[0] + (at - (len(drawn) - 1) / 2) * 0.03 for one in points]
            shares = [100 * one[1] for one in points]
            below = [100 * max(0.0, one[1] - one[2]) for one in points]
            above = [100 * max(0.0, one[3] - one[1]) for one in points]
            style = {"color": SERIES[at % 8], "linestyle": DASHES[at // 8], "label": plain(name, 30)}
            axes.errorbar(rounds, shares, (below, above), marker="o", markersize=5, linewidth=1.8, elinewidth=1.2,
                          capsize=3, **style)  # fmt: skip
        style_axes(axes, "round", "held-out accuracy, %")
        say_cut(axes, len(drawn), len(lines))
        axes.set_ylim(0, 103)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1:
            legend(axes)

    return draw_chart(title, FORM.get().width, 3.4, draw)


def lines_chart(
    lines: Sequence[Line], title: str, x: str, y: str, *, log: bool = False, shares: bool = False
) -> str | bytes:
    """Lines over a common axis, such as losses over steps; `shares` are shown from 0 on."""

    def draw(axes: Any) -> None:
        for at, (name, xs, ys) in enumerate(lines[-MAX_LINES:]):
            style = {"color": SERIES[at % 8], "linestyle": DASHES[at // 8], "label": plain(name, 30)}
            axes.plot(xs, ys, linewidth=1.6, marker="." if len(xs) < 40 else None, **style)
        style_axes(axes, x, y)
        say_cut(axes, len(lines[-MAX_LINES:]), len(lines))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if shares:
            axes.set_ylim(0, min(1.03, 1.12 * max((value for _, _, ys in lines for value in ys), default=1) or 1))
        if log:
            axes.set_yscale("log")
            # Whole words instead of powers in TeX, which is not parsed here.
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: "")
        if len(lines) > 1:
            legend(axes)

    return draw_chart(title, FORM.get().width, 3.2, draw)


def panels_chart(panels: Sequence[Line], title: str) -> str | bytes:
    """Small charts beside each other, each of one line over the rounds and with its own scale."""
    return _panels([(name, [(name, xs, ys)], at) for at, (name, xs, ys) in enumerate(panels)], title, "round")


def steps_chart(panels: Mapping[str, Sequence[Line]], title: str) -> str | bytes:
    """The same over steps, each with a line for each round; the rounds have the same colours in all of them."""
    return _panels([(name, lines[-MAX_LINES:], 0) for name, lines in panels.items()], title, "step")


def _panels(panels: Sequence[tuple[str, Sequence[Line], int]], title: str, x: str) -> str | bytes:
    """Small charts with their titles and lines, and the place of the first line's colour."""
    import matplotlib
    from matplotlib.figure import Figure

    beside = 2 if FORM.get().narrow else PANELS
    rows = max(1, -(-len(panels) // beside))
    with LOCK, matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(FORM.get().width, 2.0 * rows), layout="constrained")
        figure.patch.set_alpha(0)
        for at, (name, lines, color) in enumerate(panels):
            axes: Any = figure.add_subplot(rows, beside, at + 1)
            axes.patch.set_alpha(0)
            for number, (called, xs, ys) in enumerate(lines, color):
                marker = {"marker": "o", "markersize": 4} if len(xs) < 20 else {}
                style = {"color": SERIES[number % 8], "linestyle": DASHES[number // 8 % 3], "label": plain(called, 20)}
                axes.plot(xs, ys, linewidth=1.6, **marker, **style)
            if len(lines) > 1 and at == 0:
                axes.legend(fontsize=7.5)
            axes.set_title(fill(plain(name, 60), 28), fontsize=9.5)
            style_axes(axes, x if at + beside >= len(panels) else "", "")
            axes.tick_params(labelsize=8.5)
            axes.ticklabel_format(axis="y", useOffset=False)
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
            axes.yaxis.get_major_locator().set_params(nbins=5)
            values = [value for _, _, ys in lines for value in ys]
            if values and min(values) >= 0:
                axes.set_ylim(0, 1.12 * max(values) or 1)
        return finish(figure, title)


def rewards_chart(panels: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> str | bytes:
    """Rewards over √KL in panels below each other; lines of one group have one colour, a proxy's are dashed."""
    import matplotlib
    from matplotlib.figure import Figure

    order = list(dict.fromkeys(one["group"] for lines in panels.values() for one in lines))
    with LOCK, matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(FORM.get().width, 3.4 * max(1, len(panels))), layout="constrained")
        figure.patch.set_alpha(0)
        for at, (name, lines) in enumerate(panels.items(), 1):
            axes: Any = figure.add_subplot(len(panels), 1, at)
            axes.patch.set_alpha(0)
            axes.set_title(plain(name, 60), fontsize=10.5)
            labels: set[str] = set()
            for one in lines:
                label = "" if one["name"] in labels else plain(one["name"], 40)
                labels.add(one["name"])
                style = {"color": SERIES[order.index(one["group"]) % 8], "linestyle": "--" if one["dashed"] else "-"}
                axes.errorbar(one["xs"], one["ys"], one["errors"], **style, label=label or None, marker=".",
                              linewidth=1.3, elinewidth=0.9, capsize=2)  # fmt: skip
            style_axes(axes, "√KL, nats a text", "reward")
            legend(axes, alone=False)
        return finish(figure, title)


def bands_chart(groups: Sequence[tuple[str, Sequence[Sequence[tuple[int, float]]]]], title: str) -> str | bytes:
    """A line for each group of runs over the rounds: the mean, and a band from the lowest to the highest of them."""

    def draw(axes: Any) -> None:
        shown = [(name, [one for one in runs if len(one) > 1]) for name, runs in groups]
        found = [(name, runs) for name, runs in shown if runs]
        shown = found[:MAX_LINES]
        say_cut(axes, len(shown), len(found))
        for at, (name, runs) in enumerate(shown):
            by_round: dict[int, list[float]] = {}
            for round_, share in (point for one in runs for point in one):
                by_round.setdefault(round_, []).append(100 * share)
            rounds = sorted(by_round)
            means = [sum(by_round[one]) / len(by_round[one]) for one in rounds]
            fewest, most = (end(map(len, by_round.values())) for end in (min, max))  # some runs may have ended early
            several = f" (mean of {fewest} to {most} runs)" if fewest < most else f" (mean of {most} runs)"
            label = plain(name, 30) + (several if most > 1 else "")
            color = SERIES[at % 8]
            axes.plot(rounds, means, color=color, linestyle=DASHES[at // 8], linewidth=1.8, marker="o", markersize=4,
                      label=label)  # fmt: skip
            if len(runs) > 1:
                low, high = ([end(by_round[one]) for one in rounds] for end in (min, max))
                axes.fill_between(rounds, low, high, color=color, alpha=0.18, linewidth=0)
        style_axes(axes, "round", "held-out accuracy, %")
        axes.set_ylim(0, 103)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if shown:
            legend(axes)

    return draw_chart(title, FORM.get().width, 3.6, draw)


def bars_chart(every: Sequence[tuple[str, float, float, float]], title: str) -> str | bytes:
    """Accuracies beside each other as bars from the left, with their intervals; the first MAX_BARS of them."""
    bars = every[:MAX_BARS]

    def draw(axes: Any) -> None:
        say_cut(axes, len(bars), len(every))
        places = range(len(bars))
        shares = [100 * one[1] for one in bars]
        errors = [[100 * max(0.0, one[1] - one[2]) for one in bars], [100 * max(0.0, one[3] - one[1]) for one in bars]]
        axes.barh(places, shares, xerr=errors, height=0.65, color=SERIES[0], ecolor=INK, capsize=3)
        axes.set_yticks(places, [plain(one[0], 30) for one in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, 103)
        style_axes(axes, "held-out accuracy, %", "")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", linewidth=0.7)

    return draw_chart(title, FORM.get().width, 1.2 + 0.3 * len(bars), draw)


def funnel_chart(rounds: Sequence[int], counts: Mapping[str, Sequence[int]], title: str) -> str | bytes:
    """Bars beside each other for each round: how many rationales came how far."""

    def draw(axes: Any) -> None:
        width = 0.8 / max(1, len(counts))
        for at, (name, values) in enumerate(counts.items()):
            places = [round_ + (at - (len(counts) - 1) / 2) * width for round_ in rounds]
            axes.bar(places, values, width=width * 0.92, color=SERIES[at % len(SERIES)], label=plain(name, 30))
        style_axes(axes, "round", "rationales")
        if len(rounds) <= 20:
            axes.set_xticks(list(rounds))
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        legend(axes)

    return draw_chart(title, FORM.get().width, 3.2, draw)


def counts_chart(panels: Mapping[str, Sequence[tuple[str, int]]], title: str) -> str | bytes:
    """Counts as bars from the left, below each other: for each panel the first MAX_BARS of its names."""
    some = {name: bars[:MAX_BARS] for name, bars in panels.items()}

    def draw(axes: Any) -> None:
        names = [(name, one) for name, bars in some.items() for one in bars]
        series = list(some)
        colors = [SERIES[series.index(name) % len(SERIES)] for name, _ in names]
        axes.barh(range(len(names)), [count for _, (_, count) in names], height=0.65, color=colors)
        axes.set_yticks(range(len(names)), [plain(one, 40) for _, (one, _) in names])
        axes.invert_yaxis()
        for at, (_, (_, count)) in enumerate(names):
            axes.annotate(f"{count:,}", (count, at), (3, 0), textcoords="offset points", va="center", color=INK)
        for name in series:
            axes.barh([0], [0], color=SERIES[series.index(name) % len(SERIES)], label=plain(name, 60))
        style_axes(axes, "instructions", "")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", linewidth=0.7)
        legend(axes)

    return draw_chart(title, FORM.get().width, 1.6 + 0.25 * sum(map(len, some.values())), draw)


def shares_chart(every: Sequence[tuple[str, float, float]], title: str) -> str | bytes:
    """For each name the share that was asked for and the share there is, as bars from the left; the first MAX_BARS."""
    rows = every[:MAX_BARS]

    def draw(axes: Any) -> None:
        say_cut(axes, len(rows), len(every))
        for at, label in enumerate(("asked for", "drawn")):
            places = [place + 0.4 * (at - 0.5) for place in range(len(rows))]
            color = (SERIES[5], SERIES[0])[at]
            axes.barh(places, [100 * row[at + 1] for row in rows], height=0.36, color=color, label=label)
        axes.set_yticks(range(len(rows)), [plain(name, 30) for name, _, _ in rows])
        axes.invert_yaxis()
        style_axes(axes, "share of rows, %", "")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", linewidth=0.7)
        legend(axes)

    return draw_chart(title, FORM.get().width, 1.4 + 0.35 * len(rows), draw)


def spark(values: Sequence[float]) -> str | bytes:
    """A small line without axes, from 0 to 1."""

    def draw(axes: Any) -> None:
        axes.plot(range(len(values)), values, color=SERIES[0], linewidth=1.8, clip_on=False)
        axes.plot([len(values) - 1], values[-1:], color=SERIES[0], marker="o", markersize=4, clip_on=False)
        axes.set_ylim(-0.12, 1.12)
        axes.set_xlim(-0.3, max(1, len(values) - 1) + 0.3)
        axes.axis("off")

    return draw_chart("accuracy over the rounds", 1.4, 0.36, draw)
