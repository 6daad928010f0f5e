"""How texts announce an answer in other languages than English: the words of each, as data, and one matcher for all.

Weighed against a parser or a language detector: announcements are two or three fixed words ("la respuesta es"), so a
table that anyone can read and extend does it; a library would add a model and still need the words. English is read in
`answers` and `picks`, with its denials and hedges, which are not read here: what is in doubt is undecided.
"""

import re
from functools import cache
from typing import NamedTuple

from selfimprove.verifiers.layout import LETTER
from selfimprove.verifiers.numbers import MONEY

MAX_ANNOUNCED = 50  # of a text with more announcements the last ones are read
NEAR = 16  # characters before a noun, or after a value, that may deny it


class Language(NamedTuple):
    """The words of one language, in lower case, as they are found in a text."""

    name: str
    nouns: tuple[str, ...]
    """What an answer is called; up to three words may follow before the link, such as "to the question"."""
    links: tuple[str, ...]
    """What joins it to its value; a colon or an equals sign always does, and where there is "" nothing must."""
    options: tuple[str, ...] = ()
    """What the right option of a multiple choice is called."""
    leads: tuple[str, ...] = ()
    """What may stand before an option's letter: "the letter"."""
    supposed: tuple[str, ...] = ()
    """What makes it no answer, right before the noun or between it and the link: "if the", "wrong"."""
    negations: tuple[str, ...] = ()
    """What says before a value that it is not the answer."""
    denials: tuple[str, ...] = ()
    """What says it after the value."""
    about: tuple[str, ...] = ()
    """What may stand between the link and its value and says no other number: "approximately", "a total of"."""
    spaced: bool = True
    """Whether spaces separate its words."""


