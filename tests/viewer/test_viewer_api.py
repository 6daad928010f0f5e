"""The JSON API and the downloads, asked for everything that their OpenAPI page allows and for much that it does not."""

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
web = pytest.importorskip("web", reason="httpx is not installed")

from hostile_run import write_hostile  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from viewing import serving  # noqa: E402

from selfimprove.viewer.app import create_app  # noqa: E402

OPERATIONS = sorted(create_app(Path("none")).app.openapi()["paths"])  # type: ignore[attr-defined]
# A 5xx is in no description; neither is a status, a type or a form of JSON that is not written there.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server over one run of hostile texts."""
    folder = tmp_path_factory.mktemp("runs")
    write_hostile(folder, "hostile")
    with serving(folder, tmp_path_factory.mktemp("cache")) as found:
        yield found


def known(address: str, path: str) -> dict[str, str]:
    """Parameters of a path that name something which is there."""
    if "{name}" not in path:
        return {}
    row = web.get(f"{address}/api/runs/hostile/traces?limit=1", timeout=60).json()["traces"][0]
    identity = {"identity": row["problem" if "/problems/" in path else "id"]} if "{identity}" in path else {}
    return {"name": "hostile", **identity}


def ask(address: str, path: str, examples: int) -> None:
    """Ask one operation for what its description allows, also of what is there, and for what it forbids."""
    operation = schemathesis.openapi.from_url(f"{address}/api/openapi.json")[path]["GET"]
    statuses: set[int] = set()
    for given_parameters in ({}, known(address, path)):
        for mode in schemathesis.GenerationMode:
            way = operation.as_strategy(mode, path_parameters=given_parameters)

            @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=way)
            def check(case: Any) -> None:
                answer = case.call(timeout=60)  # a busy machine takes more than the 10 seconds that it waits itself
                statuses.add(answer.status_code)
                case.validate_response(answer, checks=CHECKS)

            # Where nothing is forbidden, such as any name of a run, there is nothing to ask for.
            forbidden = mode is schemathesis.GenerationMode.NEGATIVE
            with suppress(Unsatisfiable) if forbidden else nullcontext():
                check()
    assert 200 in statuses, path


@pytest.mark.parametrize("path", OPERATIONS)
def test_every_answer_is_one_that_is_described(address: str, path: str) -> None:
    ask(address, path, 3)


@pytest.mark.long
@pytest.mark.parametrize("path", OPERATIONS)
def test_many_questions_bring_nothing_down(address: str, path: str) -> None:
    ask(address, path, 100)
