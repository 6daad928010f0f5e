"""Long texts as one reads them: Markdown, formulas, the turns of a chat; and nothing that a model wrote as markup."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from builders import make_problem, make_rationale
from fastapi.testclient import TestClient
from hostile_run import HOSTILE
from test_viewer import check
from test_viewer_run import text_of
from viewing import BASE, judge, write_run, write_stage

from selfimprove.viewer.app import create_app
from selfimprove.viewer.reading import looks_written, prose, signs, turns
from selfimprove.viewer.text import line, word_diff
from selfimprove.viewer.tokens import weigh

CHAT = "<|im_start|>system\nBe **kind**.<|im_end|>\n<|im_start|>user\nHi <b><|im_end|>\n<|im_start|>assistant\n"
ANSWER = (
    "# Plan\n\n1. **First** $x^2$\n2. then\n\n| a | b |\n|--:|---|\n| 1 | 2 |\n\nIt costs $5 and $6. \\[\\frac{1}{2}\\]"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**a** *b*", "<p><strong>a</strong> <em>b</em></p>"),
        ("one\ntwo\n\nthree", "<p>one<br />\ntwo</p>\n<p>three</p>"),
        ("### x", '<p class="heading">x</p>'),
        ("`$a$ <b>`", "<code>$a$ &lt;b&gt;</code>"),
        ("```py\nx = 1\n```", '<pre class="model"><code>py\nx = 1\n</code></pre>'),
        ("it costs $5 and $6", "it costs $5 and $6"),
        ("$x_1$", '<math display="inline" title="x_1"><mrow><msub><mi>x</mi><mn>1</mn></msub></mrow></math>'),
        ("\\[\\frac{1}{2}\\]", "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>"),
        ("$\\frac{$", "<code>$\\frac{$</code>"),  # none that can be read
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("![x](http://evil.example/x.png)", "![x](http://evil.example/x.png)"),
        ("<http://evil.example>", "&lt;http://evil.example&gt;"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("$\\text{<script>alert(1)</script>}$", "<mtext>&lt;script&gt;alert(1)&lt;/script&gt;</mtext>"),
        ("$\\href{javascript:alert(1)}{x}$", "<mrow><mrow><mrow><mi>x</mi></mrow></mrow></mrow>"),
        ("$\\style{position:fixed}{x}$", "<mrow><mrow><mi>x</mi></mrow></mrow>"),
        ("&#x202e;", "\\u202e</span>"),
        ("\ue0000\ue001 $x$", "\\ue0000\\ue001 <math"),  # a text cannot name a formula by itself
        ("|a|\n|--:|\n|b|", "<td>b</td>"),
    ],
)
def test_markdown_and_formulas_are_shown_and_nothing_else(text: str, shown: str) -> None:
    found = str(prose(text))
    check(found)
    assert shown in found and "style=" not in found and "href" not in found.replace("\\href", "")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_tame(text: str) -> None:
    for whole in (
        text,
        f"${text}$",
        f"`{text}`",
        f"# {text}\n\n| {text} |\n|---|\n| {text} |",
        f"```{text}\n{text}\n```",
    ):
        check(str(prose(whole, [text[:20]])))
    check(str(signs(text)))


def test_a_text_of_any_form_takes_little_time() -> None:
    started = time.process_time()
    for piece in ("*a ", "_a_", "> ", "`", "- ", "[", "$a$", "\\(", "&", "|a", "~~a", "$$", "<|", "${{{{x", "\\"):
        prose(piece * 20_000)
        signs(piece * 5_000)
        turns(piece * 5_000)
    prose("|a|b|\n|-|-|\n" + "|c|d|\n" * 3000)
    assert time.process_time() - started < 20
    assert "10000 more characters" in prose("a" * 30_000)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (CHAT, [("system", "Be **kind**."), ("user", "Hi <b>"), ("assistant", "")]),
        ("<s>[INST] hi [/INST] yes </s>", [("user", "hi"), ("assistant", "yes")]),
        ("<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n", [("user", "hi"), ("assistant", "")]),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", [("user", "Hi")]),
        ("<|user|>\nhi</s>\n<|assistant|>\n", [("user", "hi"), ("assistant", "")]),
        ("Q: 1+2\nA:", []),
        ("", []),
    ],
)
def test_a_prompt_of_a_chat_is_its_turns(prompt: str, said: list[tuple[str, str]]) -> None:
    assert turns(prompt) == said


@pytest.mark.parametrize(("text", "whole"), [("a" * 160, True), ("a" * 161, False), ("abc\n" * 39, False)])
def test_a_line_says_where_it_is_cut(text: str, whole: bool) -> None:
    """Also where it is long only with its line ends shown."""
    assert ("…" not in str(line(text))) is whole


def test_a_word_diff_says_how_far_it_goes() -> None:
    before = " ".join(map(str, range(5000)))
    assert "compared as far as 20000 characters" in word_diff(before, before + " and more")
    assert "compared as far" not in word_diff("one two", "one three")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (ANSWER, True), ("a" * 500, True), ("# Steps\n1+2=3", True), ("1+2=3\n#3", False), ("1+2=3\n# 3", False),
        ("# 3", False), ("", False),
    ],
)  # fmt: skip
def test_prose_is_told_from_lines_of_steps(text: str, written: bool) -> None:
    assert looks_written(text) is written


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    runs = tmp_path_factory.mktemp("reading")
    folder = write_run(runs, (), rounds=0)
    (problem,) = problems = [make_problem("How?", "3")]
    texts = [ANSWER, "short\n#3", f"{ANSWER}\n\nAgain, **4**"]
    rationales = [make_rationale(problem, text, prompt=CHAT, round=1, sample=at, answer=str(at),
                                 parents=(problem.id, BASE.id)) for at, text in enumerate(texts)]  # fmt: skip
    write_stage(folder, 1, "frontier", "problem", problems)
    write_stage(folder, 1, "generate", "rationale", rationales)
    write_stage(folder, 1, "verify", "verdict", [judge(one, "incorrect", steps=()) for one in rationales])
    with TestClient(
        create_app(runs, cache=Path(f"{runs}-cache"), patience=60.0), base_url="http://127.0.0.1:8000"
    ) as one:
        yield one


def test_a_trace_is_read_as_prose_and_its_prompt_as_turns(client: TestClient) -> None:
    rows = client.get("/api/runs/made/traces?text=Plan").json()["traces"]
    page = client.get(f"/runs/made/traces/{rows[0]['id']}?text=first").text
    check(page)
    assert '<p class="heading">Plan</p>' in page and '<mark class="hit">First</mark>' in page
    assert '<details id="written">' in page  # the text as it was written is a click away
    assert '<div class="turn system">' in page and '<span class="sign">&lt;|im_start|&gt;</span>' in page
    assert "(here the model goes on)" in page


def test_all_samples_of_a_problem_stand_beside_each_other(client: TestClient) -> None:
    problem = client.get("/api/runs/made/traces").json()["traces"][0]["problem"]
    page = client.get(f"/runs/made/problems/{problem}?round=1").text
    links = check(page)
    assert "?round=1#beside" in links
    beside = page[page.index('id="beside"') : page.index("</section>", page.index('id="beside"'))]
    assert beside.count("<article>") == 3 and "Again, <strong>4</strong>" in beside and "sample 2" in text_of(beside)
    assert 'id="beside"' not in client.get(f"/runs/made/problems/{problem}?round=7").text
    assert client.get(f"/runs/made/problems/{problem}?round=x").status_code == 422


def test_a_text_is_shown_token_by_token_by_how_likely_each_was() -> None:
    record = {"text": "<b> é 7", "token_lengths": [3, 1, 0, 1, 2], "token_costs": [0, 5, 0, 70, 100_000]}
    found = weigh(record)
    assert found is not None and found.more == 0
    shown = re.findall(r'<span class="cost-(\d)" title="token (\d): ([^"]*)">([^<]*)</span>', str(found.text))
    assert shown == [
        ("0", "1", "100.0%", "&lt;b&gt;"), ("0", "2", "95.1%", " "), ("0", "3", "100.0%", ""),
        ("2", "4", "49.7%", "é"), ("4", "5", "less than 0.1%", " 7"),
    ]  # fmt: skip
    assert [(str(token), at) for token, _, at in found.least] == [(" 7", 5), ("é", 4)]


@pytest.mark.parametrize(
    ("lengths", "costs"),
    [([1, 1], [0, 0]), ([3], [0, 0]), ([], []), (None, [1]), ([3, None], [1, 2]), ([3], [None]), ([-3, 6], [1, 2])],
)
def test_numbers_that_are_not_this_texts_show_nothing(lengths: object, costs: object) -> None:
    assert weigh({"text": "abc", "token_lengths": lengths, "token_costs": costs}) is None
    assert weigh({"text": "abc"}) is None  # of an older version


def test_of_a_long_text_the_first_tokens_are_shown() -> None:
    found = weigh({"text": "x" * 5000, "token_lengths": [1] * 5000, "token_costs": [0] * 5000})
    assert weigh({"text": "x" * 300_000, "token_lengths": [300_000], "token_costs": [9]}).more == 1  # type: ignore[union-attr]
    assert found is not None and found.more == 1000 and str(found.text).count("<span") == 4000 and not found.least
