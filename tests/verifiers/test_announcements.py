"""Answers in every form in which chat models announce them, in their languages, each right and with a wrong number."""

from collections.abc import Callable
from itertools import product

import pytest
from builders import make_problem, make_rationale
from growth import grows_linearly

from selfimprove.recipe.task_settings import THINKING, VerifierSettings
from selfimprove.records import Verdict
from selfimprove.verifiers.announcements import LANGUAGES, find_announcements
from selfimprove.verifiers.answers import find_statements, prepare
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.layout import find_tags, lay_out
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.text import TextVerifier
from selfimprove.verifiers.thinking import complete, strip_thinking

MATH = MathVerifier(VerifierSettings(name="math"))
CHOICE = ChoiceVerifier(VerifierSettings(name="choice"))
TEXT = TextVerifier(VerifierSettings(name="text"))
PLACES = ("harbour", "library", "market", "station")

NUMBERS = [("36", "36"), ("7", "7"), ("1,250", "1250"), ("-8", "-8"), ("$64", "64"), ("2.5", "2.5"), ("3/4", "3/4")]
WORK = "First we take 9 boxes of 5.\nThen 11 more are added.\n"
PLAIN_FORMS = [
    "A: {}", "a) 3 boxes\n\nA: {}", "**A:** {}", "Ans: {}", "Ans. {}", "ans = {}", "Answer - {}", "Answer — {}",
    "Answer → {}", "Answer\n\n{}", "**Answer**\n{}", "## Answer\n\n{}", "### Final Answer\n{}", "Final: {}",
    "Result: {}", "**Result:** {}", "Final result: {}", "Output: {}", "= {}", "=> {}", "⇒ {}", "→ {}", "-> {}", "∴ {}",
    "✅ {}", "✅ **{}**", "👉 {}", "≈ {}", "# {}", "**{}**", "`{}`", "_{}_", "* {}", "```\n{}\n```",
    "```text\n{}\n```", "Answer:\n```\n{}\n```", "<answer>{}</answer>", "<answer> {} </answer>",
    "<answer>\n{}\n</answer>",
    "<answer>{}", "<final_answer>{}</final_answer>", "<b>{}</b>", "Total: {}", "Number of boxes: {}", "Cost - {}",
    "The answer is {}<|im_end|>", "{}<|eot_id|>", "{}</s>", "The answer to the question is: {}",
    "The answer in dollars is {}", "Therefore, the final answer is therefore {}.", "My answer: {}",
    "The answer is: **{}**.", "The answer is \"{}\".", "the answer is\n\n{}", "The answer is {}! Hope that helps.",
    "The final answer is {}. I hope it is correct.", "We get {}. So our answer is correct.",
    "### Answer\n> {}", "Answer:- {}", "Ans:- {}", "Result:- {}", "The answer is therefore:\n\n**{}**", "x = **{}**",
    "**x = {}**",
    "The answer is {}.\n\nSo", "The answer is {}.\n\nWe", "It is {}.", "It is {}, which is what was asked.",
]  # fmt: skip
JSON_FORMS = [
    '{"answer": "@"}', '{"reasoning": "I tried 12 first.", "answer": "@"}', '```json\n{"answer": "@"}\n```',
    'Here you go:\n{"final_answer": "@", "unit": "boxes of 9"}', '{"steps": [{"n": 1}], "result": {"answer": "@"}}',
    "{'answer': '@'}", '{"thought": "5 + 4", "Answer": ["@"]}', '{"answer": "@", "confidence": 95}', '{"answer": "@"',
]  # fmt: skip
MARKED_FORMS = [
    "$${}$$", "\\[\n{}\n\\]", "Answer:\n\n\\[\n{}\n\\]", "The final answer is:\n\n$$\n{}\n$$",
    "The final answer is:\n\\[{}\\]", "The final answer to the problem is:\n\n\\[\n\\boxed{{{}}}\n\\]",
    "Final Answer: The final answer is ${}$. I hope it is correct.",
    "Final Answer: The final answer is $x = {}$. I hope it is correct.",
    "The answer is \\begin{{align*}}\nx &= y + 2 \\\\\n&= {}\n\\end{{align*}}",
    "The answer is \\begin{{equation}} {} \\end{{equation}}",
    "\\boxed{{{}}}", "\\boxed{{\\boxed{{{}}}}}", "**\\boxed{{{}}}**", "- \\boxed{{{}}}", "\\[ \\boxed{{{}}} \\]",
    "\\boxed{{{}}} is what remains of the 50.", "\\boxed{{{}}} (the number of boxes)",
    "\\boxed{{{}}}\n\nLet me know if 2 more would help!",
    "\\boxed{{{}}} - that is all.", "\\boxed{{{}}}\\text{{ boxes}}",
    "The answer is $\\boxed{{{}}}$ because 3 were lost.",
    "\\[ \\text{{Answer: }} {} \\]",
    "<answer>\\boxed{{{}}}</answer>", "<answer>The answer is {}.</answer>", "\\text{{\\boxed{{{}}}}}",
]  # fmt: skip
# The answer comes first, and what explains it has other numbers.
FIRST_FORMS = [
    "**{}**\n\nWe started from 7 boxes.", "{}\n\nExplanation: there were 9 boxes in 4 rows.",
    "{}\n\nThere were 17 to begin with.",
    "**{} boxes**\n\nOf the 90 boxes some were lost.", "# {}\n\nThere are 12 months and 30 days.",
    "A: {}\n\nBecause there were 3 rows of 9.",
    "Answer: {}\n\nWe began with 11.", "✅ {}\n\nThere were 3 of them.", "${}$\n\nSince 3 of the 5 are left.",
]  # fmt: skip
LANGUAGE_FORMS = [
    "答案是{}", "答案是 {}。", "答案：{}", "正确答案是{}。", "最终答案为：**{}**", "所以答案是 {} 个。", "答：{}",
    "故答案为：{}",
    "答えは{}です。", "答え：{}", "正解は {} です。", "したがって、答えは{}個です。", "最終的な答えは **{}** です。",
    "정답은 {}입니다.", "정답: {}", "따라서 답은 {}입니다.", "**정답: {}**", "최종 답은 {}이다.",
    "La respuesta es {}.", "Respuesta: {}", "Por lo tanto, la respuesta final es **{}**.",
    "La respuesta correcta es: {}",
    "La réponse est {}.", "Réponse : {}", "La réponse finale est donc {}.", "**Réponse :** {}",
    "Die Antwort ist {}.", "Antwort: {}", "Die Antwort lautet also {}.", "**Antwort:** {}",
    "Ответ: {}", "Правильный ответ: {}.", "Ответ — {}", "**Ответ:** {}", "Ответом является {}.",
    "A resposta é {}.", "Resposta: {}", "A resposta final é: {}", "Portanto, a resposta correta é {}.",
    "La risposta è {}.", "Risposta: {}", "La risposta finale è {}.", "**Risposta:** {}",
    "الجواب هو {}", "الإجابة هي {}.", "الإجابة: {}", "الإجابة الصحيحة هي {}", "الجواب النهائي هو {}",
    "उत्तर {} है", "उत्तर: {}", "सही उत्तर {} है।", "अंतिम उत्तर है {}", "इसलिए, उत्तर {} है।",
    "Het antwoord is {}.", "Odpowiedź: {}", "Cevap: {}", "Đáp án là {}.", "Jawabannya adalah {}.", "Відповідь: {}",
    "پاسخ: {}", "התשובה היא {}", "Η απάντηση είναι {}.", "คำตอบคือ {}", "উত্তর: {}",
]  # fmt: skip


