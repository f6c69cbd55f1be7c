"""A tree as text: drawn from the top down where it fits, else one node a line."""

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .nodes import Node, place


STYLES = {"": "", "changed": "bold red", "given": "bold green", "uncertain": "yellow"}
CORNERS = {  # (left, right, up, down) -> character
    (False, True, False, True): "┌",
    (True, False, False, True): "┐",
    (True, True, False, True): "┬",
    (True, True, True, False): "┴",
    (True, True, True, True): "┼",
    (False, True, True, True): "├",
    (True, False, True, True): "┤",
    (False, False, True, True): "│",
    (True, True, False, False): "─",
    (False, True, True, False): "└",
    (True, False, True, False): "┘",
}


def tree_lines(root: Node, row_names: list[str] | None = None) -> list[Text]:
    """The lines of a tree drawn from the top down.

    Args:
        root ([`~rhm_hf.drawing.nodes.Node`]): the tree.
        row_names (`list[str]`, *optional*): what stands left of every row of nodes, root first.
    """
    placed = place(root)
    rows = max(entry.row for entry in placed) + 1
    width = int(max(entry.x + len(entry.node.label) / 2 for entry in placed)) + 2
    cells = [[" "] * width for _ in range(2 * rows - 1)]
    marks = [[""] * width for _ in range(2 * rows - 1)]
    for entry in placed:
        start = _column(entry.x, entry.node.label)
        for i, character in enumerate(entry.node.label):
            cells[2 * entry.row][start + i] = character
            marks[2 * entry.row][start + i] = entry.node.mark
    below: dict[int, list[int]] = {}
    for entry in placed:
        if entry.parent is not None:
            below.setdefault(entry.parent, []).append(int(entry.x))
    for parent, columns in below.items():
        _join(cells[2 * placed[parent].row + 1], int(placed[parent].x), columns)
    margin = max(map(len, row_names or [""])) + 2 if row_names else 0
    lines = []
    for number, (row, marked) in enumerate(zip(cells, marks, strict=True)):
        name = row_names[number // 2] if row_names and number % 2 == 0 else ""
        line = Text()
        line.append(name.ljust(margin), "dim")
        for character, mark in zip(row, marked, strict=True):
            line.append(character, STYLES[mark])
        line.rstrip()
        lines.append(line)
    return lines


def _column(x: float, label: str) -> int:
    return max(0, int(x - len(label) / 2 + (0.5 if len(label) % 2 == 0 else 0)))


def _join(row: list[str], parent: int, columns: list[int]) -> None:
    """Draws the line between a parent and its children."""
    left, right = min(*columns, parent), max(*columns, parent)
    for x in range(left, right + 1):
        row[x] = CORNERS[x > left, x < right, x == parent, x in columns]


def show_tree(root: Node, console: Console, row_names: list[str] | None = None) -> None:
    """Prints a tree, from the top down where it fits the width, else one node a line."""
    lines = tree_lines(root if console.color_system else _starred(root), row_names)
    if max(len(line) for line in lines) <= console.width:
        for line in lines:
            console.print(line, no_wrap=True, crop=False)
        return
    console.print(_indented(root, Tree(Text(root.label, STYLES[root.mark]))))


def _starred(node: Node) -> Node:
    """What has changed with a star behind it, where there are no colours."""
    label = f"{node.label}*" if node.mark == "changed" else node.label
    return Node(label, tuple(_starred(child) for child in node.children), node.mark)


def _indented(node: Node, tree: Tree) -> Tree:
    for child in node.children:
        _indented(child, tree.add(Text(child.label, STYLES[child.mark])))
    return tree
