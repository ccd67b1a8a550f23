"""The graph's facts, by example and against brute force on small random graphs."""

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model.graph import Edge, EdgeKind, Graph

Pairs = Iterable[str]


def graph_of(
    pairs: Pairs, *, start: str = "a", order: Sequence[str] | None = None, errors: Pairs = ()
) -> Graph:
    """A graph of nodes of one letter: "ab" is an edge from a to b."""
    plain, failing = list(pairs), list(errors)
    nodes = order or list(dict.fromkeys([start, *"".join([*plain, *failing])]))
    edges = [Edge(s, t) for s, t in plain] + [Edge(s, t, EdgeKind.ERROR, "*") for s, t in failing]
    return Graph.build(nodes, start, edges)


# -- by example ------------------------------------------------------------------------------------------------------


def test_a_diamond_joins_at_its_foot() -> None:
    graph = graph_of(["ab", "ac", "bd", "cd"])
    assert graph.ways_in["d"] == ("b", "c")
    assert graph.is_join("d")
    assert not graph.is_join("b")
    assert graph.feeders("d") == {"a", "b", "c"}
    assert graph.ends == ("d",)


def test_an_edge_to_a_dominator_is_a_back_edge_and_makes_no_join() -> None:
    graph = graph_of(["ab", "bc", "cb", "cd"])
    assert graph.back_edges == {("c", "b")}
    assert graph.ways_in["b"] == ("a",)
    assert not graph.is_join("b")
    assert [(loop.header, loop.members) for loop in graph.loops] == [("b", ("b", "c"))]


def test_a_node_that_leads_to_itself_is_a_loop() -> None:
    graph = graph_of(["ab", "bb", "bc"])
    assert graph.back_edges == {("b", "b")}
    assert graph.loops_without_exit == ()


def test_a_join_in_a_loop_is_not_fed_by_the_next_round() -> None:
    # a -> h -> (x, y) -> j -> h again, or the end
    graph = graph_of(["ah", "hx", "hy", "xj", "yj", "jh", "je"])
    assert graph.feeders("j") == {"a", "h", "x", "y"}
    assert "e" not in graph.feeders("j")


def test_a_join_behind_a_loop_waits_for_all_rounds_of_it() -> None:
    graph = graph_of(["ab", "ac", "bb", "bd", "cd"])
    assert graph.feeders("d") == {"a", "b", "c"}


def test_a_join_behind_a_loop_is_fed_by_every_node_of_the_loop() -> None:
    graph = graph_of(["ah", "hx", "xh", "xj", "aj"])
    assert graph.feeders("j") == {"a", "h", "x"}


def test_an_error_edge_makes_no_join_but_feeds_one() -> None:
    graph = graph_of(["ab", "ac", "bd", "cd", "ae"], errors=["eb", "be"])
    assert graph.ways_in["b"] == ("a",)
    assert not graph.is_join("b")
    assert "e" in graph.feeders("d")


def test_a_node_with_an_error_edge_only_is_an_end() -> None:
    graph = graph_of(["ab"], errors=["bc"])
    assert graph.ends == ("b", "c")
    assert graph.cannot_end == ()


def test_a_compensation_node_is_reachable_and_takes_no_part_in_the_flow() -> None:
    graph = Graph.build("abc", "a", [Edge("a", "b"), Edge("a", "c", EdgeKind.COMPENSATE)])
    assert graph.unreachable == ()
    assert graph.successors["a"] == ("b",)
    assert graph.ways_in["c"] == ()


def test_ways_in_are_counted_by_source() -> None:
    edges = [
        Edge("a", "b", EdgeKind.LABEL, "x"),
        Edge("a", "b", EdgeKind.LABEL, "y"),
        Edge("a", "b", EdgeKind.ROUTE),
    ]
    assert Graph.build("ab", "a", edges).ways_in["b"] == ("a",)