def judge(verifier: Verifier, gold: str, text: str, options: tuple[str, ...] = (), prompt: str = "") -> Verdict:
    """The verdict where our own code gives it; what asks for sympy is not read as it should be."""
    verdict = quick(verifier, gold, text, options, prompt)
    assert verdict is not None, f"{text!r} goes to sympy"
    return verdict


def quick(verifier: Verifier, gold: str, text: str, options: tuple[str, ...] = (), prompt: str = "") -> Verdict | None:
    """The verdict, or None where sympy is asked."""
    problem = make_problem("How many?", gold, options=options)
    answer = verifier.extract_answer(complete(text, prompt, THINKING), problem)
    rationale = make_rationale(problem, text, answer=answer, prompt=prompt)
    return verifier.quick(problem=problem, rationale=rationale)


def find_wrong(pairs: list[tuple[str, str, str]], verifier: Verifier, options: tuple[str, ...] = ()) -> list[str]:
    """The texts whose verdict is not what it must be, with that verdict."""
    found = []
    for text, gold, outcome in pairs:
        verdict = judge(verifier, gold, text, options)
        if verdict.outcome != outcome:
            found.append(f"{text!r} for {gold}: {verdict.outcome}, {verdict.reason}")
    return found


def pair(forms: list[str], put: Callable[[str, str], str], before: str = "") -> list[tuple[str, str, str]]:
    """Each form with each number, for the right answer and for another one."""
    pairs = []
    for form, (written, gold) in product(forms, NUMBERS):
        text = before + put(form, written)
        pairs += [(text, gold, "correct"), (text, "41", "incorrect")]
    return pairs


