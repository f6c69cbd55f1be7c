"""A tree, or two of them, as a picture: SVG, PNG or PDF, as the ending of its path says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import beside
from .nodes import Node, place


FORMATS = (".svg", ".png", ".pdf")
COLOURS = {  # mark -> the colour of the disc and of its line
    "": ("#f4f4f2", "#555555"),
    "changed": ("#f9d3cc", "#c0392b"),
    "given": ("#d5ecd4", "#2e7d32"),
    "uncertain": ("#fdf0c8", "#b7791f"),
}
MEANING = {"changed": "changed", "given": "given", "uncertain": "not determined"}
INCHES = 0.15  # a column
ROW_INCHES = 0.62
LARGEST = 60  # inches


def draw_trees(path: str | Path, trees: Mapping[str, Node], row_names: Sequence[str] | None = None) -> None:
    """Draws trees below each other.

    Args:
        path (`str` or `Path`): ends with .svg, .png or .pdf.
        trees (`Mapping[str, Node]`): title -> tree.
        row_names (`Sequence[str]`, *optional*): what stands left of every row, root first.

    Raises:
        `ValueError`: for another ending, or trees so wide that no picture holds them.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"--out {str(path)!r} must end with {', '.join(FORMATS)}")
    places = {title: place(tree, gap=2) for title, tree in trees.items()}
    columns = max(entry.x + len(entry.node.label) / 2 for placed in places.values() for entry in placed) + 1
    margin = max(map(len, row_names), default=0) + 1 if row_names else 0
    width = max(3.2, INCHES * (columns + margin))
    if width > LARGEST:
        raise ValueError(
            f"the tree is {width:.0f} inches wide, {LARGEST} at most: take a grammar of shorter sentences"
        )
    rows = [max(entry.row for entry in placed) + 1 for placed in places.values()]
    height = ROW_INCHES * (sum(rows) + 0.9 * len(rows)) + 0.25
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(places), 1, squeeze=False, height_ratios=rows)[:, 0]
    seen: set[str] = set()
    for ax, (title, placed) in zip(axes, places.items(), strict=True):
        seen |= _draw(ax, placed, columns, margin, row_names)
        ax.set_title(title, fontsize=10, loc="left")
    if seen & set(MEANING):
        handles = [
            Line2D(
                [],
                [],
                marker="o",
                linestyle="",
                markersize=8,
                color=COLOURS[mark][1],
                mfc=COLOURS[mark][0],
                label=text,
            )
            for mark, text in MEANING.items()
            if mark in seen
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=8)
    with beside(path) as partial, matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(partial)


def _draw(ax, placed, columns: float, margin: float, row_names: Sequence[str] | None) -> set[str]:
    """One tree; the marks that it has."""
    for entry in placed:
        if entry.parent is not None:
            above = placed[entry.parent]
            changed = entry.node.mark == "changed"
            ax.plot(
                [above.x, entry.x],
                [-above.row, -entry.row],
                color=COLOURS["changed"][1] if changed else "#999999",
                linewidth=1.0,
                zorder=1,
            )
    for entry in placed:
        face, edge = COLOURS[entry.node.mark]
        ax.text(
            entry.x,
            -entry.row,
            entry.node.label,
            ha="center",
            va="center",
            fontsize=9,
            zorder=2,
            parse_math=False,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": face, "edgecolor": edge, "linewidth": 1.0},
        )
    rows = max(entry.row for entry in placed)
    for row, name in enumerate(list(row_names or [])[: rows + 1]):
        ax.text(-margin, -row, name, ha="left", va="center", fontsize=8, color="#777777")
    ax.set_xlim(-margin - 0.5, columns)
    ax.set_ylim(-rows - 0.45, 0.45)
    ax.axis("off")
    return {entry.node.mark for entry in placed}
