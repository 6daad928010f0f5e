"""Pairs of responses that people compared, from ratings; and how far the people agree."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from selfimprove.people.ratings import TIE, Rating, sets_of
from selfimprove.records import PEOPLE


@dataclass(frozen=True)
class Compared:
    """Two responses that one person compared; the first one's name is the lower one, so that order says nothing."""

    first: Rating
    second: Rating
    outcome: float
    """1 where the first is preferred, 0.5 for a tie, 0 where the second is."""
    weight: float
    """1/(K - 1) of the K that were rated at once: each response counts once, however many it was rated with
    (InstructGPT; Ouyang et al., 2022, section 3.5)."""

    @property
    def rater(self) -> str:
        return self.first.rater

    @property
    def key(self) -> tuple[str, str, str]:
        return self.first.item, self.first.response, self.second.response


def compare_ratings(ratings: Iterable[Rating], tie: float = TIE) -> list[Compared]:
    """All pairs that were rated at once, K(K - 1)/2 of K; of two that nothing is said of none."""
    found = []
    for rated in sets_of(ratings):
        ordered = sorted(rated, key=lambda one: one.response)
        for first, second in combinations(ordered, 2):
            outcome = decide(first, second, tie)
            if outcome is not None:
                found.append(Compared(first, second, outcome, 1 / (len(ordered) - 1)))
    return found


def decide(first: Rating, second: Rating, tie: float = TIE) -> float | None:
    """Which of two is preferred, as `Compared.outcome`; None where the person did not say.

    Scores within `tie` points are a tie. One that has a rank is preferred to one without, and of two that were not
    chosen nothing is known.
    """
    if first.score is not None and second.score is not None:
        ahead = first.score - second.score
        return 0.5 if abs(ahead) <= tie else float(ahead > 0)
    if first.rank is not None or second.rank is not None:
        one, two = (rated.rank if rated.rank is not None else 1001 for rated in (first, second))
        return 0.5 if one == two else float(one < two)
    if first.choice == second.choice or None in (first.choice, second.choice):
        return None
    return float(bool(first.choice))


def pair_rows(compared: Sequence[Compared], cohort: str = "") -> Iterator[dict[str, object]]:
    """Pairs in the columns that `prefer.files` reads, each once: the text that more people prefer is chosen, `margin`
    is by how much (|2p - 1| of the share p), `weight` the sum of their weights. What is even, or one text, is left
    out."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one in compared:
        prompt, texts = one.first.prompt, (one.first.text, one.second.text)
        if not prompt.strip() or not all(text.strip() for text in texts) or texts[0] == texts[1]:
            continue
        turned = texts[0] > texts[1]
        outcome = 1 - one.outcome if turned else one.outcome
        sums = found[prompt, min(texts), max(texts)]
        sums[0] += one.weight * outcome
        sums[1] += one.weight
    for (prompt, low, high), (ahead, weight) in found.items():
        margin = 2 * ahead / weight - 1
        if abs(margin) > 1e-9:
            chosen, rejected = (low, high) if margin > 0 else (high, low)
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": round(abs(margin), 6),
                   "weight": round(weight, 6), "source": PEOPLE,
                   **({"cohort": cohort} if cohort else {})}  # fmt: skip


def measure_agreement(compared: Sequence[Compared]) -> dict[str, object]:
    """How often two people who compared the same two responses say the same (a tie is half of it), and Krippendorff's
    alpha of it with squared differences (Krippendorff, 2011): 1 is perfect, 0 what chance gives; None where nothing
    was compared twice."""
    by_key: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in compared:
        by_key[one.key].append(one.outcome)
    shared = {key: said for key, said in by_key.items() if len(said) > 1}
    people = len({one.rater for one in compared})
    found: dict[str, Any] = {"people": people, "pairs": len(by_key), "shared": len(shared), "agreement": None,
                             "alpha": None}  # fmt: skip
    twos = [two for said in shared.values() for two in combinations(said, 2)]
    if not twos:
        return found
    found["agreement"] = sum(1 - abs(one - two) for one, two in twos) / len(twos)
    # As in Krippendorff's coincidence matrix each pair counts by its values; both ways round: its order says nothing.
    values = [value for said in shared.values() for value in said]
    observed = sum(
        2 * sum((one - two) ** 2 for one, two in combinations(said, 2)) / (len(said) - 1) for said in shared.values()
    ) / len(values)
    both = [*values, *(1 - value for value in values)]
    mean = sum(both) / len(both)
    expected = 2 * sum((value - mean) ** 2 for value in both) / (len(both) - 1)
    found["alpha"] = 1 - observed / expected if expected else None
    return found
