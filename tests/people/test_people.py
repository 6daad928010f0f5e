"""People's ratings: what is read, what is compared, and what is found where it was planted, and where it was not."""

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfimprove.cli.app import main
from selfimprove.errors import TaskError
from selfimprove.people.comparisons import compare_ratings, decide, measure_agreement, pair_rows
from selfimprove.people.disagreement import explain_disagreement, make_matrix, measure_disagreement
from selfimprove.people.files import write_pairs, write_ratings
from selfimprove.people.prism import load_prism
from selfimprove.people.ratings import Rating, centre_scores, large_cohorts, load_ratings, traits_of, use_pseudonyms
from selfimprove.people.report import describe_people, load_people, measure_people
from selfimprove.people.synthetic import TRAIT, make_population
from selfimprove.people.tastes import fit_tastes
from selfimprove.tasks.pairs import load_pairs


def rate(rater: str, response: str, item: str = "q", **said: Any) -> Rating:
    return Rating(rater, item, response, prompt=f"{item}?", text=f"text {response}", **said)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ({"score": 60}, {"score": 55}, 0.5),  # within 5 points
        ({"score": 61}, {"score": 55}, 1.0),
        ({"score": 20}, {"score": 55}, 0.0),
        ({"rank": 1}, {"rank": 1}, 0.5),
        ({"rank": 2}, {"rank": 1}, 0.0),
        ({"rank": 3}, {"choice": False}, 1.0),  # one without a rank is worse
        ({"choice": True}, {"choice": False}, 1.0),
        ({"choice": False}, {"choice": False}, None),  # of two that were not chosen nothing is known
    ],
)
def test_which_of_two_is_preferred(first: dict[str, Any], second: dict[str, Any], outcome: float | None) -> None:
    assert decide(rate("r", "a", **first), rate("r", "b", **second)) == outcome


def test_k_responses_give_all_pairs_and_each_response_counts_once() -> None:
    compared = compare_ratings([rate("r", name, score=at * 10) for at, name in enumerate("abcd")])
    assert len(compared) == 4 * 3 // 2 and {one.weight for one in compared} == {1 / 3}
    for name in "abcd":
        assert sum(one.weight for one in compared if name in one.key[1:]) == pytest.approx(1.0)
    assert compare_ratings([rate("r", "a", score=1), rate("s", "b", score=2), rate("r", "c", "other", score=2)]) == []


def test_pairs_of_several_people_by_hand() -> None:
    ratings = [rate(who, name, score=score) for who, scores in
               {"r": (90, 10, 50), "s": (10, 90, 50), "t": (90, 10, 12)}.items()
               for name, score in zip("abc", scores, strict=True)]  # fmt: skip
    rows = {(row["chosen"], row["rejected"]): row for row in pair_rows(compare_ratings(ratings))}
    found = {pair: (row["margin"], row["weight"]) for pair, row in rows.items()}
    # a over b: 2 of 3; a over c: 2 of 3; b against c: lost, won, tied, so even and left out.
    assert found == {("text a", "text b"): (pytest.approx(1 / 3, abs=1e-6), 1.5),
                     ("text a", "text c"): (pytest.approx(1 / 3, abs=1e-6), 1.5)}  # fmt: skip


def test_agreement_by_hand() -> None:
    def said(*outcomes: str) -> dict[str, Any]:
        ratings = [rate(f"r{at}", name, choice=name == one) for at, one in enumerate(outcomes) for name in "ab"]
        return measure_agreement(compare_ratings(ratings))

    assert said("a", "a")["agreement"] == 1.0 and said("a", "a")["alpha"] == 1.0
    three = said("a", "a", "b")
    assert (three["people"], three["shared"]) == (3, 1) and three["agreement"] == pytest.approx(1 / 3)
    # Observed: 2·2·1/(3-1)/3 = 2/3; expected of three ones and three zeros both ways: 2·1.5/5 = 3/5.
    assert three["alpha"] == pytest.approx(1 - (2 / 3) / (3 / 5))
    assert said("a")["agreement"] is None and said("a")["alpha"] is None


def test_scores_are_centred_by_person_and_small_cohorts_hidden() -> None:
    ratings = [rate("low", "a", score=10), rate("low", "b", score=20), rate("high", "a", score=90)]
    assert centre_scores(ratings) == {("low", "q", "a"): -5.0, ("low", "q", "b"): 5.0, ("high", "q", "a"): 0.0}
    shown, hidden = large_cohorts({f"p{at}": "many" if at < 20 else "few" for at in range(39)})
    assert list(shown) == ["many"] and hidden == {"cohorts": 1, "people": 19}