def test_a_loop_without_exit_is_found_with_what_leads_into_it() -> None:
    graph = graph_of(["ab", "bc", "cb", "ad"])
    assert graph.loops_without_exit == (("b", "c"),)
    assert graph.cannot_end == ("b", "c")


def test_a_loop_with_two_entries_is_a_tangle() -> None:
    graph = graph_of(["ab", "ac", "bc", "cb", "bd"])
    assert graph.back_edges == frozenset()
    assert [(t.members, t.entries) for t in graph.irreducible] == [(("b", "c"), ("b", "c"))]


def test_edges_to_unknown_nodes_are_left_out() -> None:
    graph = Graph.build("ab", "a", [Edge("a", "b"), Edge("a", "z"), Edge("z", "b")])
    assert graph.edges == (Edge("a", "b"),)


def test_an_unknown_start_reaches_nothing() -> None:
    graph = Graph.build("ab", "z", [Edge("a", "b"), Edge("b", "a")])
    assert graph.unreachable == ("a", "b")
    assert graph.back_edges == frozenset()


# -- against brute force ---------------------------------------------------------------------------------------------


@st.composite
def small_graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 7))
    order = [chr(ord("a") + place) for place in range(count)]
    node = st.sampled_from(order)
    kind = st.sampled_from(
        [EdgeKind.NEXT, EdgeKind.NEXT, EdgeKind.ROUTE, EdgeKind.ERROR, EdgeKind.COMPENSATE]
    )
    edges = draw(st.lists(st.builds(Edge, node, node, kind), max_size=16))
    return Graph.build(order, "a", edges)


def flow(graph: Graph) -> set[tuple[str, str]]:
    return {(e.source, e.target) for e in graph.edges if e.kind is not EdgeKind.COMPENSATE}


def reach(roots: Iterable[str], edges: set[tuple[str, str]], *, without: str | None = None) -> set[str]:
    seen = {root for root in roots if root != without}
    while True:
        more = {t for s, t in edges if s in seen and t != without} - seen
        if not more:
            return seen
        seen |= more


def after(node: str, edges: set[tuple[str, str]]) -> set[str]:
    return reach([t for s, t in edges if s == node], edges)


def dominates(graph: Graph, above: str, below: str) -> bool:
    edges = flow(graph)
    reached = reach([graph.start], edges)
    return (
        above in reached
        and below in reached
        and (above == below or below not in reach([graph.start], edges, without=above))
    )


def natural_loop(graph: Graph, source: str, header: str) -> set[str]:
    edges = flow(graph)
    live = reach([graph.start], edges)
    return {header} | {n for n in live if n != header and source in reach([n], edges, without=header)}


@given(small_graphs())
def test_dominators_are_what_every_path_passes(graph: Graph) -> None:
    for above in graph.order:
        for below in graph.order:
            assert graph.dominates(above, below) == dominates(graph, above, below), (above, below)


@given(small_graphs())
def test_back_edges_lead_to_dominators(graph: Graph) -> None:
    assert graph.back_edges == {(s, t) for s, t in flow(graph) if dominates(graph, t, s)}


@given(small_graphs())
def test_ways_in_are_live_sources_without_back_edges_and_errors(graph: Graph) -> None:
    live = reach([graph.start], flow(graph))
    for node in graph.order:
        ways = {
            e.source
            for e in graph.edges
            if e.target == node
            and e.source in live
            and e.kind in (EdgeKind.NEXT, EdgeKind.ROUTE)
            and (e.source, node) not in graph.back_edges
        }
        assert set(graph.ways_in[node]) == ways
        assert len(graph.ways_in[node]) == len(ways)


@given(small_graphs())
@example(graph_of(["ab", "ba", "bc", "cb", "ac"]))
def test_feeders_reach_the_join_without_back_edges_of_its_loops(graph: Graph) -> None:
    for join in graph.order:
        closed = {(s, h) for s, h in graph.back_edges if join in natural_loop(graph, s, h)}
        edges = flow(graph) - closed
        assert graph.feeders(join) == {n for n in graph.order if join in after(n, edges)}


