"""Mutants of the verifier: with each way of reading switched off, what of `outputs.jsonl` then gets another verdict.

    python tests/benchmarks/mutants.py

A mutant is a few words of the sources that are others, in a process of its own. It ends with status 1 where no output
of its kind tells a mutant from the verifier; words that are not found exactly once are an error.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale

OUTPUTS = Path(__file__).resolve().parents[1] / "verifiers" / "outputs.jsonl"


class Mutant(NamedTuple):
    """What is switched off, for outputs of which kind, and how: the words of a module, and those in their place."""

    kind: str
    what: str
    module: str
    old: str
    new: str


def _off(kind: str, what: str, module: str, signature: str, result: str) -> Mutant:
    """A mutant in which a function gives one result whatever it is given."""
    return Mutant(kind, what, module, signature, f"{signature}\n    return {result}")


MUTANTS = (
    Mutant("thinking", "blocks of thinking", "thinking",
        "if not _holds(text, compiled.signs):", "if True:"),
    Mutant("thinking", "a closing mark alone", "thinking", "answer = answer if closed_by else []", "answer = answer"),
    Mutant("announcements", "the answer is", "answers", 'if "ans" in lowered and (', "if False and ("),
    Mutant("announcements", "the line below", "answers", "found += _stated_above(text, lowered, whole)", "pass"),
    Mutant("announcements", "boxes", "answers", 'if "boxed" in text or "fbox" in text else []', "if False else []"),
    Mutant("announcements", "tags", "answers", 'if "<" in text else []', "if False else []"),
    Mutant("announcements", "JSON", "layout", 'if "{" in text and \'"\' in text:', "if False:"),
    Mutant("announcements", "code fences", "layout", 'if "```" in text or "~~~" in text:', "if False:"),
    Mutant("announcements", "signs and labels", "answers", "labelled = read_label(text, whole)", "labelled = None"),
    Mutant("announcements", "the answer first", "unannounced", "_read_first(plain, whole) or", ""),
    Mutant("announcements", "texts that are cut off", "unannounced", "if is_cut_off(line):", "if False:"),
    Mutant("announcements", "our answer is correct", "answers", "if not _NO_VALUE.match(one[\"said\"])", ""),
    Mutant("announcements", "if the answer were", "answers", "if found[\"denied\"] or before:", "if False:"),
    Mutant("announcements", "taken back", "math", "if len(text) - statements[-1].end > 4:", "if False:"),
    Mutant("announcements", "two answers", "math",
        "others = dict.fromkeys(one for one", "others = dict.fromkeys(one for one in () for one"),
    _off("running text", "half of", "modifiers", "def changes(before: str) -> bool:", "False"),
    _off("running text", "far from", "modifiers", "def relates(before: str) -> bool:", "False"),
    _off("running text", "step 3", "modifiers", "def names(before: str) -> bool:", "False"),
    _off("running text", "not sure whether", "modifiers", "def doubts(before: str, after: str) -> bool:", "False"),
    _off("running text", "first guess", "modifiers", "def is_denied_label(label: str) -> bool:", "False"),
    _off("running text", "questions", "modifiers", "def is_asked(line: str, start: int, end: int) -> bool:", "False"),
    Mutant("running text", "circumstances", "unannounced",
        "return bool(counts and _CIRCUMSTANCE", "return bool(False and _CIRCUMSTANCE"),
    Mutant("running text", "bounds", "hedges",
        "return _may_bound(clause) and _BOUND.search(clause) is not None", "return False"),
    Mutant("languages", "all of them", "answers", "for one in find_announcements(text)]", "for one in ()]"),
    Mutant("languages", "words beside the value", "announcements",
        "return any(one.isalpha() for one in left) or _BEHIND.match(after[:60]) is not None", "return False"),
    Mutant("languages", "bounds behind the value", "announcements", "or _BEHIND.match(after[:60]) is not None", ""),
    Mutant("languages", "words without a link", "announcements",
        'between = "" if found["link"].strip() else found["between"]', 'between = ""'),
    Mutant("languages", "thousands", "hedges", 'rf"\\s{{0,2}}(?:{SCALES})"\n    r"|', 'r"'),
    Mutant("languages", "denials", "answers",
        "is not None or is_negated(found.language, before, after)", "is not None"),
    Mutant("choices", "letters in bold, code and quotes", "picks",
        "return _FRAME.sub(", "return text if text else _FRAME.sub("),
    Mutant("choices", "a first letter that is explained", "pick_lines",
        "explained = _begins(lines, options) if", "explained = None if True or"),
    Mutant("choices", "each option judged", "pick_lines",
        "judged = _JUDGED.findall(text)[:MAX_ANNOUNCED] if", "judged = [] if True or"),
    Mutant("choices", "announcements", "picks", "pieces.append(Piece(", "(lambda one: None)(Piece("),
    Mutant("choices", "none of the above", "picks",
        "        kind = read_kind(line, options)\n        if kind:",
        "        kind = read_kind(line, options)\n        if False:"),
    Mutant("choices", "denials", "pick_lines",
        "if _NOT_BEFORE.search(before) or NOT_AFTER.match(line, end):", "if False:"),
    Mutant("choices", "taken back", "pick_lines",
        "found = [next(group for group in one.groups() if group) for one in _ALSO.finditer(tail)]", "return []"),
    Mutant("choices", "both A and C", "options", "if len(letters) > 1 else []", "if False else []"),
    Mutant("choices", "a letter beside another's text", "pick_lines",
        "return options.name([options.names.index(letter), *said]) if said else None", "return None"),
    _off("plain mathematics", "number words", "number_words",
        "def read_words(text: str) -> tuple[int | Fraction, bool, str] | None:", "None"),
    Mutant("plain mathematics", "signs of Unicode", "tokens", "if not text.isascii():", "if False:"),
    Mutant("plain mathematics", "mixed numbers", "expressions",
        'if before.kind == "number" and _is_mixed(whole, factors[-1]):', "if False:"),
    Mutant("plain mathematics", "units behind", "tokens",
        "return text[: behind.start()] if behind and", "return text[: behind.start()] if False and"),
    Mutant("plain mathematics", "matrices of programs", "equality", "said = as_matrix(said)", "pass"),
    Mutant("plain mathematics", "100,000 is no list", "math",
        'if extracted is not None and "," in answer and', "if False and"),
    Mutant("plain mathematics", "intervals", "equality",
        "ranges = find_range(expected), find_range(said)", "ranges = None, None"),
    Mutant("equality", "values in a field", "equality",
        "if first == other:\n            return True", "if False:\n            return True"),
    Mutant("equality", "rounded fractions", "equality", "how = rounded(*values)", 'how = ""'),
    Mutant("equality", "time of day", "math", "compare_times(gold, answer)\n", "None\n"),
    Mutant("equality", "x = 3 beside 3", "math", "gold, answer = without_variable(gold, without_frame(gold, answer))",
        "answer = without_frame(gold, answer)"),
    Mutant("announcements", "the letter of an option", "frames",
        "if option and not _OPTION.match(gold):", "if False:"),
    Mutant("plain mathematics", "names of values", "frames", "return gold, named[1].strip() if named else answer",
        "return gold, answer"),
    Mutant("plain mathematics", "what a sentence says is a formula", "math",
        "formula = said and read_number(said) is None", "formula = False and read_number(said) is None"),
    Mutant("plain mathematics", "a U between intervals", "tokens", 'if "U" in text else text', "if False else text"),
    Mutant("announcements", "a sentence behind an announcement", "answers",
        "said = _read_sentence(text, said) if not whole else said", ""),
    Mutant("announcements", "announcements that ask", "answers", "if ASKED.match(text, said.end):", "if False:"),
    Mutant("languages", "announcements that ask", "answers",
        "changed = ASKED.match(text, said.end) is not None or is_negated", "changed = is_negated"),
    Mutant("announcements", "offers at the end", "unannounced",
        'if "\\n" not in kept or not (_OFFERS.match(line) or not line.strip()):', "if True:"),
    Mutant("announcements", "a check at the end", "unannounced",
        "if any(one in kept for one in _CHECKING) else None", "if False else None"),
    _off("running text", "that there is no answer", "modifiers",
        "def gives_up(line: str, start: int, end: int) -> bool:", "False"),
    Mutant("running text", "two units", "hedges", "if unit and not join.strip() else None", "if False else None"),
    Mutant("numbers", "0.333...", "numbers", 'if "..." in text or "…" in text:', "if False:"),
    Mutant("numbers", "marks of direction", "numbers", 'if "\\u202c" in text or "\\u2069" in text:', "if False:"),
    Mutant("numbers", "number words in a sentence", "math",
        "return self._find_words(problem, rationale) or refused", "return refused"),
    Mutant("thinking", "what follows the end of the text", "layout",
        "text[: end.start()] if end else text", "text"),
    Mutant("choices", "ticks", "pick_lines", "for marked in (_BOX, _TICKED):", "for marked in ():"),
    Mutant("choices", "the second one", "pick_lines", 'if _PLACE.fullmatch(line.rstrip(".!")):', "if False:"),
    Mutant("equality", "ratios", "equality", 'if "ratio" in (expected.op, said.op):', "if False:"),
    Mutant("equality", "what holds everywhere", "equality",
        "return expected.op == said.op and self.same_relation(expected, said)", "return expected.op == said.op"),
    Mutant("numbers", "decimal commas", "compare",
        "if expected is not None and has_one_reading(answer)", "if False and has_one_reading(answer)"),
    Mutant("numbers", "1.234,5", "numbers", 'if found["continental"]:', "if False:"),
    Mutant("equality", "percent", "compare", "if share.value == plain.value * 100:", "if False:"),
    Mutant("numbers", "a time of day", "compare",
        'return undecided(gold, answer, "a time of day, where a number is expected")', "return None"),
    Mutant("numbers", "control characters", "numbers",
        "if len(encoded.translate(None, _CONTROL_BYTES)) != len(encoded):", "if False:"),
    Mutant("numbers", "scales", "numbers", 'if found["scale"]:', "if False:"),
    Mutant("steps", "emphasis", "reasoning.claims",
        "tokens = drop_emphasis(self.text, tokenize(self.text, start, end))",
        "tokens = tokenize(self.text, start, end)"),
    Mutant("steps", "labels", "reasoning.claims", "skip_label(text, start, end), end", "start, end"),
    Mutant("steps", "equations over lines", "reasoning.markup",
        "if start > begun and not _CONTINUES.match(line):", "if start > begun:"),
    Mutant("steps", "doubts", "reasoning.doubts",
        "if any(side.doubtful or side.loose > MAX_LOOSE",
        "return False\n        if any(side.doubtful or side.loose > MAX_LOOSE"),
    Mutant("steps", "suppositions", "reasoning.doubts", " or self.is_supposed(start, end):", ":"),
    Mutant("steps", "points between thousands", "reasoning.doubts", " or self.is_continental(sides)", ""),
    Mutant("steps", "floating-point numbers", "reasoning.equality", "if is_float(value, size, written):", "if False:"),
    Mutant("steps", "rounding", "reasoning.equality",
        "note = self.rounding(left, lefts, right, sign) or self.rounding(right, rights, left, sign)", 'note = ""'),
    Mutant("steps", "units that count", "reasoning.equality", "if self.scaled(left, right):", "if False:"),
    Mutant("steps", "running totals", "reasoning.equality",
        "if right.operators and self.head(right) & set(lefts):", "if False:"),
    Mutant("steps", "words", "reasoning.claims", "or (WORD_SIGN.search(line) and WORD_OPERATOR.search(line))", ""),
    _off("choices", "between B and D", "pick_doubts", "def settle_contrasts(text: str) -> str:", "text"),
    _off("choices", "C does too", "pick_doubts",
        "def second_named(text: str, pick: str, options: Options) -> list[str]:", "[]"),
    _off("choices", "B?", "pick_doubts",
        "def doubt_pick(text: str, pick: str, options: Options, question: str) -> str:", "pick"),
    _off("ratios", "3 to 4", "predicates", "def read_ratio(line: str) -> str:", "''"),
    _off("ratios", "3 in 4", "predicates", "def read_share(line: str) -> str:", "''"),
    Mutant("ratios", "a number beside a ratio", "equality",
        'if same and value.op in ("number", "decimal", "percent"):', "if False:"),
    Mutant("numbers", "minus 5", "numbers", "signed = SIGN_WORD.match(plain)", "signed = None"),
    Mutant("choices", "one of the wrong ones", "pick_doubts", "return pick if asked", "return pick if True"),
    Mutant("choices", "an option's part in brackets", "pick_lines", "noted = _NOTED.fullmatch(line)", "noted = None"),
    _off("clock", "the time that a sentence ends on", "predicates", "def read_clock(line: str) -> str:", "''"),
    _off("clock", "half past three", "readings", "def _read_spoken(plain: str) -> tuple[int, str] | None:", "None"),
    _off("counting", "5C2", "counting", "def read_counts(tokens: list[Token]) -> list[Token]:", "tokens"),
    _off("counting", "5! for 120", "compare",
        "def compare_exclaimed(gold: str, text: str, statement: Statement) -> Judgement | None:", "None"),
)  # fmt: skip


class Mutating(SourceFileLoader, MetaPathFinder):
    """Finds one module, with other words in its source."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.module = mutant, f"selfimprove.verifiers.{mutant.module}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module or (spec := PathFinder.find_spec(fullname, path)) is None or spec.origin is None:
            return None
        SourceFileLoader.__init__(self, fullname, spec.origin)
        spec.loader = self
        return spec

    def get_code(self, fullname: str) -> Any:
        source = Path(self.path).read_text(encoding="utf-8")
        if source.count(self.mutant.old) != 1:
            raise ValueError(f"{self.mutant.what}: {source.count(self.mutant.old)} times {self.mutant.old!r}")
        return compile(source.replace(self.mutant.old, self.mutant.new), self.path, "exec")


