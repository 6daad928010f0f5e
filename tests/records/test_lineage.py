import pytest
from builders import make_problem, make_rationale, make_verdict

from selfimprove.records import Checkpoint, Decision, Example, Record
from selfimprove.records.lineage import Node, ancestors, build_graph, cycles, descendants, orphans

BASE = Checkpoint(path="/base", method="base", weights="ab")
PROBLEM = make_problem()
SAMPLES = [make_rationale(PROBLEM, sample=at, parents=(PROBLEM.id, BASE.id)) for at in range(2)]
VERDICTS = [make_verdict(one) for one in SAMPLES]
DECISIONS = [
    Decision(parents=(rationale.id, verdict.id), kept=True, reason="kept")
    for rationale, verdict in zip(SAMPLES, VERDICTS, strict=True)
]
EXAMPLE = Example(parents=DECISIONS[0].parents, prompt="1+2=", completion="#3", origin="sampled", group="1+1")
TRAINED = Checkpoint(parents=(BASE.id, EXAMPLE.id), path="sft", method="sft", weights="cd")
NEXT = make_rationale(PROBLEM, round=2, parents=(PROBLEM.id, TRAINED.id))
RECORDS: list[Record] = [BASE, PROBLEM, *SAMPLES, *VERDICTS, *DECISIONS, EXAMPLE, TRAINED, NEXT]


def nodes(records: list[Record]) -> list[Node]:
    return [(one.id, one.kind, one.parents) for one in records]


GRAPH = build_graph(nodes(RECORDS))


def ids(*records: Record) -> set[str]:
    return {one.id for one in records}


def test_a_trained_token_goes_back_to_the_problem_the_sample_and_the_verdict() -> None:
    assert ancestors(GRAPH, TRAINED.id) == ids(BASE, PROBLEM, SAMPLES[0], VERDICTS[0], EXAMPLE)
    assert ancestors(GRAPH, NEXT.id) == ids(BASE, PROBLEM, SAMPLES[0], VERDICTS[0], EXAMPLE, TRAINED)
    assert ancestors(GRAPH, PROBLEM.id) == set()


def test_descendants_are_all_that_was_made_from_a_record() -> None:
    assert descendants(GRAPH, SAMPLES[1].id) == ids(VERDICTS[1], DECISIONS[1])
    assert descendants(GRAPH, VERDICTS[0].id) == ids(DECISIONS[0], EXAMPLE, TRAINED, NEXT)
    assert descendants(GRAPH, BASE.id) == ids(*RECORDS) - ids(BASE, PROBLEM)


def test_descendants_can_end_at_a_kind() -> None:
    assert descendants(GRAPH, SAMPLES[0].id, up_to="checkpoint") == ids(VERDICTS[0], DECISIONS[0], EXAMPLE, TRAINED)
    assert descendants(GRAPH, SAMPLES[0].id, up_to="example") == ids(VERDICTS[0], DECISIONS[0], EXAMPLE)
    assert descendants(GRAPH, TRAINED.id, up_to="checkpoint") == ids(NEXT), "the record itself is no end"


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_records_does_not_matter(order: int) -> None:
    graph = build_graph(nodes(RECORDS)[::order])
    assert set(graph.edges) == {(parent, one.id) for one in RECORDS for parent in one.parents}
    assert {name: data["kind"] for name, data in graph.nodes(data=True)} == {one.id: one.kind for one in RECORDS}


def test_orphans_are_parents_that_are_no_records() -> None:
    assert orphans(GRAPH) == set()
    assert orphans(build_graph(nodes([one for one in RECORDS if one is not PROBLEM]))) == {PROBLEM.id}
    assert orphans(build_graph([])) == set()


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([("a", ()), ("b", ("a",))], []),
        ([("a", ("b",)), ("b", ("a",))], [["a", "b"]]),
        ([("a", ("c",)), ("b", ("a",)), ("c", ("b",)), ("d", ("c",))], [["a", "b", "c"]]),
        ([("a", ("a",)), ("b", ("a",))], [["a"]]),
    ],
    ids=["none", "two", "three", "itself"],
)
def test_an_edited_file_can_make_a_cycle(links: list[tuple[str, tuple[str, ...]]], expected: list[list[str]]) -> None:
    assert cycles(build_graph([(name, "example", parents) for name, parents in links])) == expected


def test_hashes_make_no_cycle() -> None:
    assert cycles(GRAPH) == []
