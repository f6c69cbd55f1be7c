"""Trees as text and as pictures."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from rhm_hf.drawing.nodes import Node, from_counts, from_levels, of_derivation, place
from rhm_hf.drawing.picture import draw_trees
from rhm_hf.drawing.terminal import show_tree, tree_lines


def text(tree, **options):
    return [line.plain.rstrip() for line in tree_lines(tree, **options)]


def test_a_small_tree():
    tree = from_levels([[3, 0, 1, 1], [1, 2], [7]])
    assert text(tree) == ["    7", "  ┌─┴─┐", "  1   2", " ┌┴┐ ┌┴┐", " 3 0 1 1"] or text(tree) == [
        "   7",
        " ┌─┴─┐",
        " 1   2",
        "┌┴┐ ┌┴┐",
        "3 0 1 1",
    ]
    named = text(tree, row_names=["root", "", "tokens"])
    assert named[0].startswith("root ")
    assert named[-1].startswith("tokens ")


@pytest.mark.parametrize("seed", range(20))
def test_leaves_keep_their_order_and_labels_do_not_overlap(seed):
    """Trees of every shape, labels of every width."""
    rng = np.random.default_rng(seed)

    def grow(depth):
        label = "x" * int(rng.integers(1, 7))
        if depth == 0 or rng.random() < 0.2:
            return Node(label)
        return Node(label, tuple(grow(depth - 1) for _ in range(rng.integers(1, 4))))

    tree = grow(4)
    placed = place(tree)
    assert [entry.node for entry in placed] == list(tree.nodes())
    for row in range(max(entry.row for entry in placed) + 1):
        here = sorted((e.x - len(e.node.label) / 2, e.x + len(e.node.label) / 2) for e in placed if e.row == row)
        assert all(right < left for (_, right), (left, _) in pairwise(here))
        assert here[0][0] >= 0
    leaves = [entry.x for entry in placed if not entry.node.children]
    assert leaves == sorted(leaves)
    lines = text(tree)
    for row in range(0, len(lines), 2):
        labels = [entry.node.label for entry in sorted(placed, key=lambda e: e.x) if entry.row == row // 2]
        assert lines[row].split() == labels


def test_derivations_of_every_kind():
    """By levels, with numbers of children, by rules: one tree."""
    expected = Node("S", (Node("a"), Node("S", (Node("b"),)), Node("c")))
    rules = SimpleNamespace(vocab_size=3, terminals=("a", "b", "c"), symbols=("S",), right_sides=[(0, 3, 2), (1,), ()])
    assert of_derivation(SimpleNamespace(grammar_rules=rules, rules=np.array([0, 1]))) == expected
    empty = of_derivation(SimpleNamespace(grammar_rules=rules, rules=np.array([0, 2])))
    assert empty == Node("S", (Node("a"), Node("S", (Node("ε"),)), Node("c")))
    levels, counts = [[5, 6, 7], [1, 2], [0]], [[], [1, 2], [2]]
    tree = of_derivation(SimpleNamespace(levels=levels, num_children=counts))
    assert tree == Node("0", (Node("1", (Node("5"),)), Node("2", (Node("6"), Node("7")))))
    assert from_counts([[1, 2, 3, 4], [5, 6], [7]], [[], [2, 2], [2]]) == of_derivation([[1, 2, 3, 4], [5, 6], [7]])


def test_levels_that_are_no_tree_are_refused():
    for levels in ([[1, 2], [3, 4]], [[1, 2, 3], [1, 2], [0]]):
        with pytest.raises(ValueError, match="level"):
            from_levels(levels)


def test_a_wide_tree_is_written_one_node_a_line(capsys):
    levels = [list(range(64)), list(range(32)), list(range(16)), list(range(8)), list(range(4)), [0, 1], [0]]
    show_tree(from_levels(levels), Console(width=60))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 127
    show_tree(from_levels([[1, 2], [0]]), Console(width=60))
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_what_has_changed_is_starred_where_there_are_no_colours(capsys):
    tree = from_levels([[1, 2], [0]], mark=lambda level, node: "changed" if (level, node) == (0, 1) else "")
    show_tree(tree, Console(width=60))
    assert "1 2*" in capsys.readouterr().out


def test_pictures_hold_the_labels(tmp_path):
    tree = Node("S", (Node("(", mark="given"), Node("$x_1$", mark="uncertain"), Node("<b>", mark="changed")))
    for ending in ("svg", "png", "pdf"):
        draw_trees(tmp_path / f"a.{ending}", {"one": tree, "two": tree}, ["root", "tokens"])
    drawn = (tmp_path / "a.svg").read_text()
    assert "$x_1$" in drawn
    assert "&lt;b&gt;" in drawn
    assert all(meaning in drawn for meaning in ("changed", "given", "not determined"))
    with pytest.raises(ValueError, match=r"must end with \.svg, \.png, \.pdf"):
        draw_trees(tmp_path / "a.gif", {"one": tree})
    wide = from_levels([list(range(1000)), [0]])
    with pytest.raises(ValueError, match="inches wide"):
        draw_trees(tmp_path / "b.svg", {"wide": wide})
