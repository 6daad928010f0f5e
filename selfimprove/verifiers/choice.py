"""Multiple choice and short labels: the verifier."""

import re
from itertools import takewhile

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse
from selfimprove.verifiers.layout import lay_out
from selfimprove.verifiers.options import Options, fold, get_options, plain
from selfimprove.verifiers.pick_doubts import doubt_pick, second_named, settle_contrasts
from selfimprove.verifiers.pick_lines import read_last, read_lines, taken_back
from selfimprove.verifiers.picks import DECORATION, find_pieces, is_brackets, read_piece, strip_marks
from selfimprove.verifiers.thinking import strip_thinking

_BULLET = re.compile(r"^\s{0,9}(?:[-*•]|\d{1,4}[.)])\s{1,9}")


def _is_word(text: str) -> bool:
    return len(text.split()) == 1 and not text.endswith(":")


def _free_form(piece: str) -> str:
    """A sequence of brackets without spaces, or words without case; one word a line makes a list."""
    lines = piece.strip(DECORATION).split("\n")
    brackets = re.sub(r"[\s,.$`\"'\\]", "", lines[0])
    if is_brackets(brackets):
        return brackets
    first = " ".join(takewhile(_is_word, (_BULLET.sub("", line).strip(DECORATION) for line in lines))) or lines[0]
    return " ".join(fold(word) for word in re.split(r"[\s,]+", first.rstrip(".")) if word)


def _last_lines(text: str) -> str:
    """The last line that is not empty, or the lines of one word that end a text."""
    lines = [line for line in text.strip().split("\n")[-2000:] if line.strip()]
    at = len(lines) - 1
    while at > 0 and all(_is_word(_BULLET.sub("", lines[one]).strip()) for one in (at, at - 1)):
        at -= 1
    return "\n".join(lines[max(at, 0) :])


class ChoiceVerifier:
    """Compares options by letter or text, and lists of words or brackets where a question has no options."""

    name = "choice"
    version = 3

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        """`B`, an option's own text, or words; `A and B`, `not B` and `F` beyond the options are never correct."""
        if len(text) > MAX_TEXT:
            return None
        if self.settings.answers.strict:
            return self._extract_strict(text)
        text = self._prepare(text)
        if not problem.options:
            return self._extract_words(text)
        options = get_options(problem.options, problem.answer)
        text = strip_marks(text, options)
        text = settle_contrasts(text) if options.lettered else text
        found = self._pick(text, options)
        if not found or not options.lettered or found not in options.names:
            return found
        found = options.combine(" and ".join([found, *second_named(text, found, options)]))
        return doubt_pick(text, found, options, problem.question) if found in options.names else found

    def _pick(self, text: str, options: Options) -> str | None:
        """The option that a text picks, or several, or what it denies."""
        pieces = find_pieces(text)
        whole = [] if self.settings.stated else options.find(text.strip())  # "none of these answers is right"
        if whole:
            return options.name(whole)
        picks = [(read_piece(one, options), one.place) for one in pieces]
        named = [pick for pick, _ in picks if pick]
        if named and options.lettered and not named[-1].startswith("not "):
            last = max(at for pick, at in picks if pick)
            named += taken_back(text, last, named[-1], options)
        if named:
            kept = list(dict.fromkeys(pick for pick in named if not pick.startswith("not ")))
            joined = " and ".join(kept)
            if options.lettered:
                joined = options.combine(joined)
            return joined or named[-1]
        if self.settings.stated:
            return None
        settled, pick = read_lines(text, options)
        found = pick if settled else read_last(text, options)
        return options.combine(found) if found and options.lettered else found

    def _prepare(self, text: str) -> str:
        # The forms of compatibility may be many times longer than the text.
        return lay_out(plain(strip_thinking(text, self.settings.thinking))[-2 * MAX_TEXT :])

    def _extract_words(self, text: str) -> str | None:
        pieces = find_pieces(text)
        if pieces or self.settings.stated:
            return _free_form(pieces[-1].text) or None if pieces else None
        return _free_form(_last_lines(text)) or None

    def _extract_strict(self, text: str) -> str | None:
        text = strip_thinking(text, self.settings.thinking)
        pieces = find_pieces(text)
        if not pieces and self.settings.stated:
            return None
        lines = (pieces[-1].text if pieces else text.rstrip().rsplit("\n", 1)[-1]).strip().split("\n")
        return lines[0].strip().removesuffix(".") or None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return make_verdict(self, rationale, *self._judge(problem, rationale))

    def _judge(self, problem: Problem, rationale: Rationale) -> tuple[Outcome, str]:
        return refuse(problem, rationale, self.settings.thinking) or self._compare(problem, rationale)

    def _compare(self, problem: Problem, rationale: Rationale) -> tuple[Outcome, str]:
        expected, answered = problem.answer or "", rationale.answer or ""
        if problem.options:
            options = get_options(problem.options, problem.answer)
            at = options.expected(expected)
            if at is None:
                return "undecided", f"the expected answer {quote(expected)} is not one of the options"
            if not self.settings.answers.strict:
                return _compare_options(options, at, answered)
        elif not self.settings.answers.strict:
            expected = _free_form(plain(expected))
        if answered == expected:
            return "correct", f"answered {quote(answered)}"
        return "incorrect", f"answered {quote(answered)}, expected {quote(expected)}"


def _compare_options(options: Options, expected: int, answered: str) -> tuple[Outcome, str]:
    if answered == options.names[expected]:
        return "correct", f"answered {options.show(expected)}"
    if answered in options.names:
        at = options.names.index(answered)
        return "incorrect", f"answered {options.show(at)}, expected {options.show(expected)}"
    if answered.endswith("?") and answered[:-1] in options.names:
        return "undecided", f"asks for {quote(answered[:-1])} or supposes it, and does not pick it"
    if answered.startswith("not "):
        return "incorrect", f"says only what it is not: {quote(answered)}"
    several = dict.fromkeys(answered.split(" and "))
    if len(several) > 1:
        shown = [f"({one})" if options.lettered else quote(one) for one in several]
        return "incorrect", f"names {'two' if len(shown) == 2 else len(shown)} different options: {' and '.join(shown)}"
    return "incorrect", f"answered {quote(answered)[1:-1]}, which is no option"