LANGUAGES = (
    Language(
        "Chinese", ("答案", "答"),
        ("就是", "应该是", "應該是", "应为", "應為", "是", "为", "為", "等于", "等於", ""),
        ("正确选项", "正確選項", "正确的选项", "正確的選項",
         "我选择", "我選擇", "应选", "應選", "故选", "故選", "选择", "選擇"),
        ("选项", "選項", "选择", "選擇", "选", "選"),
        ("错误", "錯誤", "错误的", "錯誤的", "如果", "假如", "假设", "假設", "解", "回", "问", "問"),
        ("不", "并非", "並非", "没"),
        about=("约", "約", "大约", "大約", "约为", "約為", "总共", "總共", "一共", "共有", "共",
               "是", "为", "為"),
        spaced=False),
    Language(
        "Japanese", ("答え", "こたえ", "回答", "正解"), ("は", "が"), ("正しい選択肢", "正しい選択", "選択肢"),
        ("選択肢", "記号", "の"), ("もし", "誤った", "間違った", "不"), (),
        ("ではな", "じゃな", "ではあり", "じゃあり"),
        about=("約", "およそ", "合計", "全部で", "ちょうど"), spaced=False),
    Language(
        "Korean", ("정답", "답"), ("은", "는", "이", "가"),
        ("올바른 선택지", "올바른 선택", "선택지"), ("선택지", "보기", "옵션"),
        ("만약", "틀린", "오"), (), ("아니", "아닙", "아닌"),
        about=("약", "총", "모두", "정확히")),
    Language(
        "Spanish", ("respuestas", "respuesta"), ("es", "son", "sería", "será"),
        ("opción correcta", "alternativa correcta", "opcion correcta", "elijo", "la correcta"),
        ("la opción", "la opcion", "opción", "opcion", "la letra", "letra", "alternativa", "inciso", "la", "el"),
        ("si la", "incorrecta", "errónea", "falsa", "equivocada"), ("no", "ni", "nunca"),
        about=("aproximadamente", "unos", "unas", "exactamente", "simplemente", "entonces", "igual a",
         "un total de", "de", "el número", "el valor", "la fracción")),
    Language(
        "French", ("réponses", "réponse", "reponse"),
        ("est donc", "n'est pas", "n’est pas", "est", "sont", "serait", "vaut"),
        ("bonne option", "option correcte", "bon choix", "choix correct"),
        ("la réponse", "l'option", "l’option", "option", "la lettre", "lettre", "le choix", "choix", "la", "le"),
        ("si la", "mauvaise", "fausse", "incorrecte"), ("pas", "ni", "jamais", "n'est pas", "n’est pas"),
        about=("environ", "exactement", "donc", "égale à", "égal à", "un total de", "de", "le nombre",
         "la valeur", "simplement")),
    Language(
        "German", ("antwort", "endergebnis"),
        ("lautet also", "lautet daher", "lautet", "ist also", "ist daher", "ist", "sind", "wäre", "beträgt"),
        ("richtige option", "richtige auswahl", "richtig ist"),
        ("die option", "option", "antwort", "der buchstabe", "buchstabe", "die", "der"),
        ("wenn die", "falls die", "falsche"), ("nicht", "kein", "keine", "weder", "nie"),
        about=("etwa", "ungefähr", "circa", "rund", "genau", "also", "somit", "daher", "gleich", "insgesamt",
         "einfach", "die zahl")),
    Language(
        "Russian", ("ответом", "ответ"),
        ("это", "равен", "равно", "является", "будет", "составляет", "—", "–", "-", ""),
        ("правильный вариант", "верный вариант", "вариант"), ("вариант", "под буквой", "буква", "пункт"),
        ("если", "неправильный", "неверный"), ("не", "ни", "нет"),
        about=("примерно", "около", "ровно", "равен", "равно", "число", "всего")),
    Language(
        "Portuguese", ("respostas", "resposta"), ("é", "são", "será", "seria"),
        ("opção correta", "alternativa correta", "opcao correta", "opção certa"),
        ("a opção", "opção", "opcao", "a letra", "letra", "a alternativa", "alternativa", "a", "o"),
        ("se a", "incorreta", "errada"), ("não", "nao", "nem", "nunca"),
        about=("aproximadamente", "cerca de", "exatamente", "igual a", "um total de", "de", "portanto",
         "então", "o número")),
    Language(
        "Italian", ("risposta", "risposte"), ("è", "e'", "e’", "é", "sono", "sarebbe", "sarà"),
        ("opzione corretta", "scelta corretta", "opzione giusta"),
        ("l'opzione", "l’opzione", "opzione", "la lettera", "lettera", "la", "il"), ("se la", "sbagliata", "errata"),
        ("non", "né", "mai"),
        about=("circa", "esattamente", "quindi", "dunque", "uguale a", "un totale di", "di", "il numero")),
    Language(
        "Arabic", ("الجواب", "الإجابة", "الاجابة", "إجابة", "جواب"), ("هو", "هي", "يساوي", "تساوي", "ليس", "ليست", ""),
        ("الخيار الصحيح", "الاختيار الصحيح"), ("الخيار", "الحرف", "هو", "هي"),
        ("إذا كان", "إذا كانت", "الخاطئة", "الخاطئ"), ("ليس", "ليست", "لا", "غير"),
        about=("حوالي", "تقريبا", "تقريبًا", "هو", "هي", "العدد", "النهائي", "النهائية", "الصحيح", "الصحيحة")),
    Language(
        "Hindi", ("उत्तर", "जवाब"), ("है", "होगा", ""), ("सही विकल्प",), ("विकल्प", "है"), ("यदि", "अगर", "गलत", "ग़लत"),
        ("नहीं",), ("नहीं",),
        about=("लगभग", "कुल", "है", "होगा")),
    Language("Dutch", ("antwoord",), ("is", "luidt"), ("juiste optie", "juiste keuze"), ("optie", "letter", "de"),
             ("als het", "foute", "verkeerde"), ("niet", "geen"),
        about=("ongeveer", "precies", "dus", "gelijk aan", "in totaal")),
    Language("Polish", ("odpowiedź", "odpowiedzią"), ("to", "jest", "brzmi"), ("poprawna opcja",), ("opcja", "litera"),
             ("jeśli", "błędna"), ("nie", "ani"),
        about=("około", "dokładnie", "równa", "równe")),
    Language("Turkish", ("cevabı", "cevap", "yanıt"), ("şudur", ""), ("doğru seçenek", "doğru şık"), ("seçenek", "şık"),
             ("eğer", "yanlış"), (), ("değil",),
        about=("yaklaşık", "tam", "toplam")),
    Language("Vietnamese", ("đáp án", "câu trả lời", "đáp số"), ("là",), ("phương án đúng",), ("phương án", "lựa chọn"),
             ("nếu", "sai"), ("không",),
        about=("khoảng", "đúng", "bằng")),
    Language("Indonesian", ("jawabannya", "jawaban"), ("adalah", "ialah", "bukan"), ("pilihan yang benar",),
             ("opsi", "pilihan"),
             ("jika", "salah"), ("bukan", "tidak"),
        about=("sekitar", "tepat", "total")),
    Language("Ukrainian", ("відповідь",), ("це", "є", "дорівнює", "—", "–", "-", ""), ("правильний варіант",),
             ("варіант",), ("якщо", "неправильна"), ("не", "ні"),
        about=("приблизно", "близько", "рівно")),
    Language("Persian", ("پاسخ", "جواب"), ("برابر است با", "برابر با", ""), ("گزینه صحیح", "گزینه درست"), ("گزینه",),
             ("اگر", "غلط"), (), ("نیست",),
        about=("حدود", "تقریبا", "است", "عدد", "نهایی", "صحیح")),
    Language("Hebrew", ("התשובה", "תשובה"), ("היא", "הוא", "אינה", "אינו", ""), ("האפשרות הנכונה",),
             ("אפשרות",), ("אם", "השגויה"),
             ("לא", "אינה", "אינו"),
        about=("בערך", "בדיוק", "הסופית", "הנכונה")),
    Language("Greek", ("απάντηση",), ("είναι",), ("σωστή επιλογή",), ("επιλογή", "το", "η"), ("αν η", "λάθος"),
             ("δεν", "όχι"),
        about=("περίπου", "ακριβώς")),
    Language("Thai", ("คำตอบ",), ("คือ", "เป็น", "ไม่ใช่"), ("ตัวเลือกที่ถูกต้อง", "ข้อที่ถูกต้อง"),
             ("ข้อ", "ตัวเลือก"), ("ถ้า", "ผิด"), ("ไม่",),
             about=("ประมาณ",), spaced=False),
    Language("Bengali", ("উত্তর",), ("হল", "হলো", "হবে", ""), ("সঠিক বিকল্প",), ("বিকল্প",), ("যদি", "ভুল"), (),
             ("নয়", "না"),
        about=("প্রায়", "মোট")),
)  # fmt: skip
# Between an announcement and its value: marks, money, commands that hold a value, and the letter that has it.
_MARKS = re.compile(rf"\\[A-Za-z]{{1,12}}|{MONEY}|(?<![^\W\d_])[A-Za-z]\w?\s?(?:\([A-Za-z]\)\s?)?(?:=|≈)|[^\w]|_")
# Behind a value, and behind what it counts: a bound, a second value, or what is computed from it.
_BEHIND = re.compile(
    r"\s?[぀-ヿ一-鿿가-힣]{0,3}?(?:的\s?[\d两兩二三四一半倍平立]|以[上下内內]|未満|より|の\s?[\d二三四半倍逆平]"
    r"|의\s?(?:[\d두세네반절제]|역수)|\s?(?:이상|이하|미만|초과|보다))"
    r"|(?:\s[^\W\d_]{1,12})?\s(?:o|ou|oder|или|або|of|lub|veya|hoặc|atau|או|أو|या|یا)\s\w"
    r"|\s?(?:से\s(?:अधिक|कम|ज़्यादा|ज्यादा|बड़ा|छोटा)|का\s(?:[^\W\d_]|[ऀ-ॿ]){1,12}|على الأقل|فأكثر|trở lên|trở xuống|ขึ้นไป)"
    r"|['’]?(?:den|dan|ten|tan)\s(?:fazla|az|büyük|küçük)"
)
_LATIN = tuple(one for one in LANGUAGES if any(noun.isascii() for noun in one.nouns))
_NOUNS = tuple(dict.fromkeys(noun for one in LANGUAGES for noun in one.nouns))
_NOUNS = tuple(one for one in _NOUNS if not any(other in one for other in _NOUNS if other != one))
_ASCII_NOUNS = tuple(one for one in _NOUNS if one.isascii())


