"""Two rounds beside each other: where they differ by family and level, and then problem by problem with both texts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from selfimprove.records.stats import mcnemar
from selfimprove.store.made_from import Family, read_families, read_solved, read_texts
from selfimprove.viewer.about import differences
from selfimprove.viewer.controls import find_control
from selfimprove.viewer.forms import run_of
from selfimprove.viewer.library import Figures, Library, Run
from selfimprove.viewer.rendering import render

router = APIRouter(include_in_schema=False)
PAGE = 10  # problems on a page, each with two texts
MAX_MORE = 6
KINDS = {"differ": "one of them is right", "first": "only A is right", "second": "only B is right",
         "both": "both are right", "neither": "neither is right"}  # fmt: skip
UNKNOWN: Family = ("unknown", 0, "")
Name = Annotated[str, Field(max_length=300)]
Round = Annotated[str, Field(pattern=r"^(|\d{1,5}|last|best)$")]


class Compared(BaseModel):
    """What an address asks to be compared, and which of its problems."""

    model_config = ConfigDict(extra="ignore")
    a: Name = ""
    b: Name = ""
    first: Round = ""
    """A round, `last` or `best`; by default the last one, and of one run beside itself the first one."""
    second: Round = ""
    run: Annotated[list[Name], Field(max_length=MAX_MORE + 2)] = []
    """Runs that were chosen in the list: the first two, and further ones."""
    more: Annotated[list[Name], Field(max_length=MAX_MORE)] = []
    """Further runs, whose best and last accuracy stands in the table."""
    kind: Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")] = "differ"
    task: Name = ""
    level: Annotated[str, Field(pattern=r"^(-?\d{1,9})?$")] = ""
    group: Name = ""
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    def pairs(self, **changes: object) -> list[tuple[str, Any]]:
        """The address's parameters, some of them changed."""
        values = {**self.model_dump(exclude={"offset", "run"}), **changes}
        plain = Compared().model_dump()
        return [(name, one) for name, value in values.items() if value != plain[name]
                for one in (value if isinstance(value, list) else [value])]  # fmt: skip

    def holds(self, family: Family) -> bool:
        task, level, group = family
        return (self.task in ("", task)) and (self.level in ("", str(level))) and (self.group in ("", group))


@dataclass
class Count:
    """Problems that both decided, of a family or a level."""

    n: int = 0
    a: int = 0
    b: int = 0
    first: int = 0
    second: int = 0

    @property
    def differ(self) -> int:
        return self.first + self.second

    def add(self, kind: str) -> None:
        self.n += 1
        self.a += kind in ("first", "both")
        self.b += kind in ("second", "both")
        self.first += kind == "first"
        self.second += kind == "second"


@router.get("/compare")
def compare(request: Request, asked: Annotated[Compared, Query()]) -> HTMLResponse:
    library: Library = request.app.state.library
    evaluated = {name: sorted(library.figures(name).evaluations) for name in library.folders()}
    asked = _complete(library, asked)
    values: dict[str, Any] = {"view": None, "wrong": [], "sides": [], "differences": []}
    if asked.a and asked.b:
        runs = run_of(request, asked.a), run_of(request, asked.b)
        figures = library.figures(asked.a), library.figures(asked.b)
        rounds = [choose_round(one, text) for one, text in zip(figures, (asked.first, asked.second), strict=True)]
        values["sides"] = list(zip("AB", (asked.a, asked.b), rounds, map(_accuracy, figures, rounds), strict=True))
        values["differences"] = differences(figures[0].recipe, figures[1].recipe)
        values["wrong"] = [
            f"{name}: {f'round {text} was not evaluated' if text else 'nothing was evaluated yet'}"
            + (f"; rounds that were: {', '.join(map(str, evaluated[name]))}" if evaluated[name] else "")
            for name, text, round_ in zip((asked.a, asked.b), (asked.first, asked.second), rounds, strict=True)
            if round_ is None
        ]
        if rounds[0] is not None and rounds[1] is not None:
            values["view"] = compare_view(runs[0], rounds[0], runs[1], rounds[1], asked)
    others = [(name, library.figures(name)) for name in asked.more if name in evaluated]
    values |= {"choices": evaluated, "asked": asked, "kinds": KINDS, "others": others, "page": PAGE}
    shown = dict.fromkeys((asked.a, asked.b, *(name for name, _ in others)))
    values["trusted"] = [(name, library.figures(name)) for name in shown if name in evaluated]
    return render(request, "compare.html", title="Compare", run=asked.b or None, **values)


