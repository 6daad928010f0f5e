"""Templates of data sets are rendered as promptsource does, within limits, and can reach nothing of the machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import RecipeError, TaskError
from selfimprove.prompting.sandbox import Sandbox
from selfimprove.prompting.templates import Rendered, RowTemplate, Unrendered
from selfimprove.recipe.promptsource import load_templates

ROW = {"question": "1+1?", "answer": "2", "choices": {"text": ["2", "3"], "label": ["A", "B"]}, "key": "A"}
PICK = "{{ answer_choices[choices.label.index(key)] }}"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def render(sandbox: Sandbox, sources: dict[str, str], row: dict[str, Any] = ROW, **given: Any) -> Rendered | Unrendered:
    return RowTemplate("mine", sources, "mine.yaml:3", sandbox=sandbox, **given).render([row], [1])[0]


NOTHING = "the template has nothing to say of the row"
FAILS = "the template fails: "
OPTIONS = "{{choices.text|join('|||')}}"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"whole": "{{question}} ||| {{answer}}"}, Rendered("1+1?", "2")),
        (
            {"whole": "{{question}}\n- {{ answer_choices | join('\n- ') }} ||| " + PICK, "options": OPTIONS},
            Rendered("1+1?\n- 2\n- 3", "2", options=("2", "3")),
        ),
        (
            {"prompt": " {{key}} ", "completion": "{{answer}}", "rationale": "as {{key}}", "options": "2|||3 ||| 2"},
            Rendered("A", "2", "as A", ("2", "3")),
        ),
        ({"whole": "{% for l, t in zip(choices.label, choices.text) %}{{l}}{{t}} {% endfor %}|||x"},
         Rendered("A2 B3", "x")),
        ({"whole": "{{ ['b', 'a', 'b'] | most_frequent | join }}|||{{ ['c'] | choice }}"}, Rendered("b", "c")),
        ({"whole": "{% if key == 'B' %}{{question}} ||| x{% endif %}"}, Unrendered(NOTHING)),
        ({"whole": "{{question}}"}, Unrendered("the template writes 1 parts instead of a prompt and a completion")),
        ({"whole": "{{ 'x' * 300000 }}|||y"}, Unrendered(f"{FAILS}wrote 300004 characters")),
        ({"prompt": "{{ nothing }}", "completion": ""}, Unrendered(f"{FAILS}UndefinedError: 'nothing' is undefined")),
        ({"prompt": "{{ key.x }}", "completion": ""},
         Unrendered(f"{FAILS}UndefinedError: 'str object' has no attribute 'x'")),
    ],
)  # fmt: skip
def test_what_a_template_makes_of_a_row(sandbox: Sandbox, sources: dict[str, str], expected: object) -> None:
    assert render(sandbox, sources) == expected


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__.os }}", "{{ choices.text.append('x') }}",
     "{{ '%s'.__mod__('x') }}", "{{ '{0.__class__}'.format(1) }}", "{% include '/etc/passwd' %}"],
)  # fmt: skip
def test_a_template_reaches_nothing(sandbox: Sandbox, source: str) -> None:
    made = render(sandbox, {"prompt": source, "completion": "x"})
    assert isinstance(made, Unrendered) and made.reason.startswith("the template fails: "), made


def test_what_separates_prompts_from_completions_may_stand_in_a_row(sandbox: Sandbox) -> None:
    sources = {"whole": "{{a}} {{choices[0]}} ||| {{ answer_choices[0] }}", "options": "{{choices[0]}} ||| z"}
    made = render(sandbox, sources, {"a": "x ||| y", "choices": ["p|||q"]})
    assert made == Rendered("x ||| y p|||q", "p|||q", options=("p|||q", "z"))


def test_chance_is_the_seed_alone(sandbox: Sandbox) -> None:
    template = RowTemplate("mine", {"whole": "{{ range(99999) | list | choice }}|||x"}, "", sandbox=sandbox)
    one, other, again = template.render([ROW] * 3, [1, 2, 1])
    assert one == again != other and template.render([ROW], [2]) == [other]


def test_a_template_that_does_not_end_is_one_line_and_costs_the_others_nothing() -> None:
    sandbox = Sandbox(seconds=0.1)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}|||x"
    for _ in range(2):  # the second time nothing is tried
        with pytest.raises(TaskError, match=r"^mine.yaml:3: the template 'mine' did not end within 0.1 seconds; mend"):
            render(sandbox, {"whole": loop})
    assert render(sandbox, {"whole": "a|||b"}) == Rendered("a", "b")
    with pytest.raises(TaskError, match=r"mine.yaml:3: the template 'mine' cannot be used \(needs more than 512 MB\)"):
        render(sandbox, {"prompt": "{{ 'x' * 999999999 }}", "completion": ""})
    with pytest.raises(TaskError, match=r"cannot be used \(TemplateSyntaxError: unexpected '}'\)"):
        RowTemplate("mine", {"whole": "{{ }"}, "", sandbox=sandbox).names()


def test_the_columns_that_a_template_speaks_of(sandbox: Sandbox) -> None:
    source = "{% set n = 1 %}{{ question }}{% for a, b in zip(x, answer_choices) %}{{ a }}{{ loop.index }}{% endfor %}"
    assert RowTemplate("mine", {"whole": source}, "", sandbox=sandbox).names() == ["question", "x"]


def test_files_of_promptsource_are_read_and_nothing_else_is_built(data_folder: Path, tmp_path: Path) -> None:
    files = sorted((data_folder / "promptsource-templates").glob("*.yaml"))
    found = {file.stem: load_templates(file)[0] for file in files}
    assert len(found) == 25 and sum(map(len, found.values())) == 207
    question = found["commonsense_qa"]["answer_to_question"]
    assert question.metadata.original_task is False and "answer_choices" not in question.jinja
    for number, (text, said) in enumerate([
        ("templates: {a: !!python/object:os.system {name: x, jinja: y}}", "mine.yaml:1: could not determine a constr"),
        ("templates: {a: !Template [1, 2]}", "mine.yaml:1: expected a mapping node"),
        ("templates:\n  a: !Template {jinja: y}", "mine.yaml:2: 'templates.a.name' is missing"),
    ]):  # fmt: skip
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(RecipeError) as raised:
            load_templates(tmp_path / "mine.yaml")
        assert said in str(raised.value) and "\n" not in str(raised.value), number


@pytest.mark.long
def test_commonsense_qa_is_rendered_as_t0_has_it(data_folder: Path, sandbox: Sandbox) -> None:
    """Rows that promptsource rendered, against the same questions by the same templates here."""
    with (data_folder / "commonsenseqa" / "train_rand_split.jsonl").open() as file:
        rows = {row["question"]["stem"]: row for row in map(json.loads, file)}
    templates, _ = load_templates(data_folder / "promptsource-templates" / "commonsense_qa.yaml")
    compared = 0
    for name in ("question_answering", "most_suitable_answer", "question_to_answer_index"):
        one = templates[name]
        sources = {"options": str(one.answer_choices), "whole": one.jinja}
        template = RowTemplate(name, sources, "", strict=False, sandbox=sandbox)
        with (data_folder / "t0-p3" / f"commonsense_qa_{name}.jsonl").open() as file:
            theirs = {
                row["prompt"].strip(): row["completion"].removesuffix("<|endoftext|>").strip()
                for row in map(json.loads, file)
            }
        asked = [row for stem, row in rows.items() if any(stem in prompt for prompt in theirs)]
        plain = [
            {
                "question": row["question"]["stem"],
                "answerKey": row["answerKey"],
                "choices": {key: [one[key] for one in row["question"]["choices"]] for key in ("label", "text")},
            }
            for row in asked
        ]
        for made in template.render(plain, [0] * len(plain)):
            assert isinstance(made, Rendered)
            if made.prompt in theirs:
                compared += 1
                assert theirs[made.prompt] == made.completion
    assert compared > 300