def test_answers_are_read_in_every_form() -> None:
    json_forms = pair(JSON_FORMS, lambda form, written: form.replace("@", written))
    spoken = pair(PLAIN_FORMS + MARKED_FORMS, lambda form, written: form.format(written.replace("$", "")))
    after_work = pair(PLAIN_FORMS[:40], lambda form, written: form.format(written), before=WORK)
    first = pair(FIRST_FORMS, lambda form, written: form.format(written.replace("$", "")))
    pairs = json_forms + spoken + after_work + first
    assert len(pairs) > 1_500
    assert find_wrong(pairs, MATH) == []


def test_answers_are_read_in_the_languages_of_chat_models() -> None:
    pairs = pair(LANGUAGE_FORMS, lambda form, written: form.format(written))
    assert len(pairs) > 800
    assert find_wrong(pairs, MATH) == []


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("36", "It costs $36 for 4 tickets.", "correct"),
        ("4", "It costs $36 for 4 tickets.", "incorrect"),
        ("36", "She has 36 stamps left after giving 12 stamps away.", "correct"),
        ("36", "It is 36, which is 4 more than 32.", "correct"),
        ("36", "36. There are 4 rows of 9.", "correct"),
        ("9", "36. There are 4 rows of 9.", "incorrect"),
        ("9", "**36**\n\nThere were 4 rows of 9.", "incorrect"),
        ("1, 2", "\\boxed{1} and \\boxed{2}", "correct"),
        ("1, 2", "Either $x = \\boxed{2}$ or $x = \\boxed{1}$.", "correct"),
        ("1", "\\boxed{1} and \\boxed{2}", "incorrect"),
        ("36", "4 * 9 = 36, so our answer is reasonable.", "correct"),
        ("36", "We first need the number of rows.\n\nSo", "incorrect"),
        ("36", "4 * 9 = 36\n\nWe", "incorrect"),  # cut off before the answer, so it has none
        ("36", "4 rows of 9 are 36.\n\nTherefore", "incorrect"),
        ("35", "<answer>36</answer> The answer is 35.", "incorrect"),
        ("35", '{"reasoning": "the answer is 35", "answer": 36}', "incorrect"),
        ("36", "<answer>35</answer><answer>36</answer>", "incorrect"),
        ("36", "A: 36\nB: 37\nC: 38", "incorrect"),
        ("1000000", "The answer is 10**6.", "correct"),
        ("100000", "The answer is 10**6.", "incorrect"),
    ],
)
def test_what_surrounds_an_answer_does_not_change_it(gold: str, text: str, outcome: str) -> None:
    problem = make_problem("How many?", gold)
    verdict = MATH.verify(
        problem=problem, rationale=make_rationale(problem, text, answer=MATH.extract_answer(text, problem))
    )
    assert verdict.outcome == outcome, verdict.reason


# Each begins with the number that is expected, and is another one, or two.
NOT_THAT_NUMBER = [
    "5 choose 2", "5 mod 3", "5 C 2", "5 over 2", "5 log 2", "5 div 2", "5 root 2", "5 base 7", "5 minus 2",
    "5 less than 7", "5 and 6", "5 to 6", "5 or 6", "5 at most", "5 degrees below zero", "5P2", "5C2",
]  # fmt: skip
AROUND = ["The answer is {}", "#### {}", "\\boxed{{{}}}", "**{}**", "\\boxed{{\\text{{{}}}}}", "A: {}"]


def test_a_number_that_words_make_another_one_of_is_not_accepted() -> None:
    texts = [form.format(said) for form, said in product(AROUND, NOT_THAT_NUMBER)]
    accepted = [text for text in texts if (found := quick(MATH, "5", text)) and found.outcome == "correct"]
    assert accepted == []


