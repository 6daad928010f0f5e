"""The graph of records: an edge goes from a parent to what was made from it."""

from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx

Node = tuple[str, str, tuple[str, ...]]  # id, kind, parents


def build_graph(nodes: Iterable[Node]) -> "nx.DiGraph[str]":
    """Build the graph of records; a parent that is not a record itself is a node without a kind."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for identity, kind, parents in nodes:
        graph.add_node(identity, kind=kind)
        graph.add_edges_from((parent, identity) for parent in parents)
    return graph


def ancestors(graph: "nx.DiGraph[str]", identity: str) -> set[str]:
    """All records that a record was made from."""
    return set(nx.ancestors(graph, identity))


def descendants(graph: "nx.DiGraph[str]", identity: str, *, up_to: str | None = None) -> set[str]:
    """All records that were made from a record; with `up_to` nothing that was made from records of that kind."""
    if up_to is None:
        return set(nx.descendants(graph, identity))
    ends = {one for one, data in graph.nodes(data=True) if data.get("kind") == up_to and one != identity}
    visible = nx.restricted_view(graph, [], [edge for end in ends for edge in graph.out_edges(end)])
    return set(nx.descendants(visible, identity))


def orphans(graph: "nx.DiGraph[str]") -> set[str]:
    """Ids that are named as parents and are not records of the run."""
    return {identity for identity, data in graph.nodes(data=True) if "kind" not in data}


def cycles(graph: "nx.DiGraph[str]") -> list[list[str]]:
    """Cycles, of which a graph of content hashes has none unless a file was edited."""
    loops = [[identity] for identity in nx.nodes_with_selfloops(graph)]
    return loops + [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]


def arrange(nodes: Sequence[object], edges: Iterable[tuple[Any, Any]]) -> dict[Any, tuple[float, float]]:
    """Places for drawing a graph in layers: x is a node's layer, y spreads a layer's nodes around 0.

    An edge that would close a cycle, which only an edited file has, is passed over.
    """
    graph: nx.DiGraph[Any] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    for one, other in edges:
        if not nx.has_path(graph, other, one):
            graph.add_edge(one, other)
    layers = {node: at for at, generation in enumerate(nx.topological_generations(graph)) for node in generation}
    for node in nodes:
        # What comes from outside stands beside what it is first used by.
        if not graph.in_degree(node) and graph.out_degree(node):
            layers[node] = min(layers[other] for other in graph.successors(node)) - 1
    places = {}
    for layer in sorted(set(layers.values())):
        ordered = [node for node in nodes if layers[node] == layer]
        for at, node in enumerate(ordered):
            places[node] = (float(layer), (len(ordered) - 1) / 2 - at)
    return places