def test_the_disagreement_by_hand() -> None:
    ratings = [rate(f"r{at}", name, choice=(name == "a") == (at < 3)) for at in range(4) for name in "ab"]
    matrix = make_matrix(compare_ratings(ratings))
    found = measure_disagreement(matrix)
    assert found["disagreement"] == pytest.approx(2 * 0.75 * 0.25)
    assert found["unbiased"] == pytest.approx(3 / 6)  # of the six twos of people three differ
    all_of_it = explain_disagreement(matrix, {"r0": "x", "r1": "x", "r2": "x", "r3": "y"}, permutations=39)
    assert all_of_it["explained"] == pytest.approx(1.0) and 0 < all_of_it["p_value"] <= 1
    none = explain_disagreement(matrix, {"r0": "x", "r1": "x", "r2": "y", "r3": "y"}, permutations=19)
    # Within: 0 and 0.5 of 2 degrees; in all 0.75 of 3.
    assert none["explained"] == pytest.approx(1 - (0.5 / 2) / (0.75 / 3))


def test_the_weights_of_a_feature_are_where_the_gradient_is_zero() -> None:
    differences, outcomes = np.array([[1.0], [1.0], [1.0], [1.0]]), np.array([1.0, 1.0, 1.0, 0.0])
    fitted = fit_tastes(differences, outcomes, np.ones(4), ["x"] * 4, shrinkage=math.inf)
    w = float(fitted.shared[0])
    assert sum(1 / (1 + math.exp(-w)) - one for one in outcomes) + w == pytest.approx(0.0, abs=1e-6)
    two = fit_tastes(differences, outcomes, np.ones(4), ["x", "x", "y", "y"], shrinkage=2.0)
    # What is shared and the offsets have priors of their own: w·1 = -(sum of gradients) = 2·(Δx + Δy).
    assert float(two.shared[0]) == pytest.approx(2.0 * float(two.offsets["x"][0] + two.offsets["y"][0]), abs=1e-6)


@pytest.fixture(scope="module")
def planted() -> Any:
    drawn = make_population(people=90, cohorts=3, items=12, responses=3, each=12, difference=1.5, spread=0.2, seed=0)
    return drawn, measure_people(drawn.ratings, permutations=99)


def test_planted_differences_are_recovered(planted: Any) -> None:
    drawn, found = planted
    one = found["traits"][TRAIT]
    assert one["test"]["p_value"] == 0.01 and one["test"]["explained"] > 0.1
    assert one["models"]["gain"][1] > 0  # who was left out is foretold better by the own cohort's model
    top = one["tastes"][0]
    assert top["feature"] == "x2"  # the feature that differs
    offsets = [top["offsets"][name] for name in drawn.offsets]
    truth = np.array([values[-1] for values in drawn.offsets.values()])
    assert offsets == sorted(offsets) and np.corrcoef(offsets, truth)[0, 1] > 0.97
    others = [abs(value) for row in one["tastes"][1:] for value in row["offsets"].values()]
    assert max(others) < 0.3 * max(map(abs, offsets))
    rows = one["served"]["rows"]
    first, _, last = drawn.offsets
    for name in (first, last):  # each is served best by its own model
        own = rows[name]["served"][name]["mean"]
        assert own > max(rows[other]["served"][name]["mean"] for other in (first, last) if other != name) + 5
    assert rows[first]["worst off"] == last and rows[first]["gap"] > 10
    apart = one["disputed"][0]["prefer the first"]
    assert abs(apart[first] - apart[last]) == one["disputed"][0]["apart"] > 0.5


