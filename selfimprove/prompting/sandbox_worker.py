"""Renders templates within limits: run by its path as `python -P sandbox_worker.py SECONDS BYTES`.

A template is a program that came with a model or with data. Jinja's sandbox keeps it from the machine, and not from
loops without an end or texts without a bound: these the kernel ends. Only the standard library and jinja2 are imported.

One JSON object a line is answered by another: `chat`, a chat template, with the `values` that it renders and the time
`now`; or `templates`, those of a data set by name, with the `rows` that they render and a seed for each. What is longer
than `longest` characters is an error.
"""

import json
import math
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

BAR = "|||"  # between a prompt and its completion, and between options, as promptsource has it
HIDDEN = "\ufdd0"  # stands for BAR in the values of a row; no character of any text


class Generation(Extension):
    """The tag `generation` of transformers, which marks the model's turn: what stands in it is rendered."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class Clock:
    """The time that templates are told."""

    now = datetime(1970, 1, 1)

    def strftime(self, form: str) -> str:
        return self.now.strftime(form)


def make_chat_environment(clock: Clock) -> ImmutableSandboxedEnvironment:
    """An environment that renders as transformers does."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = clock.strftime
    return environment


def make_data_environment(*, strict: bool) -> ImmutableSandboxedEnvironment:
    """An environment that renders as promptsource does; with `strict` a name that nothing has is an error."""
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined if strict else jinja2.Undefined)
    environment.globals["zip"] = zip
    environment.filters["choice"] = _choose
    environment.filters["most_frequent"] = _most_frequent
    return environment


def _choose(values: Iterable[object]) -> Any:
    return random.choice(list(values))


def _most_frequent(values: Iterable[object]) -> list[object]:
    counts = Counter(values)
    most = max(counts.values(), default=0)
    return [value for value, count in counts.items() if count == most]


class TooLongError(Exception):
    """What a template wrote is longer than it may be."""


class Renderer:
    """What is asked, by the words that ask for it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._chat = make_chat_environment(self.clock)
        self._data = {strict: make_data_environment(strict=strict) for strict in (False, True)}
        self._compiled = lru_cache(maxsize=512)(jinja2.Environment.from_string)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if "chat" in asked:
            self.clock.now = datetime.fromisoformat(asked["now"])
            return {"text": self._render(self._chat, asked["chat"], asked["values"], asked["longest"])}
        environment = self._data[bool(asked["strict"])]
        if "rows" not in asked:
            return {
                "names": sorted(set().union(*(self._names(environment, one) for one in asked["templates"].values())))
            }
        rows = zip(asked["rows"], asked["seeds"], strict=True)
        return {"rows": [self._row(environment, asked, row, seed) for row, seed in rows]}

    def _names(self, environment: jinja2.Environment, source: str) -> set[str]:
        return set(find_undeclared_variables(environment.parse(source))) - {*environment.globals}

    def _row(
        self, environment: jinja2.Environment, asked: Mapping[str, Any], row: Mapping[str, Any], seed: int
    ) -> dict[str, Any]:
        """What each template makes of a row; the options come first, and the others know them as `answer_choices`."""
        random.seed(seed)
        values, made = _hide(row), dict[str, Any]()
        try:
            for name, source in asked["templates"].items():
                text = self._render(environment, source, values, asked["longest"])
                parts = [one.strip().replace(HIDDEN, BAR) for one in text.split(BAR)]
                made[name] = parts
                if name == "options":
                    values = {**values, "answer_choices": [one.replace(BAR, HIDDEN) for one in parts]}
        except MemoryError:
            raise
        except Exception as error:  # whatever a template's expressions raise
            return {"error": _describe(error)}
        return made

    def _render(self, environment: jinja2.Environment, source: str, values: Mapping[str, object], longest: int) -> str:
        text = self._compiled(environment, source).render(**values)
        if len(text) > longest:
            raise TooLongError(f"wrote {len(text)} characters")
        return text


def _hide(value: object) -> Any:
    """A row in which nothing reads as what separates a prompt from its completion."""
    if isinstance(value, str):
        return value.replace(BAR, HIDDEN)
    if isinstance(value, Mapping):
        return {key: _hide(inner) for key, inner in value.items()}
    return [_hide(inner) for inner in value] if isinstance(value, Sequence) else value


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, TooLongError) else f"{type(error).__name__}: {error}"[:500]


def main(seconds: float, size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    renderer = Renderer()
    for line in sys.stdin:
        asked = json.loads(line)
        # Past this much of its own time the kernel ends this process, whatever it does.
        limit = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            answer = renderer.answer(asked)
        except MemoryError:
            answer = {"error": f"needs more than {size >> 20} MB"}
        except Exception as error:  # whatever a template's expressions raise
            answer = {"error": _describe(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
