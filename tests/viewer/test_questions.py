"""Ten questions that people ask of runs, and the clicks that lead from the list of runs to the answer."""

import re
import shutil
from collections.abc import Iterator
from html import unescape

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from fastapi.testclient import TestClient
from places import REPOSITORY
from test_viewer_failures import COINCIDENCE, run  # noqa: F401 (a fixture)
from test_viewer_run import text_of
from viewing import write_run

from selfimprove.recipe.file import load_recipe
from selfimprove.store import RunFolder
from selfimprove.viewer.app import create_app

TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "100% of it_\n#3", "x 3\n#3")
GUIDE = REPOSITORY / "selfimprove" / "viewer" / "README.md"

# A question, the addresses of the links that are clicked one after the other, and what then stands there.
QUESTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "Did it get better, and by how much?": (("/runs/grown",), "4 problems won, 0 lost"),
    "Which problems were won?": (("/runs/grown", "first=0&second=4"), "only B is right 4"),
    "Why does this family not move?": (
        ("/runs/failing", "/failures", "failures?.*5%2B5"), f"{COINCIDENCE} 16 8 8",
    ),
    "What did its texts in round 2 look like?": (
        ("/runs/failing", "/failures", "traces.*round=2.*cause=likely"), f"turned away: {COINCIDENCE}",
    ),
    "Which right answers rest on a wrong step?": (
        ("/runs/grown", "round=1&stage=generate&outcome=correct&reasoning=incorrect"), "No trace",
    ),
    "What was trained in round 3?": (("/runs/grown", "round=3&trained=example"), "trained"),
    "Which trained texts came from a second try?": (
        ("/runs/grown", "round=1&trained=chosen"), "revised",
    ),
    "Where did this trained text come from?": (
        ("/runs/grown", "round=1&trained=example", "/traces/[0-9a-f]{20}"), "asked: 100% of it_",
    ),
    "In what do these two runs differ?": (
        ("/runs/grown", "/compare?a=grown", "b", "Show"), "generate.temperature 1.0 0.3",
    ),
    "With which model, seed and prompt was it made?": (("/runs/grown",), "seed 0"),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:  # noqa: F811
    runs = tmp_path_factory.mktemp("asked")
    write_run(runs, TEXTS, rounds=4, name="grown")
    shutil.copytree(run.path, runs / "failing")
    shutil.copytree(runs / "grown", runs / "warmer")
    changed = ["name=warmer", "rounds=4", "generate.temperature=0.3"]
    RunFolder(runs / "warmer").write_recipe(load_recipe("arithmetic", changed))
    with TestClient(create_app(runs, cache=runs / "cache", patience=60.0), base_url="http://127.0.0.1:8000") as one:
        yield one


def follow(client: TestClient, links: tuple[str, ...]) -> str:
    """Click from the list of runs through these links; gives the last page."""
    page = client.get("/").text
    for link in links:
        if link == "b":  # another run is chosen in the form, which "Show" sends
            assert re.search(r'<select[^>]* name="b".*?<option[^>]*value="warmer"', page, re.DOTALL)
            continue
        if link == "Show":
            page = client.get("/compare?a=grown&b=warmer").text
            continue
        found = [unescape(one) for one in re.findall(r'<a [^>]*href="([^"]+)"', page)]
        pattern = re.compile(link.replace("?", r"\?") + ("$" if link.startswith("/runs/") else ""))
        address = next((one for one in found if pattern.search(one)), None)
        assert address, f"no link to {link}: {sorted(set(found))}"
        page = client.get(address).text
    return page


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_in_a_few_clicks(client: TestClient, question: str) -> None:
    links, answer = QUESTIONS[question]
    assert answer in text_of(follow(client, links))


def test_the_guide_has_their_clicks() -> None:
    rows = re.findall(r"^\| (.+?\?) \| .+? \| (\d+) \|$", GUIDE.read_text(), re.MULTILINE)
    assert {question: int(clicks) for question, clicks in rows} == {
        question: len(links) for question, (links, _) in QUESTIONS.items()
    }
