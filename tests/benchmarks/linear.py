"""CPU time of what reads whole texts, by doubling them from 250 KB to 1 MB, on pieces that patterns begin with.

    python tests/benchmarks/linear.py [--sizes 250000 500000 1000000] [--last PIECES] [--parts NAMES]

Verifiers refuse texts over 50,000 characters; here each part is called without that bound. Time that grows with the
text has a factor of 4 from the first column to the last, one that grows with its square 16. Every piece is tried at
full length; the slowest, and each that takes over 0.2 s, at the other lengths too. It ends with status 1 where one of
those has a factor over 8.
"""

import argparse
import gc
import time
from collections.abc import Callable

from selfimprove.recipe.task_settings import THINKING
from selfimprove.verifiers.announcements import find_announcements
from selfimprove.verifiers.answers import _find, prepare
from selfimprove.verifiers.numbers import find_numbers
from selfimprove.verifiers.options import Options
from selfimprove.verifiers.pick_doubts import doubt_pick, second_named, settle_contrasts
from selfimprove.verifiers.pick_lines import read_last, read_lines
from selfimprove.verifiers.picks import find_pieces
from selfimprove.verifiers.predicates import read_clock, read_predicate, read_ratio, read_share
from selfimprove.verifiers.reasoning.claims import find_claims
from selfimprove.verifiers.text import extract_text
from selfimprove.verifiers.thinking import strip_thinking

SIZES = (250_000, 500_000, 1_000_000)
SLOW = 0.2  # seconds; what takes less is measured too roughly to tell its growth
PIECES = (
    "1", "1 111 ", "1,000", "1.111", "1/", "$ ", "$1", "\\(", "\\[", "$$", "\\boxed{", "\\boxed{1} ", "{", '{"a":', "<",
    "<think>", "</think>", "<answer>", "◁", "answer is ", "answer: 1=", "A: ",
    "\nA: 1", "\n= ", "=> ", "∴ ", "**", "*1* ",
    " *a", "```\n", "答案", "la respuesta ", "ответ ", "الجواب ", "1 or ", "wait 1 ", "####", "#### 1\n",
    "\\\\ ", "& ", "(1) ",
    " ", "\n", "a_{", "\\begin{align*}", "1 and ", "twenty ", "half of 1 ", "is it 1? ", "step 1 ", "not sure 1 ",
    "答案1以上", "la respuesta mil 1 ", "B over A. ", "almost B. ", "B? No. ", "A - 1 - ", "; b) 1 = ", "if 1 + 1 = 3 ",
    "1.000 + 1 = ", "Both A and B, ", "1 roots of the equation 1 ", "1 is the ", "a = 1! + ", "0.5 or 50% ",
    "1⁄1 (1 a) ", "40/45 * 1 = ", "x + y = 1 ", "It's 1, ",
    "cannot know 1 ", "[x] B ", "1. a ✅\n", "Check: 1\n", "let me know\n", "0.33", "0.33... ", "the a is ",
    "\u202b1\u202c", "only B fits ", "(A) 1 ", "</s>", "answer: a 1 b 2 ", "is 1? ",
    "Between A, B, ", "B and C, ", "Is it B or ", "B as well as ", "if A is wrong, ", "B, maybe C", "{}_5C_2 ",
    "C(5,2)", "5 choose ", "1 to ", "ratio of ", "it is at ", "5! = ", "half past ",
    "1 in 4 ", "a chance of one out of ", "among the wrong ones a ", "B is the a of the wrong ", "B (a", "minus 1 ",
    "A is not so B ", "B; C a ", "statement in B ",
)  # fmt: skip
OPTIONS = Options(("harbour", "library", "market", "Both A and B"), lettered=True)
PARTS: dict[str, Callable[[str], object]] = {
    "strip_thinking": lambda text: strip_thinking(text, THINKING),
    "prepare": lambda text: prepare(text, THINKING),
    "find_announcements": lambda text: find_announcements(text, options=True),
    "find_statements": lambda text: _find(text, False, False),  # what is behind `find_statements`, which remembers
    "find_numbers": find_numbers,
    "extract_text": extract_text,
    "find_claims": find_claims,
    "picks": lambda text: (find_pieces(text), read_lines(text, OPTIONS), read_last(text, OPTIONS)),
    "pick_doubts": lambda text: (
        settle_contrasts(text),
        second_named(text, "B", OPTIONS),
        doubt_pick(text, "B", OPTIONS, ""),
    ),
    "predicates": lambda text: (read_predicate(text), read_ratio(text), read_share(text), read_clock(text)),
}


def seconds(part: Callable[[str], object], piece: str, size: int) -> float:
    text = piece * (size // len(piece))  # whole pieces: a last one that is cut off may be read in another way
    started = time.process_time()
    part(text)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=3, default=SIZES, help="characters, each twice the one before")
    parser.add_argument("--last", type=int, default=len(PIECES), help="only the last pieces of the list")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    sizes, pieces = options.sizes, PIECES[-options.last :]
    gc.disable()  # a pass over millions of tokens is none of the part's work
    slow = False
    print(f"| part | piece | {' | '.join(f'{size:,}' for size in sizes)} | factor |")
    print("|---|---|---:|---:|---:|---:|")
    for name in options.parts:
        part = PARTS[name]
        last: dict[str, float] = {}
        for piece in pieces:
            last[piece] = seconds(part, piece, sizes[-1])
            gc.collect()
        slowest = max(last, key=lambda piece: last[piece])
        worst = 0.0
        for piece in [one for one in pieces if one == slowest or last[one] > SLOW]:
            found = [min(seconds(part, piece, size) for _ in range(2)) for size in sizes[:-1]]
            found.append(min(last[piece], seconds(part, piece, sizes[-1])))  # what the machine does beside it only adds
            gc.collect()
            factor = found[-1] / max(found[0], 1e-9)
            worst = max(worst, factor)
            slow |= found[-1] > SLOW and factor > 8
            if piece == slowest or factor > 8:
                times = " | ".join(f"{one:.2f} s" for one in found)
                print(
                    f"| {name} | `{piece!r}`{' (the slowest)' * (piece == slowest)} | {times} | {factor:.1f} |",
                    flush=True,
                )
        over = sum(one > SLOW for one in last.values())
        print(f"| {name} | {over} of {len(last)} over {SLOW} s | | | | at most {worst:.1f} |", flush=True)
    raise SystemExit(slow)


if __name__ == "__main__":
    main()
