"""Figures: log-log, measurements in colour with error bars, theory dashed black; the CSV lies beside every figure."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from .grammar import Grammar
from .inference import plateau, position_entropies


def plateaus(grammar: Grammar) -> list[dict]:
    """The exact losses of the best possible model that sees only its own aligned level-l block, l = 0..L.

    Returns:
        `list[dict]`: for every level `level`, `block` (tokens), `loss` (over all positions) and `loss_last` (at the
        last one) in nats per token, and `kl` and `kl_last`: how far that is above level L, the entropy rate.

    Raises:
        `ValueError`: where the grammar has too many contexts to enumerate.
    """
    laws = [
        (plateau(grammar, level), float(position_entropies(grammar, level)[-1])) for level in range(grammar.depth + 1)
    ]
    rate, rate_last = laws[-1]
    return [
        {
            "level": level,
            "block": grammar.block_length(level),
            "loss": loss,
            "loss_last": last,
            "kl": loss - rate,
            "kl_last": last - rate_last,
        }
        for level, (loss, last) in enumerate(laws)
    ]


def learning_curve(rows: Sequence[dict], exact: Sequence[dict], path: str | Path, title: str = "") -> None:
    """KL against the number of training sentences, over all positions and at the last one, with the exact plateaus.

    Args:
        rows (`Sequence[dict]`): the best row of every run: `num_train`, `kl`, `kl_stderr`, `kl_last` and, for error
            bars in the second panel, `kl_last_stderr`; nats per token.
        exact (`Sequence[dict]`): from [`plateaus`].
        path (`str` or `Path`): the image to write.
        title (`str`, *optional*): the title above both panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, key, heading in ((left, "kl", "all positions"), (right, "kl_last", "last position")):
        _panel(ax, sorted(rows, key=lambda row: row["num_train"]), exact, key)
        ax.set_title(heading, fontsize=11)
    left.plot(
        [], [], color="black", linestyle="--", linewidth=1, label="exact: the best model that sees its block only"
    )
    left.legend(loc="lower left", frameon=False, fontsize=8)
    left.set_ylabel("KL to the exact law (nats per token)")
    figure.suptitle(title, fontsize=12)
    figure.savefig(path)


def _panel(ax, rows: Sequence[dict], exact: Sequence[dict], key: str) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sizes, kls = [row["num_train"] for row in rows], [row[key] for row in rows]
    right = max(sizes) * 1.6
    for law in exact[:-1]:
        ax.axhline(law[key], color="black", linestyle="--", linewidth=1)
        label = "no context" if law["level"] == 0 else f"blocks of {law['block']} tokens"
        ax.text(right / 1.06, law[key] * 1.03, label, ha="right", va="bottom", fontsize=8)
    ax.plot(sizes, kls, color="0.6", linewidth=1.2, zorder=2)
    for i, (size, kl, row) in enumerate(zip(sizes, kls, rows, strict=True)):
        colour = colormaps["viridis"](0.9 * i / max(1, len(rows) - 1))
        ax.errorbar(
            size, kl, row.get(f"{key}_stderr", 0.0), color=colour, marker="o", markersize=7, capsize=4, zorder=3
        )
    ax.set(xscale="log", yscale="log", xlim=(min(sizes) / 1.6, right), xlabel="training sentences P")
    ax.set_xticks(sizes, [f"{size:,}".replace(",", "\u2009") for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y", alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)


def new_figure(panels: int, width: float = 4.2, height: float = 3.9, rows: int = 1):
    """A figure of so many panels, drawn without a display or global state.

    Returns:
        `tuple`: the figure and its axes, an array of shape `(panels,)`, or `(rows, panels)` for several rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, panels, squeeze=False)
    return figure, axes[0] if rows == 1 else axes


def colour(position: int, of: int):
    """The colour of the `position`-th of so many curves that have an order, such as levels or sizes."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.92 * position / max(1, of - 1))


def finish(ax, title: str = "", **settings) -> None:
    """Common settings of a panel: plain numbers on logarithmic axes, a light grid, no frame."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set(**settings)
    ax.set_title(title, fontsize=10)
    if settings.get("yscale") == "log":
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    if settings.get("xscale") == "log" and high > 10 * low:
        ax.xaxis.set_minor_formatter(NullFormatter())  # powers of ten will do, others would overlap
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7, framealpha=0.85, edgecolor="none")
    ax.grid(alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)


def averages(rows: Sequence[dict], x: str, y: str) -> tuple[list, list[float], list[float]]:
    """Rows grouped by `x`, in order: x, the mean of `y` and its standard error (0 for one row)."""
    groups: dict = {}
    for row in rows:
        groups.setdefault(row[x], []).append(row[y])
    order = sorted(groups)
    means = [fmean(groups[key]) for key in order]
    errors = [stdev(groups[key]) / len(groups[key]) ** 0.5 if len(groups[key]) > 1 else 0.0 for key in order]
    return order, means, errors