@pytest.mark.parametrize(
    ("populations", "at_5", "at_20"),
    [(40, (0, 7), (1, 17)), pytest.param(400, (6, 37), (53, 109), marks=pytest.mark.long)],
)
def test_labels_that_mean_nothing_are_found_as_often_as_the_test_says(
    populations: int, at_5: tuple[int, int], at_20: tuple[int, int]
) -> None:
    """The false positives among populations in which nothing was planted, where 5% and 20% are allowed: within the
    99.9% intervals of binomial counts."""
    p_values, explained = [], []
    for seed in range(populations):
        drawn = make_population(people=40, items=4, responses=2, each=3, difference=0.0, spread=0.8, seed=seed)
        cohort_of = traits_of(drawn.ratings)[TRAIT]
        matrix = make_matrix(compare_ratings(drawn.ratings))
        found = explain_disagreement(matrix, cohort_of, permutations=99, seed=seed + 10**6)
        p_values.append(found["p_value"])
        explained.append(found["explained"])
    found = [sum(one <= level for one in p_values) for level in (0.05, 0.2)]
    print(
        f"{populations} populations: false positives {found}, explained {sum(explained) / populations:.4f} on average"
    )
    assert at_5[0] <= found[0] <= at_5[1] and at_20[0] <= found[1] <= at_20[1]
    assert abs(sum(explained)) / populations < 0.02  # without bias


def test_tables_name_no_small_cohort_and_nobody(planted: Any) -> None:
    drawn, _ = planted
    few = [one for one in drawn.ratings if one.cohorts[TRAIT] != "cohort C" or int(one.rater[1:]) < 30]
    found = measure_people(few, permutations=19)
    said = "\n".join(describe_people(found, 150)) + json.dumps(found)
    assert "cohort C" not in said and found["traits"][TRAIT]["hidden"] == {"cohorts": 1, "people": 10}
    assert "1 more with too few people (10) are not shown" in said
    assert not any(f'"{one.rater}"' in said for one in drawn.ratings)
    with pytest.raises(TaskError, match="fewer than 20 people are not shown"):
        measure_people(few, fewest=5)
    with pytest.raises(TaskError, match="no trait 'cohorts' in these ratings; did you mean 'cohort'"):
        measure_people(few, traits=["cohorts"])


def test_exports_are_by_pseudonyms(planted: Any, tmp_path: Path) -> None:
    drawn, _ = planted
    names = {one.rater: new.rater for one, new in
             zip(drawn.ratings, use_pseudonyms(drawn.ratings, random.Random(1)), strict=True)}  # fmt: skip
    assert {*names.values()} == {f"person-{at}" for at in range(1, 91)} and names["p0"] != "person-1"
    write_ratings(drawn.ratings, tmp_path / "out.jsonl")
    again = load_ratings(tmp_path / "out.jsonl")
    assert all(one.rater.startswith("person-") and not one.cohorts for one in again)
    few = [one for one in drawn.ratings if one.cohorts[TRAIT] != "cohort C" or int(one.rater[1:]) < 30]
    write_ratings(few, tmp_path / "few.jsonl", cohorts=True)  # ten of cohort C, of whom nothing is told
    told = {one.rater: one.cohorts.get(TRAIT) for one in load_ratings(tmp_path / "few.jsonl")}
    assert Counter(told.values()) == {"cohort A": 30, "cohort B": 30, None: 10}
    assert write_pairs(drawn.ratings, tmp_path / "pairs.jsonl", cohort=f"{TRAIT}=cohort A") > 20
    pairs = load_pairs(tmp_path / "pairs.jsonl")
    assert {len(one.problem.options) for one in pairs} == {2} and {one.weight for one in pairs} == {
        15.0
    }  # 30 people, each 1/2
    with pytest.raises(TaskError, match="no cohort of 20 people or more; did you mean 'cohort A'"):
        write_pairs(drawn.ratings, tmp_path / "pairs.jsonl", cohort=f"{TRAIT}=cohort AA")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "ratings.jsonl:1: not JSON"),
        ("[]", "ratings.jsonl:1: expected an object"),
        ('{"rater": "r", "item": "q", "response": "a"}', "says nothing"),
        ('{"rater": "", "item": "q", "response": "a", "score": 1}', "'rater' must be a name"),
        ('{"rater": "r", "item": "q", "response": "a", "score": NaN}', "'score' is not a number"),
        ('{"rater": "r", "item": "q", "response": "a", "score": 1' + "0" * 400 + "}", "'score' is not a number"),
        ('{"rater": "r", "item": "q", "response": "a", "rank": 0}', "'rank' is a whole number"),
        ('{"rater": "r", "item": "q", "response": "a", "choice": 1}', "'choice' is true or false"),
        ('{"rater": "r", "item": "q", "response": "a", "score": 1, "group": "x"}', "unknown key 'group'"),
        ('{"rater": "r", "item": "q", "response": "a", "score": 1, "cohorts": ["x"]}', "'cohorts' is an object"),
        ('{"rater": "r", "item": "q", "response": "a", "score": 1, "features": {"x": "y"}}', "object of numbers"),
        ("", "holds no rating"),
    ],
)
def test_a_wrong_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(TaskError, match=said):
        load_ratings(path)