def find_other(rows: list[dict[str, Any]], asked: set[str]) -> tuple[str, list[str]]:
    """The first output whose verdict is not what it must be, or nothing, and those for which a worker is asked.

    Workers are not started here; only the outputs in `asked` may want one.
    """
    from selfimprove.verifiers.choice import ChoiceVerifier
    from selfimprove.verifiers.math import MathVerifier
    from selfimprove.verifiers.steps import check_steps

    verifiers = MathVerifier(VerifierSettings(name="math")), ChoiceVerifier(VerifierSettings(name="choice"))
    other, worker = "", list[str]()
    for row in rows:
        if "steps" in row:
            same = [step.outcome for step in check_steps(row["text"]).steps] == row["steps"]
        else:
            verifier = verifiers["options" in row]
            options = tuple(row.get("options", ()))
            problem = Problem(question="How many?", answer=row["gold"], task="mutants", options=options)
            rationale = Rationale(
                parents=(problem.id, "mutants"), prompt="", text=row["text"],
                answer=verifier.extract_answer(row["text"], problem), origin="sampled", round=0, sample=0, seed=0,
                temperature=0.0, top_p=1.0, tokens=1, logprob=0.0, finish="stop",
            )  # fmt: skip
            found = verifier.quick(problem=problem, rationale=rationale)
            worker += [row["text"]] * (found is None)
            same = row["text"] in asked if found is None else found.outcome == row["outcome"]
        if not same and not other:
            other = str(row["text"])
    return other, worker


