"""Renders a chat template within limits: run by its path as `python -P chat_worker.py SECONDS BYTES`.

A template is a program that came with a model. Jinja's sandbox keeps it from the machine, and not from loops without an
end or texts without a bound: these the kernel ends. Only the standard library and jinja2 are imported. One JSON object
a line: the template first, then what is rendered, as `ChatTemplate` sends it.
"""

import json
import math
import resource
import sys
import time
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


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


def make_environment(clock: Clock) -> ImmutableSandboxedEnvironment:
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


def main(seconds: float, size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    clock = Clock()
    template: jinja2.Template | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        # Past this much of its own time the kernel ends this process, whatever it does.
        limit = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            if template is None:
                template = make_environment(clock).from_string(asked["template"])
                answer = {"text": ""}
            else:
                clock.now = datetime.fromisoformat(asked["now"])
                answer = {"text": template.render(**asked["values"])}
            if len(answer["text"]) > asked["longest"]:
                answer = {"error": f"wrote {len(answer['text'])} characters"}
        except MemoryError:
            answer = {"error": f"needs more than {size >> 20} MB"}
        except Exception as error:  # whatever a template's expressions raise
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
