"""What an address asks for, as filters; and filters as an address."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from selfimprove.store.index_tables import FACETS, MAX_VALUE
from selfimprove.store.search import MAX_PATTERN, SORTS, Filters
from selfimprove.viewer.library import Library, Run

PAGE = 50
MAX_OFFSET = 100_000_000
Value = Annotated[str, Field(max_length=MAX_VALUE)]
Values = Annotated[list[Value], Field(max_length=50)]


class Asked(BaseModel):
    """The filters of a list of traces, the same for pages, downloads and the JSON API."""

    model_config = ConfigDict(extra="ignore")
    round: Values = []
    stage: Values = []
    task: Values = []
    level: Values = []
    group: Values = []
    outcome: Values = []
    reasoning: Values = []
    origin: Values = []
    kept: Values = []
    trained: Values = []
    principle: Values = []
    disputed: Values = []
    finish: Values = []
    cause: Values = []
    """Why they were turned away, without the numbers in it."""
    note: Values = []
    """Marks of people: good, bad, unsure."""
    step: Value = ""
    """The form of the reason why the first wrong step is wrong, as the page of failures has it."""
    answer: Annotated[str, Field(max_length=400)] = ""
    like: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]*$")] = ""
    """A trace whose text they have but for numbers, spaces and capitals."""
    problem: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]*$")] = ""
    text: Annotated[str, Field(max_length=MAX_PATTERN)] = ""
    regex: bool = False
    sort: Annotated[str, Field(max_length=40)] = "order"
    whole: Annotated[str, Field(max_length=40)] = ""
    """The facet whose values are all listed."""
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = PAGE

    @property
    def filters(self) -> Filters:
        values = {name: tuple(getattr(self, name)) for name in FACETS if getattr(self, name)}
        return Filters(values, self.problem, self.text, self.regex, step=self.step, answer=self.answer, like=self.like)

    @property
    def order(self) -> str:
        return self.sort if self.sort in SORTS else "order"

    def pairs(self, **changes: object) -> list[tuple[str, Any]]:
        """The address's parameters, some of them changed; those at their defaults are left out."""
        values = {**self.model_dump(), **changes}
        if "offset" not in changes:
            values["offset"] = 0
        plain = Asked()
        pairs: list[tuple[str, Any]] = []
        for name, value in values.items():
            if value == getattr(plain, name):
                continue
            pairs += [(name, one) for one in value] if isinstance(value, list) else [(name, _word(value))]
        return pairs

    def toggled(self, name: str, value: object) -> list[tuple[str, Any]]:
        """The address with a facet's value chosen, or no more chosen."""
        chosen = list(getattr(self, name))
        plain = str(value)
        chosen = [one for one in chosen if one != plain] if plain in chosen else [*chosen, plain]
        return self.pairs(**{name: chosen})


def _word(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


class AskedTrace(Asked):
    """The filters of the list in which a trace is looked at, and its place there."""

    # A field of its own model: with FastAPI 0.136 a parameter beside a model of parameters is answered with 422.
    at: Annotated[int | None, Field(ge=0)] = None

    @property
    def listed(self) -> Asked:
        return Asked.model_validate(self.model_dump(exclude={"at"}))


Filtered = Annotated[Asked, Query()]
FilteredTrace = Annotated[AskedTrace, Query()]


def filters_of(run: Run, asked: Asked) -> Filters:
    """The filters that an address asks for; those by people's notes as the traces that carry them."""
    return replace(asked.filters, ids=run.notes.marked(tuple(asked.note))) if asked.note else asked.filters


def library_of(request: Request) -> Library:
    library: Library = request.app.state.library
    return library


def run_of(request: Request, name: str) -> Run:
    """The run that an address names, with its index brought up to date; raises StoreError where there is none."""
    run = library_of(request).run(name)
    run.refresh()
    request.state.indexing = run.indexing
    return run