NOT_READ = [
    "答案是三十六。", "答えは三十六です。", "정답은 서른여섯입니다.", "La respuesta es treinta y seis.",
    "La réponse est trente-six.",
    "Die Antwort ist sechsunddreißig.", "Ответ: тридцать шесть", "A resposta é trinta e seis.",
    "La risposta è trentasei.",
    "الجواب هو ستة وثلاثون", "उत्तर छत्तीस है", "उत्तर: छत्तीस",
]  # fmt: skip
DENIED = [
    "答案不是36", "如果答案是36，那么还有4个。", "答えは36ではありません。", "정답은 36이 아닙니다.",
    "La respuesta no es 36.",
    "Si la respuesta es 36, falta 1.",
    "La réponse n'est pas 36.", "Die Antwort ist nicht 36.", "Die falsche Antwort ist 36.", "Ответ не 36.",
    "A resposta não é 36.",
    "La risposta non è 36.", "الجواب ليس 36", "उत्तर 36 नहीं है", "La respuesta es 36 o 37.",
    "Die Antwort ist 36 oder 37.", "答案是36或37。",
]  # fmt: skip


def test_what_another_language_says_and_we_do_not_read_is_undecided() -> None:
    assert find_wrong([(text, "36", "undecided") for text in NOT_READ], MATH) == []
    assert [text for text in DENIED if judge(MATH, "36", text).outcome == "correct"] == []


CHOICE_FORMS = [
    "**{}**", "*{}*", "_{}_", "`{}`", '"{}"', "“{}”", "({})", "{}.", "# {}", "- {}", "> {}", "{} ✅", "✅ {}", "→ {}",
    "=> {}",
    "∴ {}", "A: {}", "The answer is **{}**.", "The answer is **{}**, because the others fail.", "The answer is *{}*!",
    "So the answer is `{}`.", 'The correct answer is "{}".', "The answer is '{}', since it fits.", "Answer: **{}**.",
    "**Answer: {}**\n\nIt fits.", "**Answer:** **{}**", "## Answer: {}", "Answer - {}", "Answer — {}", "Response: {}",
    "Solution: {}", "Correct: {}", "Choice: {}", "Option: {}", "Final choice: **{}**", "Correct option: {}",
    "I choose {}.",
    "I choose {} because it fits.", "I'd go with {}.", "I would pick ({}).", "My choice is {}.", "\\boxed{{{}}}",
    "\\boxed{{\\text{{{}}}}} fits best.", "\\boxed{{{}}} since the rest is far away.", "$\\boxed{{({})}}$",
    "<answer>{}</answer>",
    "<answer>({})</answer>", "<answer>\n**{}**\n</answer>", '{{"answer": "{}"}}', '```json\n{{"choice": "{}"}}\n```',
    "```\n{}\n```", "The correct answer choice is therefore **{}**.", "{}<|im_end|>",
    "正确答案是 {}。", "答案是{}", "故选{}。", "答案：**{}**", "答えは{}です。", "正解は「{}」です。",
    "정답은 {}입니다.", "**정답: {}**",
    "La respuesta correcta es la {}.", "Respuesta: {}", "La opción correcta es {} porque está cerca.",
    "La bonne réponse est {}.",
    "Réponse : {}", "Die richtige Antwort ist {}.", "Antwort: **{}**", "Правильный ответ: {}", "Ответ — {}",
    "A resposta correta é a letra {}.",
    "Resposta: {}", "La risposta corretta è {}.", "الإجابة الصحيحة هي {}", "सही उत्तर {} है", "Odpowiedź: {}",
    "Cevap: {}",
]  # fmt: skip
LATER = ["", "\n\nOption C is far away.", "\n\nExplanation: option A is a place for ships, option C one for food."]


def test_letters_are_read_in_every_form_and_a_later_mention_changes_none() -> None:
    """With B picked, each other letter as the expected answer must be refused."""
    pairs = []
    for form, later in product(CHOICE_FORMS, LATER):
        text = form.format("B") + later
        pairs += [(text, gold, "correct" if gold == "B" else "incorrect") for gold in "ABCD"]
    assert len(pairs) > 900
    assert find_wrong(pairs, CHOICE, PLACES) == []


ABOVE = ("the harbour", "Both A and D", "None of the above", "All of the above")