class Announcement(NamedTuple):
    """The place of an announcement's words, where its value begins, and what makes it none."""

    start: int
    end: int
    language: Language
    supposed: bool = False
    between: str = ""
    """The words after the noun, where no link separates them from the value."""


def find_announcements(text: str, *, options: bool = False) -> list[Announcement]:
    """The announcements of a text in order, with those of an option if these are asked for. The time is linear."""
    lowered = text.lower()
    found: list[Announcement] = []
    ascii = text.isascii()
    if not options:
        for noun in _ASCII_NOUNS if ascii else _NOUNS:
            if noun in lowered:
                break
        else:
            return found
    for language in _LATIN if ascii else LANGUAGES:
        words = language.nouns + language.options if options else language.nouns
        if any(word in lowered for word in words):
            matches = list(_compile(language, options).finditer(text))[-MAX_ANNOUNCED:]
            found += [_announce(text, one, language) for one in matches]
    supposed = {one.end for one in found if one.supposed}  # languages share words
    kept: list[Announcement] = []
    for one in sorted(found, key=lambda one: (one.start, len(one.between), one.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one._replace(supposed=one.end in supposed))
    return kept[-MAX_ANNOUNCED:]


def _announce(text: str, found: re.Match[str], language: Language) -> Announcement:
    between = "" if found["link"].strip() else found["between"]
    return Announcement(found.start(), found.end(), language, _supposed(text, found, language), between)


def is_negated(language: Language, before: str, after: str) -> bool:
    """Whether the words around a value say in this language that it is not the answer."""
    return _holds(before, language.negations, language.spaced) or any(one in after[:NEAR] for one in language.denials)


def is_changed(language: Language, before: str, after: str) -> bool:
    """Whether words beside a value may make another number of it: what is not known to say none may."""
    left = _MARKS.sub(" ", before).strip().lower()
    while found := _about(language).match(left):
        left = left[found.end() :].lstrip()
    return any(one.isalpha() for one in left) or _BEHIND.match(after[:60]) is not None


def _supposed(text: str, found: re.Match[str], language: Language) -> bool:
    before = text[max(0, found.start() - NEAR) : found.start()].rstrip().lower()
    between = found["between"].lower()
    said = between + found["link"].lower()
    return before.endswith(language.supposed) or _holds(said, language.supposed + language.negations, language.spaced)


def _holds(text: str, words: tuple[str, ...], spaced: bool) -> bool:
    if not spaced:
        return any(one in text for one in words)
    said = text.lower().replace(",", " ").split()
    return any(one in said or (" " in one and one in text.lower()) for one in words)


def strip_lead(language: Language, piece: str) -> str:
    """What follows an announcement without the words before an option's letter."""
    return _leads(language).sub("", piece, count=1)


def _alternatives(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(one) for one in sorted(words, key=len, reverse=True) if one) or "(?!)"


@cache
def _about(language: Language) -> re.Pattern[str]:
    end = r"(?![^\W\d_])" if language.spaced else ""
    return re.compile(rf"(?:{_alternatives(language.about)}){end}")


@cache
def _leads(language: Language) -> re.Pattern[str]:
    space = r"\s{1,3}" if language.spaced else r"\s{0,3}"
    return re.compile(rf"(?:(?:{_alternatives(language.leads)}){space}){{1,3}}", re.IGNORECASE)


@cache
def _compile(language: Language, options: bool) -> re.Pattern[str]:
    nouns = _alternatives(language.nouns + language.options if options else language.nouns)
    links = _alternatives(language.links)
    if language.spaced:
        # Korean sets its particles without a space.
        linked = rf"(?:\s{{1,3}}|(?<=[가-힣]))(?:{links})(?![^\W\d_])"
        direct = r"|\s{1,3}(?=[-$*(\\\d]|(?-i:[A-Z])(?![a-z]))" if "" in language.links else ""
        begin, between = r"(?<![A-Za-z])", r"(?:\s[^\W\d_]{1,20}){0,3}?"
        link = rf"\s{{0,3}}[:=→]|{linked}{direct}"
    else:
        begin, between = "", f"{LETTER}{{0,6}}?"
        direct = r"|(?=[*(]{0,2}(?:\d|(?-i:[A-Z])(?![A-Za-z])))" if "" in language.links else ""
        link = rf"\s{{0,3}}(?:[:=→]|{links}{direct})"
    return re.compile(
        rf"{begin}(?:{nouns})(?P<between>{between})[\"'*_`)]{{0,3}}(?P<link>{link})[\s:,=*_]{{0,6}}", re.IGNORECASE
    )