@given(small_graphs())
def test_loops_are_the_natural_loops_of_their_headers(graph: Graph) -> None:
    expected: dict[str, set[str]] = {}
    for source, header in graph.back_edges:
        expected.setdefault(header, set()).update(natural_loop(graph, source, header))
    assert {loop.header: set(loop.members) for loop in graph.loops} == expected


@given(small_graphs())
def test_reachability_and_ends_are_as_walked(graph: Graph) -> None:
    every = {(e.source, e.target) for e in graph.edges}
    assert graph.reachable == reach(["a"], every)
    forward = {e.source for e in graph.edges if e.kind in (EdgeKind.NEXT, EdgeKind.ROUTE)}
    assert set(graph.ends) == set(graph.order) - forward
    ends = set(graph.ends)
    assert set(graph.cannot_end) == {n for n in graph.order if not ends & reach([n], flow(graph))}
    for before in graph.order:
        for later in graph.order:
            assert graph.precedes(before, later) == (later in after(before, flow(graph)))


@given(small_graphs())
def test_loops_without_exit_are_closed_circles(graph: Graph) -> None:
    edges = flow(graph)
    expected: set[frozenset[str]] = set()
    for node in graph.order:
        circle = after(node, edges)
        if node in circle and all(node in after(other, edges) for other in circle):
            expected.add(frozenset(circle))
    assert {frozenset(loop) for loop in graph.loops_without_exit} == expected


@given(small_graphs())
def test_a_graph_without_tangles_has_no_circle_but_by_back_edges(graph: Graph) -> None:
    live = reach(["a"], flow(graph))
    rest = {(s, t) for s, t in flow(graph) - graph.back_edges if s in live}
    circular = {n for n in graph.order if n in after(n, rest)}
    assert {n for tangle in graph.irreducible for n in tangle.members} == circular
    for tangle in graph.irreducible:
        assert "a" in tangle.entries or len(tangle.entries) >= 2


# -- size ------------------------------------------------------------------------------------------------------------


def test_ten_thousand_nodes_are_analysed_without_recursion_and_soon() -> None:
    order = [f"n{place}" for place in range(10_000)]
    edges = [Edge(a, b) for a, b in pairwise(order)]
    edges += [Edge(order[place], order[place // 2]) for place in range(2, 10_000, 2)]
    edges += [Edge(order[place], order[min(9_999, place + 7)]) for place in range(0, 9_990, 3)]
    began = time.process_time()
    graph = Graph.build(order, "n0", edges)
    assert graph.cannot_end == ()
    assert graph.loops_without_exit == ()
    assert graph.unreachable == ()
    graph.feeders("n5000")
    assert graph.precedes("n0", "n9999")
    assert time.process_time() - began < 5


def test_thousands_of_nested_loops_cost_a_join_no_more_than_one_search() -> None:
    # h0 -> h1 -> ... -> (x, y) -> j -> ... -> t1 -> t0, and each t leads back to its h
    depth = 4_000
    down = [f"h{place}" for place in range(depth)]
    up = [f"t{place}" for place in reversed(range(depth))]
    edges = [Edge(a, b) for a, b in pairwise(down)] + [Edge(a, b) for a, b in pairwise(up)]
    edges += [Edge(f"t{place}", f"h{place}") for place in range(depth)]
    edges += [Edge(down[-1], "x"), Edge(down[-1], "y"), Edge("x", "j"), Edge("y", "j"), Edge("j", up[0])]
    began = time.process_time()
    graph = Graph.build([*down, "x", "y", "j", *up], "h0", edges)
    assert len(graph.back_edges) == depth
    assert graph.feeders("j") == {*down, "x", "y"}
    assert time.process_time() - began < 5