@pytest.mark.parametrize(
    ("options", "text", "found"),
    [
        (PLACES, "B. It can't be A or C.", "B"),
        (PLACES, "B!", "B"),
        (PLACES, "So B it is.", "B"),
        (PLACES, "Among the options, B fits best.", "B"),
        (PLACES, "B makes the most sense.", "B"),
        (PLACES, "(B) It isn't A, C or D.", "B"),
        (PLACES, "B, because A and C are closed on Sundays.", "B"),
        (PLACES, "A. harbour B. library C. market D. station", None),
        (PLACES, "A? No. B? Yes. C? No. D? No.", "B"),
        (PLACES, "A: no\nB: yes\nC: no", "B"),
        (PLACES, "A ❌ B ✅ C ❌", "B"),
        (PLACES, "A? Yes. B? Yes.", None),
        (PLACES, "First consider A. It is closed. So the correct choice is **B**.", "B"),
        (PLACES, "The answer is both A and B.", "A and B"),
        (PLACES, "The answer is none of the above.", "none of the above"),
        (PLACES, "La respuesta es B o C.", "B and C"),
        (PLACES, "答案是B或C", "B and C"),
        (PLACES, "Die Antwort ist nicht B.", "not B"),
        (PLACES, "答えはBではありません。", "not B"),
        (PLACES, '{"reasoning": "the answer is A", "answer": "B"}', "B"),
        (ABOVE, "The answer is both A and D.", "B"),
        (ABOVE, "The answer is **both**.", "B"),
        (ABOVE, "None of these.", "C"),
        (ABOVE, "The answer is none of the options.", "C"),
        (ABOVE, "All of them", "D"),
        (ABOVE, "C. None of the above", "C"),
    ],
)
def test_an_option_is_picked(options: tuple[str, ...], text: str, found: str | None) -> None:
    assert CHOICE.extract_answer(text, make_problem("Where?", "B", options=options)) == found


def test_an_option_in_words_of_another_language_is_undecided() -> None:
    texts = ["正确答案是图书馆。", "La respuesta es la biblioteca.", "Ответ: библиотека", "答えは図書館です。"]
    assert [judge(CHOICE, "B", text, PLACES).outcome for text in texts] == ["undecided"] * 4


BLOCKS = [(begin, end) for begin, end in THINKING if begin.startswith(("<", "[", "◁"))]


@pytest.mark.parametrize(("begin", "end"), BLOCKS, ids=ascii)
def test_what_a_model_thinks_is_not_its_answer(begin: str, end: str) -> None:
    """A block that is closed, one that is not, one that the prompt opened, and one that begins with the text."""
    for verifier, options, wrong, right in (
        (MATH, (), "35", "36"),
        (CHOICE, PLACES, "A", "B"),
        (TEXT, (), "no", "yes"),
    ):
        thought, said = f"So the answer is {wrong}? Let me see.", f"\n\nThe answer is {right}."
        assert judge(verifier, right, f"{begin}{thought}{end}{said}", options).outcome == "correct"
        assert judge(verifier, wrong, f"{begin}{thought}{end}{said}", options).outcome == "incorrect"
        assert judge(verifier, right, f"{thought}{end}{said}", options).outcome == "correct"
        assert judge(verifier, right, f"{thought}{end}{said}", options, prompt=f"Q?\n{begin}\n").outcome == "correct"
        for text in (f"{begin}{said}{end}\n\nI cannot tell.", f"{begin}{said}", f"{begin}{thought}{end}{begin}{said}"):
            assert judge(verifier, right, text, options).outcome == "incorrect", text
        silent = judge(verifier, right, f"{begin}The answer is {right}.{end}", options)
        assert (silent.outcome, silent.reason) == ("incorrect", "no answer found after its thinking")
        opened = judge(verifier, right, f"The answer is {right}.", options, prompt=f"Q?\n{begin}\n")
        assert (opened.outcome, opened.reason) == ("incorrect", "no answer found after its thinking")


def test_the_channels_of_gpt_oss_are_told_apart() -> None:
    text = (
        "<|channel|>analysis<|message|>The answer is 35?<|end|><|start|>assistant"
        "<|channel|>final<|message|>The answer is 36.<|return|>"
    )
    assert judge(MATH, "36", text).outcome == "correct" and judge(MATH, "35", text).outcome == "incorrect"
    rest = text.partition("<|message|>")[2]
    assert judge(MATH, "36", rest, prompt="<|start|>assistant<|channel|>analysis<|message|>").outcome == "correct"


