"""How different texts are, and what several samples are worth: figures that fall where a loop collapses."""

import math
import re
from collections.abc import Iterable, Sequence

CHUNK = 500  # runs of words: the share of different ones falls with the length of a text, so that all are counted so
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_STEP = re.compile(r"0|[-+*/=<>^×÷−%]")
OPENING = 3  # words of a line without numbers that stand for it


def pass_at(k: int, samples: int, passed: int) -> float:
    """The chance that one of k samples is right, without bias from n >= k of them: 1 - C(n - c, k) / C(n, k) (Chen et
    al., 2021, section 2.1)."""
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def distinct(texts: Iterable[str], size: int) -> float | None:
    """The share of different runs of words (distinct-n; Li et al., 2016), the mean over pieces of CHUNK runs, so that
    more texts are not less distinct; of one shorter piece where there are fewer, None where there is none."""
    shares, chunk = [], list[tuple[str, ...]]()
    for text in texts:
        words = _WORD.findall(text.casefold())
        for at in range(len(words) - size + 1):
            chunk.append(tuple(words[at : at + size]))
            if len(chunk) == CHUNK:
                shares.append(len(set(chunk)) / CHUNK)
                chunk = []
    if not shares and chunk:
        shares = [len(set(chunk)) / len(chunk)]
    return sum(shares) / len(shares) if shares else None


def skeleton(text: str) -> str:
    """The form of the steps of a text: each line with its numbers all alike and without its words; of a line without
    numbers its first words."""
    lines = (line for line in text.casefold().splitlines() if line.strip())
    return "\n".join(_form(line) for line in lines)


def _form(line: str) -> str:
    masked = _NUMBER.sub("0", line)
    if "0" in masked:
        return "".join(_STEP.findall(masked))
    return " ".join(_WORD.findall(masked)[:OPENING])


def quantiles(values: Sequence[float], shares: Sequence[float] = (0.1, 0.5, 0.9)) -> list[float]:
    """The values below which these shares lie, each a value that is there."""
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in shares] if ordered else []
