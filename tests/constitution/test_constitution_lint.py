"""Every mistake in a constitution is one line that says where and what; what no run should start with is an error."""

from pathlib import Path

import pytest

from selfimprove.cli import main
from selfimprove.constitution.file import check_constitution, load_constitution
from selfimprove.errors import RecipeError

HEAD = """\
name: mine
principles:
  - id: kind
    text: The response is friendly.
"""
TASKS = (
    "arithmetic, asdiv, bbh, commonsenseqa, dataset, gsm8k, jsonl, long-addition, mixture, mmlu, prompts, "
    "reasoning_gym, rising, scored, svamp"
)
EXEMPLAR = "    exemplars:\n      - question: Why?\n        response: {}\n        critique: {}\n        revision: {}\n"
LONG = "The answer to every question that was ever asked in this house is seven of course."

# Lines 1 to 4 are HEAD; `{}` in a message stands for the file's path.
BROKEN = {
    "unknown key of the file": (HEAD + "preambel: Be good.", "{}:5: unknown key 'preambel'; did you mean 'preamble'?"),
    "unknown key of a principle": (HEAD + "    wieght: 2", "{}:5: unknown key 'wieght'; did you mean 'weight'?"),
    "unknown key of an exemplar": (
        HEAD + EXEMPLAR.format("a", "b", "c") + "        anwser: d",
        "{}:10: unknown key 'anwser'; did you mean 'answer'?",
    ),
    "unknown check": (HEAD + "    check: {name: patern}", "{}:5: unknown check 'patern'; did you mean 'pattern'?"),
    "no name": ("principles: [{id: a, text: b}]", "{}: 'name' is missing"),
    "no principles": ("name: mine", "{}: 'principles' is missing"),
    "an empty list of principles": (
        "name: mine\nprinciples: []",
        "{}:2: there are no principles",
    ),
    "no text": ("name: mine\nprinciples:\n  - id: kind", "{}:3: 'principles.0.text' is missing"),
    "an empty principle": (
        "name: mine\nprinciples:\n  - id: kind\n    text: ' '",
        "{}:4: 'principles.0.text' should not be empty, not ' '",
    ),
    "an id with spaces": (
        "name: mine\nprinciples:\n  - {id: be kind, text: a}",
        "{}:3: 'principles.0.id' is 'be kind'; write 1 to 64 of small letters, digits, '_', '-', "
        "and begin with a letter or a digit",
    ),
    "an id that YAML reads as a truth value": (
        "name: mine\nprinciples:\n  - {id: true, text: a}",
        "{}:3: 'principles.0.id' must be a text, not True",
    ),
    "the same id twice": (
        HEAD + "  - id: kind\n    text: Other words.",
        "{}:5: two principles have the id 'kind' (first in line 3)",
    ),
    "the same words twice": (
        HEAD + "  - id: nice\n    text: the response is FRIENDLY",
        "{}:6: 'nice' says the same as 'kind'",
    ),
    "nearly the same words with another weight": (
        "name: mine\nprinciples:\n"
        "  - {id: a, text: The response names every number that it takes from the question.}\n"
        "  - {id: b, text: The response names every number that it takes from a question., weight: 3}",
        "{}:4: 'b' says nearly the same as 'a', with the weights 3 and 1",
    ),
    "a use for nothing": (
        HEAD + "    uses: []",
        "{}:5: 'kind' is used for nothing; known: critique, preference",
    ),
    "a negative weight": (
        HEAD + "    weight: -1",
        "{}:5: 'principles.0.weight' must be at least 0, not -1",
    ),
    "every weight is 0": (HEAD + "    weight: 0", "{}:2: no principle can be drawn for a critique: every weight is 0"),
    "a field that no request has": (
        HEAD + "    critique: Where is {respones} wrong?",
        "{}:5: 'critique' holds the unknown field {{respones}}; known: nothing, text, title",
    ),
    "a misspelt field in the file's own request": (
        HEAD + "revision: Follow {txt}.",
        "{}:5: 'revision' holds the unknown field {{txt}}; did you mean 'text'?",
    ),
    "an unknown field of the transcript": (
        HEAD + "transcript:\n  critique: '{ask} {critique}'",
        "{}:6: 'critique' holds the unknown field {{ask}}; known: critique, question, request",
    ),
    "a misspelt field of the transcript": (
        HEAD + "transcript:\n  comparison: '{frist} or {second}? {first}: {choice}'",
        "{}:6: 'comparison' holds the unknown field {{frist}}; did you mean 'first'?",
    ),
    "a field of another part": (
        HEAD + "transcript:\n  answer: '{request} {choice}'",
        "{}:6: 'answer' holds the unknown field {{request}}; known: choice",
    ),
    "a question without question": (
        HEAD + "transcript:\n  question: 'Q: {response}'",
        "{}:6: 'question' lacks {{question}}",
    ),
    "a question without response": (
        HEAD + "transcript:\n  question: 'Q: {question}'",
        "{}:6: 'question' lacks {{response}}",
    ),
    "a critique without critique": (
        HEAD + "transcript:\n  critique: 'C: {request}'",
        "{}:6: 'critique' lacks {{critique}}",
    ),
    "a revision without revision": (
        HEAD + "transcript:\n  revision: 'R: {request}'",
        "{}:6: 'revision' lacks {{revision}}",
    ),
    "a comparison without first": (
        HEAD + "transcript:\n  comparison: '{second} {choice}'",
        "{}:6: 'comparison' lacks {{first}}",
    ),
    "a comparison without second": (
        HEAD + "transcript:\n  comparison: '{first} {choice}'",
        "{}:6: 'comparison' lacks {{second}}",
    ),
    "a comparison without choice": (
        HEAD + "transcript:\n  comparison: '{first} {second}'",
        "{}:6: 'comparison' lacks {{choice}}",
    ),
    "a reasoning without first": (
        HEAD + "transcript:\n  reasoning: '{second} {reasoning}'",
        "{}:6: 'reasoning' lacks {{first}}",
    ),
    "a reasoning without second": (
        HEAD + "transcript:\n  reasoning: '{first} {reasoning}'",
        "{}:6: 'reasoning' lacks {{second}}",
    ),
    "a reasoning without reasoning": (
        HEAD + "transcript:\n  reasoning: '{first} {second}'",
        "{}:6: 'reasoning' lacks {{reasoning}}",
    ),
    "a answer without choice": (HEAD + "transcript:\n  answer: 'It is:'", "{}:6: 'answer' lacks {{choice}}"),
    "a critique that goes on": (
        HEAD + "transcript:\n  critique: '{critique}.'",
        "{}:6: 'critique' must end with {{critique}}, where the model answers, and hold it once",
    ),
    "a revision that goes on": (
        HEAD + "transcript:\n  revision: '{revision} {request}'",
        "{}:6: 'revision' must end with {{revision}}, where the model answers, and hold it once",
    ),
    "a comparison that goes on": (
        HEAD + "transcript:\n  comparison: '{first} {second} {choice}!'",
        "{}:6: 'comparison' must end with {{choice}}, where the model answers, and hold it once",
    ),
    "a reasoning that goes on": (
        HEAD + 'transcript:\n  reasoning: "{first} {second} {reasoning}\\n"',
        "{}:6: 'reasoning' must end with {{reasoning}}, where the model answers, and hold it once",
    ),
    "a answer that goes on": (
        HEAD + "transcript:\n  answer: '{choice} {choice}'",
        "{}:6: 'answer' must end with {{choice}}, where the model answers, and hold it once",
    ),
    "a task that does not exist": (
        HEAD + "    scope: {tasks: [gsm9k]}",
        "{}:5: unknown task 'gsm9k'; did you mean 'gsm8k'?",
    ),
    "a task unlike any": (
        HEAD + "    scope: {tasks: [painting]}",
        f"{{}}:5: the task 'painting' is not known; --import the file that declares it; known: {TASKS}",
    ),
    "no regular expression": (
        HEAD + "    check: {name: pattern, regex: '(a'}",
        "{}:5: 'regex' is not a regular expression: missing ) at position 2",
    ),
    "a pattern that is nested too deeply": (
        HEAD + f"    check: {{name: pattern, regex: '{'(' * 3000}a{')' * 3000}'}}",
        "{}:5: 'regex' is not a regular expression: it is nested too deeply",
    ),
    "a check that nothing passes": (
        HEAD + "    check:\n      name: length\n      at_least: 9\n      at_most: 3",
        "{}:5: 'at_least' is 9 and 'at_most' is 3: no response can pass",
    ),
    "a check that everything passes": (
        HEAD + "    check: {name: length}",
        "{}:5: has neither 'at_least' nor 'at_most': every response passes",
    ),
    "a revision that breaks the check": (
        HEAD
        + "    check: {name: length, at_most: 5}\n"
        + EXEMPLAR.format(LONG, "Too long.", "Now it has six words left."),
        "{}:10: the revision breaks the check of 'kind': 6 words, expected at most 5",
    ),
    "a wrong step in a revision": (
        HEAD + "    check: {name: verifier}\n" + EXEMPLAR.format("2 + 2 = 5", "Line 1 is wrong.", "2 + 2 = 3"),
        "{}:10: the revision breaks the check of 'kind': 2 + 2 is 4, not 3",
    ),
    "a critique of what is right": (
        HEAD + "    check: {name: verifier}\n" + EXEMPLAR.format("2 + 2 = 4", "Line 1 is wrong.", "1 + 3 = 4"),
        "{}:8: the critique finds something, and the response passes the check: 1 steps checked",
    ),
    "a revision that changes nothing": (
        HEAD + EXEMPLAR.format("Go away.", "It is rude.", "Go away."),
        "{}:9: the critique finds something, and the revision changes nothing",
    ),
    "a revision without a reason": (
        HEAD + EXEMPLAR.format("Hello.", "Nothing to improve.", "Good day."),
        "{}:9: the critique finds nothing, and the revision changes the response",
    ),
    "a comparison of equals": (
        HEAD + "comparisons:\n  - {question: a, chosen: b, rejected: b}",
        "{}:6: 'chosen' and 'rejected' are the same text",
    ),
    "it extends what is not there": (
        "name: mine\nextends: helpful-honest-harmles\nprinciples: []",
        "{}:2: no constitution 'helpful-honest-harmles' in policies/constitutions; "
        "did you mean 'helpful-honest-harmless'?",
    ),
    "it removes from nothing": (
        HEAD + "remove: [kind]",
        "{}:5: 'remove' needs 'extends': there is nothing to remove from",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_has_its_message(tmp_path: Path, name: str) -> None:
    text, message = BROKEN[name]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    expected = message.format(path)
    _, _, errors, _ = check_constitution(path)
    assert errors[0] == expected
    with pytest.raises(RecipeError) as failure:
        load_constitution(path)
    assert str(failure.value) == expected


def test_check_lists_all_mistakes_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "    critique: About {a} and {b}.\n    scope: {tasks: [gsm]}\n")
    with pytest.raises(SystemExit) as ended:
        main(["constitution", "check", str(path)])
    assert ended.value.code == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:5", f"{path}:5", f"{path}:6", str(path)]
    assert all(line.endswith("[error]") for line in lines[:3])
    assert lines[3].endswith("1 principles, 3 errors, 0 warnings")


WARNED = {
    "off": (HEAD + "  - {id: b, text: Short., weight: 0}", "{}:5: 'b' has the weight 0 and is never drawn"),
    "rare": (
        HEAD + "  - {id: b, text: Short., weight: 999}",
        "{}:3: 'kind' is drawn once in 1,000 draws for a critique",
    ),
    "near": (
        "name: mine\nprinciples:\n"
        "  - {id: a, text: The response names every number that it takes from the question.}\n"
        "  - {id: b, text: The response names every number that it takes from a question.}",
        "{}:4: 'b' says nearly the same as 'a'",
    ),
}


@pytest.mark.parametrize("name", WARNED)
def test_a_warning_is_an_error_only_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, message = WARNED[name]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_constitution(path).name == "mine"
    for arguments, code in ([], 0), (["--strict"], 2):
        with pytest.raises(SystemExit) as ended:
            main(["constitution", "check", str(path), *arguments])
        assert ended.value.code == code
        assert capsys.readouterr().out.splitlines()[0] == f"{message.format(path)} [warning]"


def test_principles_that_never_meet_may_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    words = "text: The response is friendly."
    path.write_text(
        f"name: mine\nprinciples:\n  - {{id: a, {words}, scope: {{tasks: [mmlu]}}}}\n"
        f"  - {{id: b, {words}, scope: {{tasks: [gsm8k]}}, weight: 2}}\n"
    )
    assert len(load_constitution(path).principles) == 2
    path.write_text(path.read_text().replace("gsm8k", "mmlu/anatomy"))
    assert check_constitution(path)[2] == [f"{path}:4: 'b' says the same as 'a'"]


def test_a_transcript_needs_no_requests(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    parts = 'critique: "?{critique}"\n  revision: "!{revision}"\n  question: "{response}{question}"\n'
    path.write_text(f'{HEAD}transcript:\n  {parts}  comparison: "{{first}}|{{second}}|{{choice}}"\n')
    assert check_constitution(path)[2:] == ([], [])


def test_every_mistake_is_reported_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: base\nprinciples:\n  - {id: kind, text: Be kind.}\n")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\n"
        "extends: base.yaml\n"
        "remove: [knd, [a]]\n"
        "critiqe: x\n"
        "principles:\n"
        "  - {id: brief, text: Be brief., wieght: 2}\n"
        "  - {id: brief, text: Be brief again.}\n"
        "  - {id: kindd}\n"
        "  - {id: true-to-facts, text: Be true., critique: 'Say {txt}'}\n"
        "  - {id: [x], text: Be open.}\n"
    )
    found = check_constitution(path)[2]
    for line, said in (
        (3, "no principle 'knd'; did you mean 'kind'?"),
        (3, "no principle '['a']'"),
        (4, "unknown key 'critiqe'; did you mean 'critique'?"),
        (6, "unknown key 'wieght'; did you mean 'weight'?"),
        (7, "two principles have the id 'brief' (first in line 6)"),
        (8, "has no principle 'kindd' to change"),
        (9, "'critique' holds the unknown field {txt}; did you mean 'text'?"),
        (10, ".id' "),
    ):
        assert any(f":{line}: " in one and said in one for one in found), (said, found)
    with pytest.raises(RecipeError, match="two principles have the id"):
        load_constitution(path)


def test_a_mistake_hides_no_other_one(tmp_path: Path) -> None:
    """Whatever is wrong, what can still be looked at is: keys set twice, no such base, values of another type."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: nowhere\n"
        "name: 5\n"
        "name: six\n"
        "version: [x]\n"
        "transcript: {comparison: '{first}', foo: 1}\n"
        "critique: 'say {txt}'\n"
        "principles:\n"
        "  - {id: a, text: Be nice., text: Be good., wieght: 2, critique: '{x}', check: {name: pattern, regex: '(('}}\n"
        "  - {id: b, uses: [nonsense, critique], text: Be kind., check: {name: length}}\n"
        "  - {id: c, weight: high, exemplars: [5]}\n"
        "  - nothing\n"
        "  - {text: Be kind., uses: [critique]}\n"
        "comparisons: 5\n"
    )
    found = check_constitution(path)[2]
    expected = (
        (1, "no constitution 'nowhere'"),
        (3, "'name' is set twice (first in line 2)"),
        (4, "'version' must be a whole number"),
        (5, "unknown key 'foo'"),
        (5, "'comparison' lacks {second}"),
        (5, "'comparison' lacks {choice}"),
        (6, "'critique' holds the unknown field {txt}"),
        (8, "'text' is set twice"),
        (8, "unknown key 'wieght'"),
        (8, "'critique' holds the unknown field {x}"),
        (8, "'regex' is not a regular expression"),
        (9, "'principles.1.uses.0' is 'nonsense'"),
        (9, "has neither 'at_least' nor 'at_most'"),
        (10, "'principles.2.weight' must be a number"),
        (10, "'principles.2.exemplars.0' is a group of settings"),
        (11, "'principles.3' is a group of settings"),
        (12, "'principles.4.id' is missing"),
        (12, "says the same as 'b'"),
        (13, "'comparisons' is a list"),
    )
    for line, said in expected:
        assert any(f":{line}: " in one and said in one for one in found), (said, found)
    assert len(found) == len(expected)
    path.write_text("[1]")
    assert check_constitution(path)[2] == [f"{path}:1: expected a mapping of settings such as 'name: my-run'"]