def test_the_steps_of_a_thought_are_checked() -> None:
    wrong = judge(MATH, "36", "<think>4 * 8 = 36</think>\nThe answer is 36.")
    assert (wrong.outcome, [step.outcome for step in wrong.steps]) == ("correct", ["incorrect"])


def test_marks_are_a_setting() -> None:
    own = MathVerifier(VerifierSettings(name="math", thinking=(("<<<", ">>>"),)))
    assert judge(own, "36", "<<<The answer is 35.>>>The answer is 36.").outcome == "correct"
    assert judge(own, "36", "<think>The answer is 35.</think>The answer is 36.").outcome == "incorrect"
    none = MathVerifier(VerifierSettings(name="math", thinking=()))
    assert judge(none, "36", "<think>The answer is 36.").outcome == "correct"


def test_a_mark_that_is_only_spoken_of_opens_nothing() -> None:
    assert strip_thinking("I close `<think>` at once. The answer is 36.", THINKING).endswith("36.")


def test_words_are_read_in_tags_json_and_other_languages() -> None:
    for form in ("{}", "**{}**", "<answer>{}</answer>", '{{"answer": "{}"}}', "```\n{}\n```", "\\boxed{{\\text{{{}}}}}",
                 "The answer is **{}**.", "Antwort: {}", "La respuesta es {}.", "答案是{}。"):  # fmt: skip
        text = form.format("Monday")
        assert judge(TEXT, "Monday", text).outcome == "correct", text
        assert judge(TEXT, "Tuesday", text).outcome == "incorrect", text


def test_the_words_of_each_language_are_data() -> None:
    for language in LANGUAGES:
        words = [*language.nouns, *language.links, *language.options, *language.leads, *language.supposed]
        assert all(word == word.lower().strip() for word in words), language.name
        noun = language.nouns[0]
        assert [one.end for one in find_announcements(f"{noun}: 36")] == [len(noun) + 2], language.name


# What each search may stumble over again and again.
HOSTILE: list[tuple[str, Callable[[str], object], list[str]]] = [
    (
        "thinking",
        lambda text: strip_thinking(text, THINKING),
        ["<think>", "</think>", "<think></think>", "<|channel|>", "[THIN"],
    ),
    ("layout", lay_out, ['{"a":', '{"answer": "1"} ', '{"', "```\n", "<|x|>", "<|", "\\frac", "ａ", "答", "<b>"]),
    ("tags", find_tags, ["<answer>", "</answer>", "<answer></answer>", "<final ", "<"]),
    (
        "announcements",
        lambda text: find_announcements(text, options=True),
        ["答案", "答案是", "la respuesta a la ", "antwort antwort ", "ответ ", "정답은 ", "उत्तर ", "é"],
    ),
    ("numbers of one line", find_statements, ["step 1 "]),
]


@pytest.mark.parametrize("size", [1 << 17, pytest.param(1 << 20, marks=pytest.mark.long)])
@pytest.mark.parametrize(("name", "search", "pieces"), HOSTILE, ids=[one[0] for one in HOSTILE])
def test_time_is_linear_in_hostile_texts(
    name: str, search: Callable[[str], object], pieces: list[str], size: int
) -> None:
    assert [piece for piece in pieces if not grows_linearly(search, piece, size)] == [], name


REPEATED = [
    "A: ", "\nA: 1", "\n= 1", "∴", "✅ ", "\\begin{align}", "$$\n", "\\[\n", "**1**\n", "answer - ", "answer to a ",
    "\\boxed{",
    "\\boxed{1} and ", "A? No. ", "**A**", "“B”", "I choose ", "B. ", "none of the ", "1 for 2 of 3 ", "\U0001f600",
    "half of 1 ", "is it 1? ", "step 1 ", "not sure 1 ", "答案1以上", "la respuesta mil 1 ", "B over A. ", "almost B. ",
]  # fmt: skip


def test_whole_extraction_grows_no_faster_than_the_text() -> None:
    """Verifiers look at 50,000 characters at most."""
    problem = make_problem("Where?", "B", options=PLACES)

    def extract(text: str) -> None:
        find_statements(prepare(text, THINKING))
        CHOICE.extract_answer(text, problem)

    assert [piece for piece in REPEATED if not grows_linearly(extract, piece, 24_000)] == []
