"""A run's page says what the run is about: whether it got better, and nothing of what was not measured."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from builders import make_problem, make_rationale
from fastapi.testclient import TestClient
from test_viewer import check
from test_viewer_compare import write_round
from test_viewer_run import text_of
from viewing import BASE, judge, write_run, write_stage

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Evaluation, Promotion
from selfimprove.store import RunFolder
from selfimprove.viewer.about import choose_rounds
from selfimprove.viewer.app import create_app

FAMILIES = ("1+1", "1+2", "2+2")
ALL = {*FAMILIES}


def write_open(runs: Path) -> None:
    """A run of open prompts, whose responses hold numbers that a reader of answers would take for one."""
    folder = write_run(runs, (), rounds=0, name="open")
    prompts = [make_problem(f"How do I make {at} friends?", None, task="prompts/chat", group="") for at in range(4)]
    write_stage(folder, 0, "problems", "problem", prompts)
    for round_ in (0, 1):
        texts = [make_rationale(one, f"Say hello to {round_ + 5} people.", answer="5", parents=(one.id, BASE.id),
                                round=round_) for one in prompts]  # fmt: skip
        verdicts = [judge(one, "undecided", steps=()) for one in texts]
        none = Evaluation(parents=(BASE.id,), task="prompts/chat", level=0, group="", n=0, correct=0, undecided=4,
                          wrong_reason=0, low=0.0, high=1.0)  # fmt: skip
        write_stage(folder, round_, "evaluate", "rationale", [*texts, *verdicts, none])
        if round_:
            sampled = [make_rationale(one, f"Greet {at}.", answer=str(at), parents=(one.id, BASE.id), round=1)
                       for at, one in enumerate(prompts)]  # fmt: skip
            write_stage(folder, 1, "generate", "rationale", sampled)
            write_stage(folder, 1, "verify", "verdict", [judge(one, "undecided", steps=()) for one in sampled])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    runs = tmp_path_factory.mktemp("about")
    problems = [make_problem(f"{family} {at}", "3", group=family) for family in FAMILIES for at in range(6)]
    rights = {"mine": [set(), {"1+1"}, {"1+1", "1+2"}, {"1+1", "1+2"}, {"1+1", "1+2"}], "flat": [{"1+1"}] * 2,
              "worse": [ALL, set()], "once": [{"1+1"}], "mine-control": [set(), {"1+1"}]}  # fmt: skip
    for name, rounds in rights.items():
        folder = write_run(runs, (), rounds=0, name=name)
        changes = ["stages.generate.temperature=0.5"] if name == "mine-control" else []
        text = load_recipe("arithmetic", [f"name={name}", f"rounds={len(rounds) - 1}", *changes])
        folder.write_recipe(text)
        write_stage(folder, 0, "problems", "problem", problems)
        for round_, right in enumerate(rounds):
            write_round(folder, round_, problems, right)
    promote(RunFolder(runs / "mine"))
    write_open(runs)
    with TestClient(
        create_app(runs, cache=runs.parent / "about-cache", patience=60.0), base_url="http://127.0.0.1:8000"
    ) as one:
        yield one


def promote(folder: RunFolder) -> None:
    made = Checkpoint(parents=(BASE.id,), path="p", method="sft", weights="w")
    for round_, (won, lost, p) in {1: (12, 0, 0.0005), 2: (1, 1, 1.0)}.items():
        one = Promotion(parents=(made.id, BASE.id), promoted=True, won=won, lost=lost, p_value=p, reason="tested")
        write_stage(folder, round_, "promote", "promotion", [made, one])


def summary(page: str) -> str:
    return text_of(page[page.index('<dl class="summary">') : page.index('<nav class="pages"')])


@pytest.mark.parametrize(
    ("run", "says", "not_said"),
    [
        ("mine", ("Did it get better? yes", "from 0.0%", "to 66.7%", "12 problems won, 0 lost", "No gain since round 2",
                  "mine-control : 33.3%", "here 33.3%", "seed 0", "prompt zero-shot", "temperature 1",
                  "2 of 4 rounds"), ()),  # those that are closed to the end
        ("flat", ("no difference is shown", "0 problems won, 0 lost", "0 of 1 rounds"), ("No gain since",)),
        ("worse", ("no, it got worse", "0 problems won, 18 lost", "Best: 100.0% in round 0"), ()),
        ("once", ("How good is it? 33.3%", "of 18 held-out problems"), ("Did it get better", "rounds")),
        ("open", ("Accuracy was not measured",), ("0.0%", "better", "100.0%")),
    ],
)  # fmt: skip
def test_the_first_screen_answers_what_is_asked_of_a_run(
    client: TestClient, run: str, says: tuple[str, ...], not_said: tuple[str, ...]
) -> None:
    page = client.get(f"/runs/{run}").text
    check(page)
    said = summary(page)
    assert [one for one in says if one not in said] == [], said
    assert [one for one in not_said if one in said] == []
    for anchor in re.findall(r'<a href="#([^"]+)">', page):
        assert anchor == "main" or f'id="{anchor}"' in page


@pytest.mark.parametrize(
    ("run", "charts", "sections"),
    [
        ("mine", {"accuracy", "stages"}, {"accuracy", "families", "promotions"}),
        ("once", {"families", "stages"}, {"accuracy", "families"}),
        ("open", {"stages"}, {"funnel"}),
    ],
)
def test_nothing_is_drawn_that_was_not_measured(
    client: TestClient, run: str, charts: set[str], sections: set[str]
) -> None:
    page = client.get(f"/runs/{run}").text
    drawn = [link for link in check(page) if "/charts/" in link]
    assert {link.split("/")[-1].partition(".")[0] for link in drawn} == charts
    for link in drawn:
        assert client.get(link).status_code == 200
    assert sections <= set(re.findall(r'<section id="([^"]+)"', page))
    assert "0.0% (0.0% to 100.0%)" not in text_of(page) and "pass@k" not in page.replace("pass@k counts", "")


def test_of_many_rounds_the_first_and_the_latest_are_compared() -> None:
    assert choose_rounds([0, 3]) == [0, 3] and choose_rounds([*range(60)]) == [*range(60)]
    assert choose_rounds([*range(100)], 4) == [0, 97, 98, 99]


def test_a_promotion_without_a_difference_is_not_green(client: TestClient) -> None:
    page = client.get("/runs/mine").text
    assert page.count('<span class="tag correct">promoted</span>') == 2  # in two tables
    assert page.count('<span class="tag none">promoted, no difference shown</span>') == 2


def test_families_lead_to_their_traces_and_recipes_to_their_differences(client: TestClient) -> None:
    page = client.get("/runs/mine").text
    table = page[page.index('<table class="heat">') : page.index("</table>", page.index('<table class="heat">'))]
    rows = re.findall(r"(\d\+\d) level 2 6 ((?:\d+% ?)+)", text_of(table))
    assert [(family, shares.split()) for family, shares in rows] == [
        ("1+1", ["0%", "100%", "100%", "100%", "100%"]), ("1+2", ["0%", "0%", "100%", "100%", "100%"]),
        ("2+2", ["0%"] * 5),
    ]  # fmt: skip
    link = next(one for one in check(page) if "/traces?round=1&stage=evaluate" in one and "2%2B2" in one)
    assert client.get("/api" + link).json()["count"] == 6
    for path in ("/runs/mine", "/compare?a=mine-control&b=mine"):
        said = text_of(client.get(path).text)
        assert re.search(r"settings? of the two recipes differs? .*stages\.generate\.temperature|generate\.temperature "
                         r"0\.5 1", said), said  # fmt: skip


def test_no_answer_is_read_out_of_a_response_to_an_open_prompt(client: TestClient) -> None:
    rows = client.get("/api/runs/open/traces?round=1").json()["traces"]
    pages = [f"/runs/open/traces/{rows[0]['id']}", f"/runs/open/problems/{rows[0]['problem']}", "/runs/open/failures"]
    for path in pages:
        said = text_of(client.get(path).text)
        assert "answered 5" not in said and "never solved" not in said and "level 0" not in said, path
    assert "an open prompt" in text_of(client.get(pages[0]).text)


def test_a_reward_model_and_rl_are_told_of_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path, (), rounds=0, name="rlhf")
    folder.write_recipe(load_recipe("rlhf"))
    sampled = [make_rationale(make_problem("p", None), "12", parents=("p", BASE.id), round=1)]
    write_stage(folder, 1, "generate", "rationale", sampled)
    made = [Checkpoint(parents=(BASE.id,), path=name, method=name, weights=name) for name in ("reward", "rl")]
    held_out = {"pairs": 40, "accuracy": {"n": 40, "right": 30, "low": 0.6, "high": 0.86}}
    write_stage(folder, 1, "reward", "checkpoint", made[:1], metrics={"held out": held_out})
    values = [{"reward": at / 10, "KL": at / 5, "gold of rising": 2 - at / 10, "tokens": 9.0} for at in range(20)]
    curve = [{"step": at, "loss": 0.0, "values": one} for at, one in enumerate(values, 1)]
    write_stage(folder, 1, "rl", "checkpoint", made[1:], metrics={"curve": curve})
    with TestClient(
        create_app(tmp_path, cache=tmp_path / "cache", patience=60.0), base_url="http://127.0.0.1:8000"
    ) as one:
        page = one.get("/runs/rlhf").text
    check(page)
    said = text_of(page).replace(" ,", ",")
    assert "reward of round 1 orders 75.0% (59.8% to 85.8%) of 40 held-out pairs as they were compared" in said
    # The first two steps have 0 and 0.1, the last two 1.8 and 1.9.
    assert "rl of round 1: reward from 0.05 to 1.85, KL from 0.1 to 3.7, gold of rising from 1.95 to 0.15" in said
    head = page[page.index('id="funnel"') :]
    assert "in pairs" not in head and "rationalized, of kept" not in head  # nothing is selected in such a run


def test_a_list_names_a_group_where_there_is_one_and_offers_no_download_of_nothing(client: TestClient) -> None:
    said = text_of(client.get("/runs/open/traces").text)
    assert "prompts/chat, " in said and "All 12 as JSONL" in said
    assert "as JSONL" not in text_of(client.get("/runs/open/traces?text=nowhere").text)
