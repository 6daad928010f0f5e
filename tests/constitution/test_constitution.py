"""Constitutions: read, inherited, measured, compared, imported, and printed as people read them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from selfimprove.cli import main
from selfimprove.constitution import Constitution, Principle, load_constitution, write_constitution
from selfimprove.constitution.checks import comply
from selfimprove.constitution.imports import import_constitution
from selfimprove.constitution.model import LengthCheck, PatternCheck, Scope, VerifierCheck
from selfimprove.constitution.show import compare, word_diff
from selfimprove.errors import RecipeError
from selfimprove.recipe.policies import POLICIES
from selfimprove.records import Step, Verdict

SHIPPED = sorted((POLICIES / "constitutions").glob("*.yaml"))
BASE = """\
name: base
version: 4
preamble: Be good.
principles:
  - id: kind
    text: The response is friendly.
    weight: 2
  - id: brief
    text: The response is short.
    scope: {tasks: [gsm8k], tags: [open]}
    check: {name: length, at_most: 60}
exemplars:
  - {question: "Why?", response: Because., critique: It is rude., revision: There are two reasons.}
"""
CHILD = """\
name: child
extends: base.yaml
principles:
  - id: true
    text: The response is true.
  - id: brief
    check: {name: length, at_most: 30}
"""


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["constitution", *arguments])
    return int(str(ended.value.code or 0))


@pytest.fixture
def child(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    path = tmp_path / "child.yaml"
    path.write_text(CHILD.replace("id: true", "id: truthful"))
    return path


# --- what ships ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_has_neither_errors_nor_warnings(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--strict", str(path)) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\n")
    assert load_constitution(path.stem).name == path.stem


def test_the_principles_of_clear_mathematics_measure_what_they_say() -> None:
    checks = {one.id: one.check for one in load_constitution("clear-mathematics").principles}
    cases = [
        ("states-once", "3 + 4 = 7\n#### 7", "correct"),
        ("states-once", "3 + 4 = 7\n#### 7\n", "correct"),
        ("states-once", "#### 7\n3 + 4 = 7", "incorrect"),
        ("states-once", "#### 7\n#### 7", "incorrect"),
        ("states-once", "It is 7.", "incorrect"),
        ("one-a-line", "3 + 4 = 7\n7 + 1 = 8", "correct"),
        ("one-a-line", "3 + 4 = 7 + 1 = 8", "incorrect"),
        ("carries", "8+5+0=13\n4+2+1=07\n#73", "correct"),
        ("carries", "8+5=13\n4+2=7\n#73", "incorrect"),
        ("short", "word " * 121, "incorrect"),
    ]
    for name, text, outcome in cases:
        check = checks[name]
        assert check is not None
        assert comply(check, text, None)[0] == outcome, (name, text)


# --- extending another -----------------------------------------------------------------------------------------


def test_a_file_that_extends_another_says_only_what_differs(child: Path) -> None:
    found = load_constitution(child)
    assert (found.name, found.version, found.preamble) == ("child", 1, "Be good.")
    assert [one.id for one in found.principles] == ["kind", "brief", "truthful"]
    brief = found.principles[1]
    assert brief.text == "The response is short."
    assert brief.check == LengthCheck(at_most=30)
    assert brief.scope == Scope(tasks=("gsm8k",), tags=("open",))
    assert found.exemplars == load_constitution(child.parent / "base.yaml").exemplars


def test_what_is_removed_is_gone(child: Path) -> None:
    child.write_text(child.read_text() + "remove: [kind]\n")
    assert [one.id for one in load_constitution(child).principles] == ["brief", "truthful"]
    child.write_text(child.read_text().replace("[kind]", "[kinds]"))
    with pytest.raises(
        RecipeError, match=r"child.yaml:8: '.*base.yaml' has no principle 'kinds'; did you mean 'kind'\?"
    ):
        load_constitution(child)


def test_an_extended_file_alone_is_enough(child: Path) -> None:
    child.write_text("name: child\nextends: base.yaml\n")
    base = load_constitution(child.parent / "base.yaml")
    found = load_constitution(child)
    assert found.principles == base.principles
    assert found.hash != base.hash


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("base.yaml", "weight: 2", "weight: many", "base.yaml:7: 'principles.0.weight' should be a valid number"),
        ("base.yaml", "preamble: Be good.", "preamble: 5", "base.yaml:3: 'preamble' should be a valid string, not 5"),
        ("base.yaml", "response: Because.", "respons: a", "base.yaml:13: unknown key 'respons'"),
        ("child.yaml", "at_most: 30", "at_mst: 30", "child.yaml:7: unknown key 'at_mst'; did you mean 'at_most'?"),
        ("child.yaml", "id: brief", "id: brif", "child.yaml:6: '{base}' has no principle 'brif' to change"),
        ("child.yaml", "The response is true.", "''", "child.yaml:5: 'principles.2.text' should not be empty"),
        ("child.yaml", "base.yaml", "child.yaml", "child.yaml:2: constitutions extend each other in a circle"),
        (
            "child.yaml",
            "base.yaml",
            "[base.yaml]",
            "child.yaml:2: 'extends' names one constitution, by path or by name",
        ),
        ("child.yaml", "extends: base.yaml", "extends: bse", "child.yaml:2: no constitution 'bse'"),
        (
            "child.yaml",
            "id: truthful",
            "id: brief",
            "child.yaml:6: two principles have the id 'brief' (first in line 4)",
        ),
    ],
)
def test_a_mistake_is_reported_in_the_file_that_makes_it(
    child: Path, file: str, old: str, new: str, message: str
) -> None:
    path = child.parent / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecipeError) as failure:
        load_constitution(child)
    assert str(failure.value).startswith(f"{child.parent}/{message.format(base=child.parent / 'base.yaml')}")


def test_a_written_constitution_is_read_back(child: Path) -> None:
    found = load_constitution(child)
    for defaults in (True, False):
        copy = child.parent / "copy.yaml"
        copy.write_text(write_constitution(found, defaults=defaults))
        assert load_constitution(copy) == found
        assert load_constitution(copy).hash == found.hash


# --- drawing ---------------------------------------------------------------------------------------------------


def principle(**settings: Any) -> Principle:
    return Principle(**{"id": "a", "text": "Be kind.", **settings})


def test_principles_apply_where_their_scope_holds() -> None:
    found = Constitution(
        name="mine",
        principles=(
            principle(),
            principle(id="family", scope=Scope(tasks=("mmlu",))),
            principle(id="tagged", scope=Scope(tags=("open",))),
            principle(id="off", weight=0),
            principle(id="judge", uses=("preference",)),
        ),
    )
    assert [one.id for one in found.applying("critique", "mmlu/anatomy")] == ["a", "family"]
    assert [one.id for one in found.applying("critique", "gsm8k", ("open",))] == ["a", "tagged"]
    assert [one.id for one in found.applying("preference", "gsm8k")] == ["a", "judge"]
    assert found.share(found.principles[0], "preference") == 0.25
    assert found.share(found.principles[4], "critique") == 0


def test_requests_are_filled_once() -> None:
    found = Constitution(
        name="mine",
        critique="About {title}: {text} Or {nothing}",
        principles=(principle(title="K", text="Say {title}."),),
    )
    assert found.request(found.principles[0], "critique") == "About K: Say {title}. Or Nothing to improve."


# --- checks ----------------------------------------------------------------------------------------------------


def verdict(outcome: str, *steps: str, unknown: tuple[str, ...] = ()) -> Verdict:
    found = tuple(Step(start=0, end=1, outcome=one, reason=f"{one} step", unknown=unknown) for one in steps)
    return Verdict(outcome=outcome, reason="said", steps=found, verifier="math", version=1)


@pytest.mark.parametrize(
    ("require", "judged", "expected"),
    [
        ("answer", verdict("correct"), ("correct", "said")),
        ("answer", verdict("undecided", "incorrect"), ("undecided", "said")),
        ("steps", verdict("incorrect", "correct"), ("correct", "1 steps checked")),
        ("steps", verdict("correct", "correct", "incorrect"), ("incorrect", "incorrect step")),
        ("steps", verdict("correct"), ("undecided", "0 steps checked")),
        ("grounded", verdict("correct", "correct", unknown=("9",)), ("incorrect", "from nowhere: 9")),
        ("grounded", verdict("correct", "correct"), ("correct", "1 steps, every number is accounted for")),
        ("steps", None, ("undecided", "there is no verdict")),
    ],
)
def test_a_check_goes_by_the_verifier(require: Any, judged: Verdict | None, expected: tuple[str, str]) -> None:
    assert comply(VerifierCheck(require=require), "2 + 2 = 4", judged) == expected


@pytest.mark.parametrize(
    ("unit", "text", "reason"),
    [
        ("words", "a b c", "3 words, expected at most 2"),
        ("lines", "a\nb\n\nc", "4 lines, expected at most 2"),
        ("characters", "äöü", "3 characters, expected at most 2"),
    ],
)
def test_lengths_are_counted(unit: Any, text: str, reason: str) -> None:
    assert comply(LengthCheck(unit=unit, at_most=2), text, None) == ("incorrect", reason)
    assert comply(LengthCheck(unit=unit, at_least=3), text, None)[0] == "correct"


def test_a_pattern_that_backtracks_for_ever_is_undecided_in_time() -> None:
    start = time.process_time()
    outcome, reason = comply(PatternCheck(regex="^(?:a|aa)+$"), "a" * 60 + "b", None)
    assert outcome == "undecided"
    assert "took longer than 0.5 seconds" in reason
    assert time.process_time() - start < 5
    assert comply(PatternCheck(regex="a"), "a" * 50_001, None)[0] == "undecided"


# --- comparing -------------------------------------------------------------------------------------------------


def test_diff_speaks_of_principles(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child.write_text(
        child.read_text().replace("at_most: 30}", "at_most: 30}\n    weight: 3\n    text: The response is very short.")
        + "  - {id: friendly, text: The response is friendly., weight: 2}\nremove: [kind]\n"
    )
    assert run("diff", str(child.parent / "base.yaml"), str(child)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name: base → child",
        "version: 4 → 1",
        "'brief': text: The response is {+very+} short.",
        "'brief': weight 1 → 3 (drawn for a critique 33.3% → 50.0%, a preference 33.3% → 50.0% of the draws)",
        "'brief': check: at most 60 words → at most 30 words",
        "'truthful' is new, with the weight 1: The response is true.",
        "'kind' is called 'friendly' now",
    ]
    assert run("diff", str(child), str(child)) == 0
    assert capsys.readouterr().out == "they say the same\n"


def test_diff_sees_what_is_gone_moved_and_shown() -> None:
    old = Constitution(name="a", principles=(principle(), principle(id="b", text="Be brief.")))
    new = Constitution(
        name="a",
        nothing="Fine.",
        principles=(
            principle(id="b", text="Be brief.", uses=("critique",), scope=Scope(tags=("open",))),
            principle(title="T"),
        ),
    )
    assert list(compare(old, new)) == [
        "nothing: Nothing to improve. → Fine.",
        "'b': drawn for critique and preference → critique",
        "'b': applies to every prompt → prompts tagged open",
        "'a': title: none → T",
        "the order is b, a now",
    ]
    assert list(compare(new, Constitution(name="a", nothing="Fine.", principles=(new.principles[1],)))) == [
        "'b' is gone: Be brief."
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a b c", "a c", "a [-b-] c"),
        (
            "one two three four five six seven",
            "one two three four five six eight",
            "… three four five six [-seven-] {+eight+}",
        ),
        ("x one two three four five six", "y one two three four five six", "[-x-] {+y+} one two three four …"),
        ("a  b", "a b", "only spaces or line ends changed"),
    ],
)
def test_a_word_diff_shows_the_words_around(before: str, after: str, expected: str) -> None:
    assert word_diff(before, after) == expected


# --- showing ---------------------------------------------------------------------------------------------------


def test_show_says_what_the_model_is_asked(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", str(child)) == 0
    text = capsys.readouterr().out
    assert "brief\n  The response is short.\n  weight 1: 25.0% of the draws for a critique" in text
    assert "  applies to the tasks gsm8k and prompts tagged open\n  check: at most 30 words\n" in text
    assert run("show", str(child), "--principle", "kind") == 0
    text = capsys.readouterr().out
    assert "critique: Point out where the response goes against this principle: The response is friendly." in text
    assert "    revision: There are two reasons." in text
    assert "brief" not in text
    assert run("show", str(child), "--principle", "kid") == 2
    assert "no principle 'kid'; did you mean 'kind'?" in capsys.readouterr().err


def test_show_as_yaml_is_one_file_with_what_it_inherits(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", str(child), "--yaml") == 0
    flat = child.parent / "flat.yaml"
    flat.write_text(capsys.readouterr().out)
    assert "extends" not in flat.read_text()
    assert load_constitution(flat) == load_constitution(child)


def test_the_schema_knows_what_a_file_may_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"extends", "remove", "principles", "comparisons"} <= set(schema["properties"])
    assert schema["$defs"]["Principle"]["properties"]["text"]["description"] == "The principle, in plain words."


# --- importing -------------------------------------------------------------------------------------------------


def test_the_papers_prompts_are_imported_whole(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = data_folder / "cai" / "prompts"
    out = tmp_path / "paper.yaml"
    names = "CritiqueRevisionInstructions CritiqueRevisionFewShotPrompts RLMadisonInstructions RLMadisonFewShotPrompts"
    files = [str(prompts / f"{name}.json") for name in [*names.split(), "RLMadisonPrecogFewShotPrompts"]]
    assert run("import", *files, "--out", str(out)) == 0
    assert run("check", "--strict", str(out)) == 0
    found = load_constitution(out)
    data = json.loads((prompts / "CritiqueRevisionInstructions.json").read_text())
    assert found.name == "paper"
    assert len(found.applying("critique", "")) == len(found.applying("preference", "")) == 16
    for one in found.applying("critique", ""):
        assert f"\n\nCritiqueRequest: {found.request(one, 'critique')}\n\nCritique:" == data[one.id]["prompt"][0]
        assert f"\n\nRevisionRequest: {found.request(one, 'revision')}\n\nRevision:" == data[one.id]["edit_request"]
    shots = json.loads((prompts / "CritiqueRevisionFewShotPrompts.json").read_text())
    for exemplar, shot in zip(found.exemplars, shots, strict=True):
        pieces = [f"Human: {exemplar.question}\n\nAssistant: {exemplar.response}\n\nCritiqueRequest:"]
        pieces += [f"\n\nCritique: {exemplar.critique}\n\n", f"\n\nRevision: {exemplar.revision}"]
        assert all(piece in shot for piece in pieces)
    plain, reasoned = found.comparisons[:5], found.comparisons[5:]
    assert len(plain) == 5 and not any(one.reasoning for one in plain)
    assert len(reasoned) == 6 and all(one.reasoning for one in reasoned)
    assert [one.first for one in reasoned] == ["rejected", "rejected", "chosen", "rejected", "chosen", "rejected"]
    assert run("import", files[0], "--out", str(out)) == 2
    assert "already there, and is not written over" in capsys.readouterr().err


def test_the_public_recipes_format_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    turns = ["Hi", "Hello", "Why?", "No idea.", "Is it {rude}?", "A little.", "Say it better.", "Because of the rain."]
    chat = [{"role": "user" if at % 2 == 0 else "assistant", "content": turn} for at, turn in enumerate(turns)]
    entry = {"critic": "Is it {rude}?", "revision": "Say it {better}."}
    path.write_text(json.dumps({"constitutions": [entry], "system_chat": [chat]}))
    found, said = import_constitution([path], "theirs")
    assert said == [f"{path}: 1 principles, 1 exemplars"]
    (only,) = found.principles
    assert found.request(only, "critique") == "Is it {rude}?"
    assert found.request(only, "revision") == "Say it (better)."
    assert found.exemplars[0].question == "Hi\n\nAssistant: Hello\n\nHuman: Why?"
    assert found.exemplars[0].response == "No idea."
    assert found.exemplars[0].revision == "Because of the rain."


CRITICISED = "\n\nCritiqueRequest: b\n\nCritique: c\n\nRevisionRequest: d\n\nRevision: e"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("7", "not a format that is known here"),
        ("[]", "not a format that is known here"),
        ('{"a": {"prompt": [], "edit_request": "b"}}', "'a' needs a list of texts 'prompt' and a text 'edit_request'"),
        ('{"a": {"prompt": [7], "edit_request": "b"}}', "'a' needs a list of texts 'prompt' and a text 'edit_request'"),
        ('{"constitutions": [{"critic": "a"}]}', "principle 1 needs the texts 'critic' and 'revision'"),
        ('{"constitutions": [7]}', "principle 1 needs the texts 'critic' and 'revision'"),
        ('{"constitutions": [{"critic": "a", "revision": "b"}], "system_chat": [["a"]]}', "chat 1: expected the six"),
        ('{"constitutions": [{"critic": "a", "revision": "b"}], "system_chat": 5}', "'system_chat' is a list of chats"),
        (json.dumps([f"\n\nHuman: \n\nAssistant: a{CRITICISED}"]), "'question' should not be empty, in what would be"),
        ('[{"prompt": "Human:", "corrects": ["a"], "incorrects": ["b"]}]', "'question' should not be empty, in what"),
        ('["Which is \\ud800 better?"]', "holds half of a character"),
        ('["Revision: a"]', "transcript 1: expected the turns Human, Assistant"),
        ('[{"prompt": 7}]', "comparison 1: expected a text 'prompt'"),
        ('[{"prompt": "(A) [[[a]]]"}]', "comparison 1: expected two options"),
        ('[{"prompt": "a", "corrects": ["b"], "incorrects": ["c"]}]', "no principles in these files"),
    ],
)
def test_a_file_that_is_none_is_said_so(tmp_path: Path, data: str, message: str) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(data)
    with pytest.raises(RecipeError) as failure:
        import_constitution([path], "theirs")
    assert message in str(failure.value)


def test_a_name_that_no_constitution_can_have_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text('["Which is better?"]')
    with pytest.raises(RecipeError, match="'my own' cannot be the name of a constitution"):
        import_constitution([path], "my own")