def test_one_person_has_one_value_of_a_trait(tmp_path: Path) -> None:
    rows = [rate("r", name, score=1.0, cohorts={"age": age}).to_json() for name, age in (("a", "18-24"), ("b", "65+"))]
    (tmp_path / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TaskError, match="rater 'r' has two values of 'age'"):
        load_ratings(tmp_path / "ratings.jsonl")


SURVEY = {
    "user_id": "user0",
    "age": "18-24 years old",
    "gender": "Female",
    "religion": {"simplified": "No Affiliation"},
    "location": {"reside_region": "Europe"},
    "study_locale": "uk",
    "lm_familiarity": None,
}
UTTERANCES = [
    {"utterance_id": f"ut{at}", "interaction_id": f"int{turn}", "conversation_id": "c0", "user_id": "user0",
     "turn": turn, "within_turn_id": at, "included_in_balanced_subset": True, "user_prompt": "Is it?",
     "model_response": f"response {at}", "model_name": f"model-{at}", "model_provider": "x", "score": score,
     "if_chosen": at == 0}
    for turn, at, score in ((0, 0, 90), (0, 1, 87), (0, 2, 3), (1, 0, 50), (1, 1, 40))
]  # fmt: skip


def test_prism_is_read_from_either_of_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "survey.jsonl").write_text(json.dumps(SURVEY) + "\n")
    with pytest.raises(TaskError, match=r"neither utterances.jsonl nor conversations.jsonl is there"):
        load_prism(tmp_path)
    history = [{"turn": 0, "role": "user", "content": "Is it?"}]
    history += [{"turn": one["turn"], "role": "model", "content": one["model_response"],
                 **{name: one[name] for name in ("model_name", "score", "if_chosen", "within_turn_id")}}
                for one in UTTERANCES]  # fmt: skip
    row = {"conversation_id": "c0", "user_id": "user0", "included_in_balanced_subset": False,
           "conversation_history": history}  # fmt: skip
    (tmp_path / "conversations.jsonl").write_text(json.dumps(row) + "\n")
    by_conversation = load_prism(tmp_path)
    with pytest.raises(TaskError, match="holds no rated opening turn"):
        load_prism(tmp_path, balanced=True)
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(one) + "\n" for one in UTTERANCES))
    ratings, licence = load_people(str(tmp_path))
    assert licence and "CC BY-NC 4.0" in licence
    assert [(one.prompt, one.text, one.source, one.score, one.choice) for one in by_conversation] == [
        (one.prompt, one.text, one.source, one.score, one.choice) for one in ratings
    ]
    assert [one.response for one in ratings] == ["ut0", "ut1", "ut2"]  # the opening turn alone
    assert ratings[0].cohorts == {"age": "18-24 years old", "gender": "Female", "religion": "No Affiliation",
                                  "region": "Europe", "locale": "uk"}  # fmt: skip
    assert [one.outcome for one in compare_ratings(ratings)] == [0.5, 1.0, 1.0]
    with pytest.raises(SystemExit) as ended:
        main(["people", "pairs", str(tmp_path), str(tmp_path / "pairs.jsonl")])
    shown = capsys.readouterr()
    assert ended.value.code == 0 and "CC BY-NC" in shown.err and "2 pairs" in shown.out


def test_the_commands_give_tables_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "people.jsonl")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["people", *arguments])
        return int(ended.value.code or 0), *capsys.readouterr()

    assert run("generate", path, "--people", "40", "--items", "4", "--each", "4", "--responses", "3")[0] == 0
    code, shown, _ = run("report", path, "--permutations", "19")
    assert code == 0 and "## cohort: 2 cohorts" in shown and "permutation test p = 0.050" in shown
    code, shown, _ = run("report", path, "--permutations", "19", "--json")
    assert json.loads(shown)["traits"]["cohort"]["cohorts"] == {"cohort A": 20, "cohort B": 20}
    assert run("report", path, "--by", "age")[::2] == (
        2,
        "selfimprove: no trait 'age' in these ratings; known: cohort\n",
    )
    said = f"{tmp_path}: a folder without PRISM's survey.jsonl; name a .jsonl file of ratings"
    assert run("report", str(tmp_path))[::2] == (2, f"selfimprove: {said}\n")
