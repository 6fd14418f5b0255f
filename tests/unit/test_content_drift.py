"""What is told to differ between nodes, over trees that hypothesis makes up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from st2ha.content.drift import differences, drifts, shown
from st2ha.content.facts import Entry, Root

NAMES = st.sampled_from(["a", "b b", "c\n", "d\udcff", "e/é"])
ENTRIES = st.builds(
    lambda mode, digest, modified: (mode, digest, modified),
    st.sampled_from([0o100644, 0o100755, 0o120777]), st.sampled_from(["x", "y"]), st.integers(0, 3),
)  # fmt: skip
TREES = st.dictionaries(NAMES, ENTRIES, max_size=4)
NODES = st.lists(TREES, min_size=1, max_size=4).map(lambda trees: {f"n{i}": tree for i, tree in enumerate(trees)})


def entries(tree: dict[str, tuple[int, str, int]], below: str = "") -> dict[str, Entry]:
    return {f"{below}{path}": Entry(f"{below}{path}", *values) for path, values in tree.items()}


@given(NODES)
def test_exactly_what_is_not_alike_is_told(nodes: dict[str, dict[str, tuple[int, str, int]]]) -> None:
    trees = {node: entries(tree) for node, tree in nodes.items()}
    found = {each.path: each for each in differences(trees)}
    for path in {path for tree in trees.values() for path in tree}:
        have = {node: tree[path] for node, tree in trees.items() if path in tree}
        alike = len(have) == len(trees) and len({entry.same for entry in have.values()}) == 1
        assert (path not in found) == alike
        if alike:
            continue
        each = found[path]
        assert set(each.lacking) == set(trees) - set(have)
        assert sorted(node for group in each.groups for node in group) == sorted(have)
        assert all(len({have[node].same for node in group}) == 1 for group in each.groups)
        assert len({have[group[0]].same for group in each.groups}) == len(each.groups)
        if each.newest:
            others = [have[node] for group in each.groups if each.newest not in group for node in group]
            mine = [have[node] for group in each.groups if each.newest in group for node in group]
            assert max(e.modified_ns for e in mine) > max(e.modified_ns for e in others)
        each.words().encode()
        assert "\n" not in each.words()


@given(NODES)
def test_a_drift_is_there_exactly_if_trees_differ(nodes: dict[str, dict[str, tuple[int, str, int]]]) -> None:
    """`top` is a directory on each node; its digest stands for what is in it, as on a real node."""
    roots = {}
    for node, tree in nodes.items():
        inside = repr(sorted((path, values[:2]) for path, values in tree.items()))
        top = Entry("top", 0o040755, inside, 0)
        roots[node] = Root("packs", digest=inside, tops={"top": top}, rows=entries(tree, "top/"))
    found = drifts("packs", roots)
    assert bool(found) == (len({root.digest for root in roots.values()}) > 1)
    for drift in found:
        expected = differences({node: entries(tree) for node, tree in nodes.items()}) if all(nodes.values()) else ()
        assert [each.path for each in drift.files] == [each.path for each in expected]
        assert set(drift.outliers) <= set(nodes) and drift.outliers


def test_a_path_is_shown_on_one_line() -> None:
    assert shown("a b\n\udcff\tü") == "a b\\n\\udcff\\tü"
