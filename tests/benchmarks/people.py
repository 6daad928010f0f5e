"""What `selfimprove people` finds in populations by how much their cohorts were made to differ: the table of its test,
its models and its matrix. Run as `python tests/benchmarks/people.py [--populations 40]`."""

import argparse
import time

from selfimprove.people.comparisons import compare_ratings
from selfimprove.people.disagreement import explain_disagreement, make_matrix
from selfimprove.people.ratings import traits_of
from selfimprove.people.report import measure_people
from selfimprove.people.served import ALL
from selfimprove.people.synthetic import TRAIT, make_population
from selfimprove.records.stats import wilson

DIFFERENCES = (0.0, 0.25, 0.5, 1.0)


def measure(difference: float, populations: int) -> str:
    """A row of the table: means over populations of 60 people in two cohorts, who each rate 12 of 12 items."""
    found, gained, explained, offsets, gaps, floors = 0, 0, 0.0, 0.0, 0.0, 0.0
    for seed in range(populations):
        drawn = make_population(people=60, items=12, each=12, responses=3, difference=difference, seed=seed)
        one = measure_people(drawn.ratings, permutations=99, seed=seed)["traits"][TRAIT]
        found += one["test"]["p_value"] <= 0.05
        explained += one["test"]["explained"]
        gained += one["models"]["gain"][1] > 0
        planted = next(row for row in one["tastes"] if row["feature"] == "x2")["offsets"]
        offsets += (planted["cohort B"] - planted["cohort A"]) / 2
        rows = one["served"]["rows"]
        gaps += rows[ALL]["gap"]
        own = [rows[name]["served"][name]["mean"] - rows[ALL]["served"][name]["mean"] for name in planted]
        floors += sum(own) / len(own)
    low, high = wilson(found, populations)
    n = populations
    return (f"| {difference:g} | {explained / n:.1%} | {found} of {n} ({low:.0%} to {high:.0%}) | {gained} of {n} | "
            f"{offsets / n:+.2f} | {gaps / n:.1f} | {floors / n:+.1f} |")  # fmt: skip


def count_false(populations: int) -> str:
    """How often labels that mean nothing are called significant; the labels are dealt out by other seeds."""
    p_values = []
    for seed in range(5000, 5000 + populations):
        drawn = make_population(people=40, items=4, responses=2, each=3, difference=0.0, spread=0.8, seed=seed)
        matrix = make_matrix(compare_ratings(drawn.ratings))
        cohort_of = traits_of(drawn.ratings)[TRAIT]
        p_values.append(explain_disagreement(matrix, cohort_of, permutations=99, seed=seed + 10**6)["p_value"])
    said = []
    for level in (0.01, 0.05, 0.2):
        count = sum(one <= level for one in p_values)
        low, high = wilson(count, populations)
        said.append(f"{count / populations:.1%} at {level:.0%} (95% interval {low:.1%} to {high:.1%})")
    return f"false positives of {populations} populations without a difference: {', '.join(said)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--populations", type=int, default=40)
    count = parser.parse_args().populations
    print("| planted | explained | test at 5% | models gain | offset found | gap, pooled | own model's gain |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for each in DIFFERENCES:
        print(measure(each, count), flush=True)
    print(count_false(50 * count))
    print(f"{time.process_time():.0f} CPU seconds")
