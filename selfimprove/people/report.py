"""All figures of people's ratings by one or several traits, as JSON and as tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError, suggest
from selfimprove.people.comparisons import compare_ratings, measure_agreement
from selfimprove.people.disagreement import explain_disagreement, make_matrix, measure_disagreement
from selfimprove.people.prism import LICENCE, is_prism, load_prism
from selfimprove.people.ratings import FEWEST, TIE, Rating, large_cohorts, load_ratings, traits_of
from selfimprove.people.served import ALL, compare_tastes, find_disputed, measure_cohorts, measure_served
from selfimprove.people.tastes import cross_fit, read_features
from selfimprove.records.columns import lay_out
from selfimprove.records.printable import one_line
from selfimprove.records.stats import holm

PRISM = "prism"
SHOWN = 5


def load_people(source: str) -> tuple[list[Rating], str | None]:
    """The ratings of a file in our format, of a folder of PRISM's files, or of PRISM on the hub ("prism"), and what is
    to be said of their licence; raises TaskError."""
    path = Path(source)
    if source == PRISM and not path.exists():
        return load_prism(), LICENCE
    if is_prism(path):
        return load_prism(path), LICENCE
    if path.is_dir():
        raise TaskError(f"{path}: a folder without PRISM's survey.jsonl; name a .jsonl file of ratings")
    return load_ratings(path), None


def measure_people(
    ratings: Sequence[Rating],
    *,
    traits: Sequence[str] = (),
    tie: float = TIE,
    fewest: int = FEWEST,
    permutations: int = 999,
    seed: int = 0,
) -> dict[str, object]:
    """The figures by each trait; raises TaskError where nothing was compared or a trait is not known.

    Of a cohort of fewer than `fewest` people nothing is said, in any table; `fewest` is 20 or more.
    """
    if fewest < FEWEST:
        raise TaskError(f"figures of fewer than {FEWEST} people are not shown; raise the number")
    compared = compare_ratings(ratings, tie)
    if not compared:
        raise TaskError("nobody rated two responses to one item, so nothing is compared")
    known = traits_of(ratings)
    for name in traits:
        if name not in known:
            raise TaskError(f"no trait '{name}' in these ratings{suggest(name, known)}")
    matrix = make_matrix(compared)
    features = read_features(ratings)
    found: dict[str, Any] = {
        "ratings": len(ratings), "people": len({one.rater for one in ratings}),
        "items": len({one.item for one in ratings}), "pairs": len(compared),
        "ties": sum(one.outcome == 0.5 for one in compared), "agreement": measure_agreement(compared),
        "disagreement": measure_disagreement(matrix), "features": {"names": list(features.names), "of": features.of},
        "traits": {},
    }  # fmt: skip
    for trait in traits or sorted(known):
        cohorts, hidden = large_cohorts(known[trait], fewest)
        one: dict[str, Any] = {"cohorts": {name: len(people) for name, people in cohorts.items()}, "hidden": hidden}
        found["traits"][trait] = one
        if len(cohorts) < 2 or not features.names:
            continue
        cohort_of = {rater: name for name, people in cohorts.items() for rater in people}
        fitted = cross_fit(compared, features, cohort_of, seed=seed)
        one["test"] = explain_disagreement(matrix, cohort_of, permutations=permutations, seed=seed)
        one["models"] = {"shrinkage": fitted.tastes.shrinkage, **fitted.held_out}
        one["by cohort"] = measure_cohorts(compared, features, fitted, cohorts)
        one["served"] = measure_served(ratings, features, fitted, cohorts)
        one["tastes"] = compare_tastes(features, fitted, cohorts, SHOWN)
        one["disputed"] = find_disputed(compared, features, fitted, cohorts, SHOWN)
    tested = [one["test"] for one in found["traits"].values() if one.get("test", {}).get("p_value") is not None]
    for test, adjusted in zip(tested, holm([one["p_value"] for one in tested]), strict=True):
        test["adjusted"] = adjusted
    return found


def describe_people(found: Mapping[str, Any], width: int) -> Iterator[str]:
    """The figures as lines of text."""
    yield (
        f"{found['ratings']:,} ratings of {found['items']:,} items by {found['people']:,} people: "
        f"{found['pairs']:,} pairs, {found['ties']:,} of them ties"
    )
    agree, differ = found["agreement"], found["disagreement"]
    if agree["agreement"] is not None:
        alpha = "" if agree["alpha"] is None else f", Krippendorff's alpha {agree['alpha']:.2f}"
        yield f"two people agree on {agree['agreement']:.0%} of the {agree['shared']:,} pairs that both saw{alpha}"
    if differ["comparisons"]:
        yield (
            f"disagreement 2p(1-p): {differ['disagreement']:.3f} over {differ['comparisons']:,} comparisons of "
            f"{differ['of']} ({differ['unbiased']:.3f} without the bias of few people; 0.5 is chance)"
        )
    yield f"reward models are linear in {len(found['features']['names'])} features ({found['features']['of']})"
    for trait, one in found["traits"].items():
        yield ""
        yield from describe_trait(one_line(trait), one, width)


def describe_trait(trait: str, one: Mapping[str, Any], width: int) -> Iterator[str]:
    """The tables of one trait."""
    hidden = one["hidden"]
    few = (
        f"; {hidden['cohorts']} more with too few people ({hidden['people']}) are not shown"
        if hidden["cohorts"]
        else ""
    )
    yield f"## {trait}: {len(one['cohorts'])} cohorts{few}"
    if "models" not in one:
        yield "nothing to compare: two cohorts that are large enough are needed, and responses that differ"
        return
    test = one["test"]
    if test["p_value"] is not None:
        yield (
            f"explained by cohort: {test['explained']:.1%} of the variance of {test['comparisons']:,} comparisons; "
            f"permutation test p = {test['p_value']:.3f}, over all traits {test['adjusted']:.3f} (Holm)"
        )
    models = one["models"]
    gain, low, high = models["gain"]
    yield (
        f"on people left out: log loss {models['log loss pooled']:.4f} pooled, {models['log loss by cohort']:.4f} by "
        f"cohort; gain {gain:+.4f} a pair (95% interval {low:+.4f} to {high:+.4f}); shrinkage {models['shrinkage']:g}"
    )
    rows = [["cohort", "people", "pairs", "pooled model right", "own model right", "it expected"]]
    for name, row in one["by cohort"].items():
        rows.append([one_line(name), f"{row['people']}", f"{row['pairs']:,}", _share(row["pooled"]), _share(row["own"]),
                     "" if row["own"]["expected"] is None else f"{row['own']['expected']:.0%}"])  # fmt: skip
    yield from lay_out(rows, width)
    yield "who chose (rows) and who is served (columns): mean worth above a person's own mean, of people left out"
    yield from lay_out(list(_served_rows(one["served"], list(one["cohorts"]))), width)
    if one["served"]["fairest"]:
        yield f"the worst-off are best off where the model of {one_line(one['served']['fairest'])} chooses"
    yield "valued most differently (log-odds a deviation, as offsets from what all value):"
    names = list(one["cohorts"])
    table = [["feature", "shared", *map(one_line, names)]]
    table += [[one_line(row["feature"]), f"{row['shared']:+.2f}", *(f"{row['offsets'][name]:+.2f}" for name in names)]
              for row in one["tastes"]]  # fmt: skip
    yield from lay_out(table, width)
    for row in one["disputed"]:
        said = ", ".join(f"{one_line(name)} {value:.0%}" for name, value in row["prefer the first"].items())
        first, second = one_line(row["first"], 60), one_line(row["second"], 60)
        yield f"disputed: {one_line(row['prompt'] or row['item'], 60)} | {first} | over | {second} | {said}"


def _share(row: Mapping[str, object]) -> str:
    if row["accuracy"] is None:
        return ""
    return f"{row['accuracy']:.1%} ({row['low']:.1%} to {row['high']:.1%})"


def _served_rows(served: Mapping[str, Any], names: Sequence[str]) -> Iterator[list[str]]:
    yield ["chose", *map(one_line, names), "worst off", "gap"]
    for chooser, row in served["rows"].items():
        cells = []
        for name in names:
            cell = row["served"][name]
            half = "" if cell["half"] is None else f" ±{cell['half']:.2f}"
            cells.append("" if cell["mean"] is None else f"{cell['mean']:+.2f}{half}")
        yield [ALL if chooser == ALL else one_line(chooser), *cells, one_line(row["worst off"] or ""),
               "" if row["gap"] is None else f"{row['gap']:.2f}"]  # fmt: skip
