"""The documents: up to date, linked, readable in a terminal and in the viewer."""

import re
from functools import cache

import make_docs
import pytest
from fastapi.testclient import TestClient
from places import REPOSITORY

from selfimprove.cli import main
from selfimprove.recipe import compose
from selfimprove.results.reference import settings_reference
from selfimprove.shipping.documents import MADE, TOPICS, anchor, resolve, strip_comments, topic_at
from selfimprove.shipping.shipped import find_shipped
from selfimprove.viewer.app import create_app
from selfimprove.viewer.documents import MARKDOWN, pictures, to_html

ROOT = REPOSITORY
PAGES = {str(path.relative_to(ROOT)): path for path in make_docs.documents()}


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "``", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@cache
def headings(text: str) -> list[str]:
    tokens = MARKDOWN.parse(text)
    return [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]


@pytest.mark.parametrize("page", PAGES)
def test_generated_parts_are_up_to_date(page: str) -> None:
    text = PAGES[page].read_text()
    assert make_docs.remake(text) == text, f"{page} is stale: run python tests/make_docs.py"


def test_a_stale_part_is_seen_and_a_measured_one_is_left_alone() -> None:
    stale = "a\n<!-- made by: python tests/make_docs.py benchmarks -->\nof another day\n<!-- end -->\nb"
    made = make_docs.remake(stale)
    assert "of another day" not in made and "view_store.py" in made and made.startswith("a\n") and made.endswith("\nb")
    measured = "<!-- made by: python tests/benchmarks/view.py -->\nmeasured\n<!-- end -->"
    assert make_docs.remake(measured) == measured


def test_parts_of_the_documents_are_generated() -> None:
    found = {match["command"] for path in PAGES.values() for match in MADE.finditer(path.read_text())}
    assert "selfimprove schema --markdown" in found
    assert {f"python tests/make_docs.py {part}" for part in make_docs.PARTS} <= found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(PAGES[page].read_text()))
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        file, _, fragment = link.partition("#")
        target = page if not file else resolve(link, page)
        assert target and (ROOT / target).exists(), link
        if fragment:
            text = ((ROOT / target / "README.md") if (ROOT / target).is_dir() else ROOT / target).read_text()
            assert fragment in map(anchor, headings(text)), link


def test_every_document_has_a_topic_and_every_topic_a_document() -> None:
    assert {one.path for one in TOPICS.values()} == set(PAGES)
    assert all(find_shipped(one.path).is_file() for one in TOPICS.values())


def test_every_setting_is_described_and_stands_in_the_reference() -> None:
    recipe = compose({})
    schema = recipe.model_json_schema()
    classes = {"Recipe": schema, **schema["$defs"]}
    undescribed = [
        f"{name}.{key}"
        for name, one in classes.items()
        for key, field in one.get("properties", {}).items()
        # A section that is never left out is described where its class is.
        if (not field.get("description") and not classes[field.get("$ref", name).rpartition("/")[2]].get("description"))
        or not field.keys() & {"description", "$ref"}
    ]
    assert undescribed == []
    reference = settings_reference(recipe)
    for name, one in classes.items():
        for key in one.get("properties", {}):
            assert f"| `{key}` |" in reference, f"{name}.{key}"
    assert "| `batch_size` | `64` | whole number, > 0 or `auto` | no | " in reference
    assert "| `samples` | `2` | whole number, > 0 | yes | " in reference
    assert "| `standard` | `null` | `lm-eval`, `lm-eval-cot` or `null` | if changed | " in reference


@pytest.mark.parametrize(
    ("link", "source", "path", "topic"),
    [
        ("policies/README.md", "README.md", "policies/README.md", "settings"),
        ("../../policies/constitutions", "tests/benchmarks/README.md", "policies/constitutions", "constitutions"),
        ("../README.md#tests", "selfimprove/viewer/README.md", "selfimprove/README.md", "guide"),
        ("run.png", "tests/screenshots/README.md", "tests/screenshots/run.png", None),
        ("../../../etc/passwd", "policies/README.md", None, None),
        ("/etc/passwd", "README.md", None, None),
    ],
)
def test_links_are_resolved_in_the_repository(link: str, source: str, path: str | None, topic: str | None) -> None:
    assert resolve(link, source) == path
    assert (topic_at(path) if path else None) == topic


def test_comments_are_left_out_but_not_in_code() -> None:
    text = "<!-- main -->\n```\n<!-- kept -->\n```\nend"
    assert strip_comments(text) == "```\n<!-- kept -->\n```\nend"


@pytest.mark.parametrize("topic", TOPICS)
def test_a_terminal_without_a_person_gets_plain_text(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["docs", topic])
    shown = capsys.readouterr().out
    assert not end.value.code and "\x1b" not in shown and "\n<!--" not in shown
    assert headings(TOPICS[topic].read())[0] in shown


def test_topics_are_listed_and_a_wrong_one_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["docs"])
    listed = capsys.readouterr().out
    assert all(f"{topic} " in listed and one.about in listed for topic, one in TOPICS.items())
    with pytest.raises(SystemExit) as end:
        main(["docs", "verifier"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("selfimprove: no document 'verifier'; did you mean 'verifiers'?")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("docs")
    app = create_app(folder, port=80, cache=folder / "cache")
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.mark.parametrize("topic", TOPICS)
def test_the_viewer_shows_each_document_with_its_links_and_pictures(client: TestClient, topic: str) -> None:
    answer = client.get(f"/docs/{topic}")
    assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
    html = answer.text
    assert " style=" not in html and "<!--" not in html.partition("<main")[2]
    for picture in re.findall(r'<img src="([^"]+)"', html):
        assert client.get(picture).headers["content-type"] in ("image/png", "image/svg+xml")
    for link in re.findall(r'href="(/docs/[^"]+)"', html):
        file, _, fragment = link.partition("#")
        there = client.get(file)
        assert there.status_code == 200 and (not fragment or f'id="{fragment}"' in there.text), link


def test_the_viewer_lists_the_documents_and_knows_no_others(client: TestClient) -> None:
    shown = client.get("/docs").text
    assert all(f'href="/docs/{topic}"' in shown for topic in TOPICS)
    for path in ("/docs/nothing", "/docs/pictures/pyproject.toml", "/docs/pictures/..%2f..%2fetc%2fpasswd",
                 "/docs/pictures/README.md"):  # fmt: skip
        assert client.get(path).status_code == 404, path
    assert {"tests/screenshots/trace.png", "selfimprove/viewer/static/loop.svg"} <= pictures()


def test_markup_in_a_document_is_text() -> None:
    assert "<script" not in MARKDOWN.render("a <script>alert(1)</script> <img src=x onerror=y>\n\n<b>c</b>")
    assert "href" not in MARKDOWN.render("[a](javascript:alert(1))")
    assert '<th class="num">' in to_html(TOPICS["results"])