def _complete(library: Library, asked: Compared) -> Compared:
    """What is asked for, with the other side where only one is named: its control, or the run itself from its start."""
    if asked.run:
        first, second, *more = [*asked.run, ""]
        asked = asked.model_copy(update={"a": first, "b": second, "more": [*filter(None, more)], "run": []})
    if not asked.a or asked.b:
        apart = asked.first or asked.a != asked.b
        return asked if apart else asked.model_copy(update={"first": _start(library, asked)})
    control = find_control(library, asked.a)
    if control:
        return asked.model_copy(update={"a": control[0], "b": asked.a})
    return asked.model_copy(update={"b": asked.a, "first": asked.first or _start(library, asked)})


def _start(library: Library, asked: Compared) -> str:
    """The first round of a run that was evaluated."""
    return str(min(library.figures(asked.a).evaluations, default="")) if asked.a else ""


def choose_round(figures: Figures, asked: str) -> int | None:
    """The evaluated round that is asked for by number, as the best one, or as the last one; None where it is none."""
    if asked == "best" and figures.best:
        return figures.best.round
    known = sorted(figures.evaluations)
    if asked in ("", "last", "best"):
        return known[-1] if known else None
    return int(asked) if int(asked) in known else None


def _accuracy(figures: Figures, round_: int | None) -> object:
    return next((one for one in figures.rounds if one.round == round_), None)


def compare_view(one: Run, first: int, other: Run, second: int, asked: Compared) -> dict[str, object]:
    """The held-out problems that two rounds share: McNemar's exact test, counts by family and level, and a page."""
    a, b = read_solved(one.index, first), read_solved(other.index, second)
    shared = a.keys() & b.keys()
    families = read_families(one.index, (a[problem][0] for problem in shared))
    kinds = {problem: _kind(a[problem][1], b[problem][1]) for problem in shared}
    counts: dict[Family, Count] = {}
    levels: dict[tuple[str, int], Count] = {}
    for problem, kind in kinds.items():
        family = families.get(a[problem][0], UNKNOWN)
        counts.setdefault(family, Count()).add(kind)
        levels.setdefault(family[:2], Count()).add(kind)
    listed = [
        problem
        for problem, kind in kinds.items()
        if (kind == asked.kind or (asked.kind == "differ" and kind in ("first", "second")))
        and asked.holds(families.get(a[problem][0], UNKNOWN))
    ]
    order = {family: place for place, (family, _) in enumerate(_by_difference(counts))}
    listed.sort(key=lambda problem: (order[families.get(a[problem][0], UNKNOWN)], kinds[problem], problem))
    won, lost = (sum(kind == name for kind in kinds.values()) for name in ("second", "first"))
    shown = listed[asked.offset : asked.offset + PAGE]
    return {
        "shared": len(shared),
        "only": (len(a.keys() - b.keys()), len(b.keys() - a.keys())),
        "kinds": {name: sum(kind == name for kind in kinds.values()) for name in KINDS} | {"differ": won + lost},
        "p_value": mcnemar(lost, won),
        "families": _by_difference(counts),
        "levels": _by_difference(levels) if 1 < len(levels) < len(counts) else [],
        "count": len(listed),
        "problems": _problems(one, other, [(problem, a[problem][0], b[problem][0]) for problem in shown], kinds,
                              families),
    }  # fmt: skip


def _kind(a: bool, b: bool) -> str:
    return ("both" if b else "first") if a else ("second" if b else "neither")


def _by_difference(counts: Mapping[Any, Count]) -> list[tuple[Any, Count]]:
    """The largest difference first; those without one in their natural order."""
    return sorted(counts.items(), key=lambda each: (-abs(each[1].b - each[1].a), -each[1].n, each[0]))


def _problems(
    one: Run, other: Run, shown: Iterable[tuple[str, str, str]], kinds: Mapping[str, str],
    families: Mapping[str, Family],
) -> list[dict[str, Any]]:  # fmt: skip
    """Problems with the text of each side and the steps of its verdict."""
    shown = list(shown)
    sides = []
    for run, place in ((one, 1), (other, 2)):
        texts = read_texts(run.index, [row[place] for row in shown])
        for text in texts.values():
            verdict = text["verdict_id"] and run.records.read(text["verdict_id"], text["verdict_part"], "id, steps")
            text["steps"] = (verdict or {}).get("steps") or []
        sides.append(texts)
    return [
        {"problem": problem, "kind": kinds[problem], "family": families.get(trace, UNKNOWN),
         "a": sides[0].get(trace), "b": sides[1].get(later)}
        for problem, trace, later in shown
    ]  # fmt: skip