def try_mutant(mutant: Mutant, rows: list[dict[str, Any]], asked: set[str]) -> tuple[str, list[str]]:
    """The output that a mutant gets wrong, or nothing where it survives, by `find_other` in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            sys.meta_path.insert(0, Mutating(mutant))
            said = find_other(rows, asked)
        except ValueError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(2)
        except Exception as error:  # a mutant that breaks is told from the verifier
            said = f"{type(error).__name__}: {error}", []
        with os.fdopen(writing, "w") as out:
            json.dump(said, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        written = answer.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(2)
    other, worker = json.loads(written)
    return other, worker


def main() -> None:
    rows = [json.loads(line) for line in OUTPUTS.read_text(encoding="utf-8").splitlines()]
    survived = False
    print("| kind | switched off | an output that is then judged wrongly |")
    print("|---|---|---|")
    asked: dict[str, set[str]] = {}
    for kind in sorted({row["kind"] for row in rows}):
        nothing = Mutant(kind, "nothing", "base", "MAX_TEXT = 50_000", "MAX_TEXT = 50_000")
        mine = [row for row in rows if row["kind"] == kind]
        found, worker = try_mutant(nothing, mine, {row["text"] for row in mine})
        asked[kind] = set(worker)
        if found:
            raise SystemExit(f"without any mutant an output of {kind} is judged wrongly: {found!r}")
    for mutant in MUTANTS:
        found, _ = try_mutant(mutant, [row for row in rows if row["kind"] == mutant.kind], asked[mutant.kind])
        survived |= not found
        shown = f"`{found[:60]!r}`".replace("|", "\\|") if found else "**none**"
        print(f"| {mutant.kind} | {mutant.what} | {shown} |", flush=True)
    raise SystemExit(survived)


if __name__ == "__main__":
    main()
