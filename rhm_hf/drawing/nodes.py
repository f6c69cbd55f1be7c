"""Trees of symbols: what is to be drawn, and where its nodes go."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


MARKS = ("", "changed", "given", "uncertain")


@dataclass(frozen=True)
class Node:
    """A node and what is below it.

    Args:
        label (`str`): what stands there.
        children (`tuple[Node, ...]`): from the left; none: a leaf.
        mark (`str`): "" or why it is coloured: `changed`, `given` or `uncertain`.
    """

    label: str
    children: tuple["Node", ...] = ()
    mark: str = ""

    @property
    def height(self) -> int:
        """Levels below it."""
        return 1 + max((child.height for child in self.children), default=-1)

    def nodes(self) -> Iterator["Node"]:
        """It and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.nodes()


@dataclass(frozen=True)
class Placed:
    """A node with its place: `x` in columns, `row` counted from the root; `parent` its parent's number, or None."""

    node: Node
    x: float
    row: int
    parent: int | None


def from_levels(
    levels: Sequence[Sequence[Any]],
    label: Callable[[int, int], str] | None = None,
    mark: Callable[[int, int], str] | None = None,
) -> Node:
    """The tree of one derivation on a regular tree.

    Args:
        levels (`Sequence`): the symbols of every level, tokens first and the root last; the nodes of a level divide
            those of the one below into equal parts.
        label (`Callable`, *optional*): `(level, node)` to what stands there; by default the symbol.
        mark (`Callable`, *optional*): `(level, node)` to a mark.

    Raises:
        `ValueError`: where the last level is not one node, or levels do not fit.
    """
    if len(levels[-1]) != 1:
        raise ValueError(f"levels[-1] has {len(levels[-1])} nodes: the last level is the root, one node")

    def build(level: int, node: int) -> Node:
        text = str(int(levels[level][node])) if label is None else label(level, node)
        below: tuple[Node, ...] = ()
        if level:
            size, rest = divmod(len(levels[level - 1]), len(levels[level]))
            if rest or not size:
                raise ValueError(
                    f"levels[{level - 1}] has {len(levels[level - 1])} nodes, not a multiple of those above"
                )
            below = tuple(build(level - 1, node * size + i) for i in range(size))
        return Node(text, below, "" if mark is None else mark(level, node))

    return build(len(levels) - 1, 0)


def from_counts(levels: Sequence[Sequence[Any]], num_children: Sequence[Sequence[int]]) -> Node:
    """The tree of one derivation whose nodes differ in their numbers of children.

    Args:
        levels (`Sequence`): the symbols of every level from left to right, tokens first and the root last.
        num_children (`Sequence`): how many children every node of a level has; the tokens' entry is not read.
    """
    below = [Node(str(int(token))) for token in levels[0]]
    for symbols, counts in zip(levels[1:], num_children[1:], strict=True):
        first, above = 0, []
        for symbol, count in zip(symbols, counts, strict=True):
            above.append(Node(str(int(symbol)), tuple(below[first : first + int(count)])))
            first += int(count)
        below = above
    if len(below) != 1:
        raise ValueError(f"levels[-1] has {len(below)} nodes: the last level is the root, one node")
    return below[0]


def from_rules(rules: Sequence[int], grammar_rules: Any) -> Node:
    """The tree of one derivation of a general grammar.

    Args:
        rules (`Sequence[int]`): the rule of every node, a node before its children, from the left.
        grammar_rules: of the grammar, with `right_sides`, `terminals`, `symbols` and `vocab_size`: token k is k,
            symbol a is v + a. An empty right side is drawn as a leaf `ε`.
    """
    v, following = grammar_rules.vocab_size, iter(rules)
    done: list[Node] = []
    stack: list[tuple[int, int | None]] = [(v, None)]  # a code to expand, or a symbol with its number of children
    while stack:
        code, count = stack.pop()
        if count is not None:
            children = tuple(done[len(done) - count :]) if count else (Node("ε"),)
            del done[len(done) - count :]
            done.append(Node(str(grammar_rules.symbols[code - v]), children))
        elif code < v:
            done.append(Node(str(grammar_rules.terminals[code])))
        else:
            right = grammar_rules.right_sides[int(next(following))]
            stack.append((code, len(right)))
            stack += [(child, None) for child in reversed(right)]
    return done[0]


def of_derivation(derivation: Any) -> Node:
    """The tree of a derivation as a source gives it: by levels, with numbers of children, or by rules."""
    if hasattr(derivation, "grammar_rules"):
        return from_rules(derivation.rules, derivation.grammar_rules)
    if hasattr(derivation, "num_children"):
        return from_counts(derivation.levels, derivation.num_children)
    return from_levels(derivation)


def place(root: Node, gap: int = 1) -> list[Placed]:
    """Places for all nodes: leaves side by side in their order, parents over the middle of their children.

    A label takes its characters and `gap` columns; where it is wider than what is below it, that moves apart. Leaves
    stand on the row of their depth.

    Returns:
        `list[Placed]`: parents before their children; `x` is the middle of the label.
    """
    found: list[list] = []  # node, x, row, parent

    def put(node: Node, left: float, row: int, parent: int | None) -> tuple[float, float]:
        """Places a subtree from column `left`; its middle and its width."""
        index = len(found)
        found.append([node, 0.0, row, parent])
        own = len(node.label) + gap
        if not node.children:
            found[index][1] = left + len(node.label) / 2
            return found[index][1], own
        middles, width = [], 0.0
        for child in node.children:
            middle, wide = put(child, left + width, row + 1, index)
            middles.append(middle)
            width += wide
        if (short := own - width) > 0:
            for entry in found[index + 1 :]:
                entry[1] += short / 2
            middles = [middle + short / 2 for middle in middles]
            width = own
        found[index][1] = (middles[0] + middles[-1]) / 2
        return found[index][1], width

    put(root, 0.0, 0, None)
    # A label over the middle of uneven subtrees may stick out to the left.
    overhang = min(x - len(node.label) / 2 for node, x, _, _ in found)
    return [Placed(node, x - min(0.0, overhang), row, parent) for node, x, row, parent in found]
