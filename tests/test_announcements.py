"""Answers in every form in which chat models announce them, in their languages, each right and with a wrong number."""

import time
from collections.abc import Callable
from itertools import product

import pytest
from builders import make_problem, make_rationale

from selfimprove.records import Verdict
from selfimprove.task_settings import THINKING, VerifierSettings
from selfimprove.verifiers.announcements import LANGUAGES, find_announcements
from selfimprove.verifiers.answers import find_statements, prepare
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.layout import find_json, find_tags, lay_out
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
    "```text\n{}\n```", "Answer:\n```\n{}\n```", "<answer>{}</answer>", "<answer> {} </answer>", "<answer>\n{}\n</answer>",
    "<answer>{}", "<final_answer>{}</final_answer>", "<b>{}</b>", "Total: {}", "Number of boxes: {}", "Cost - {}",
    "The answer is {}<|im_end|>", "{}<|eot_id|>", "{}</s>", "The answer to the question is: {}",
    "The answer in dollars is {}", "Therefore, the final answer is therefore {}.", "My answer: {}",
    "The answer is: **{}**.", "The answer is \"{}\".", "the answer is\n\n{}", "The answer is {}! Hope that helps.",
    "The final answer is {}. I hope it is correct.", "We get {}. So our answer is correct.",
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
    "Final Answer: The final answer is ${}$. I hope it is correct.", "Final Answer: The final answer is $x = {}$. I hope it is correct.",
    "The answer is \\begin{{align*}}\nx &= y + 2 \\\\\n&= {}\n\\end{{align*}}", "The answer is \\begin{{equation}} {} \\end{{equation}}",
    "\\boxed{{{}}}", "\\boxed{{\\boxed{{{}}}}}", "**\\boxed{{{}}}**", "- \\boxed{{{}}}", "\\[ \\boxed{{{}}} \\]",
    "\\boxed{{{}}} is what remains of the 50.", "\\boxed{{{}}} (the number of boxes)", "\\boxed{{{}}}\n\nLet me know if 2 more would help!",
    "\\boxed{{{}}} - that is all.", "\\boxed{{{}}}\\text{{ boxes}}", "The answer is $\\boxed{{{}}}$ because 3 were lost.",
    "<answer>\\boxed{{{}}}</answer>", "<answer>The answer is {}.</answer>", "\\text{{\\boxed{{{}}}}}",
]  # fmt: skip
# The answer comes first, and what explains it has other numbers.
FIRST_FORMS = [
    "**{}**\n\nWe started from 7 boxes.", "{}\n\nExplanation: there were 9 boxes in 4 rows.", "{}\n\nThere were 17 to begin with.",
    "**{} boxes**\n\nOf the 90 boxes some were lost.", "# {}\n\nThere are 12 months and 30 days.", "A: {}\n\nBecause there were 3 rows of 9.",
    "Answer: {}\n\nWe began with 11.", "✅ {}\n\nThere were 3 of them.", "${}$\n\nSince 3 of the 5 are left.",
]  # fmt: skip
LANGUAGE_FORMS = [
    "答案是{}", "答案是 {}。", "答案：{}", "正确答案是{}。", "最终答案为：**{}**", "所以答案是 {} 个。", "答：{}", "故答案为：{}",
    "答えは{}です。", "答え：{}", "正解は {} です。", "したがって、答えは{}個です。", "最終的な答えは **{}** です。",
    "정답은 {}입니다.", "정답: {}", "따라서 답은 {}입니다.", "**정답: {}**", "최종 답은 {}이다.",
    "La respuesta es {}.", "Respuesta: {}", "Por lo tanto, la respuesta final es **{}**.", "La respuesta correcta es: {}",
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
    problem = make_problem("How many?", gold, options=options)
    answer = verifier.extract_answer(complete(text, prompt, THINKING), problem)
    rationale = make_rationale(problem, text, answer=answer, prompt=prompt)
    verdict = verifier.quick(problem=problem, rationale=rationale)
    assert verdict is not None, f"{text!r} goes to sympy as {answer!r}"
    return verdict


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
