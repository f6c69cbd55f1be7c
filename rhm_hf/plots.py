"""Figures: log-log, measurements in colour with error bars, theory dashed black; the CSV lies beside every figure.

A picture is read on a phone and on paper: 7 inches wide, at most two panels a row, names at the ends of lines instead
of legends of nine entries, markers beside colours. Hollow markers are bounds, or runs that their step limit ended.
"""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from .checks import NonNegativeInt, Positive, PositiveInt, Range, checked
from .ensembles import AT_LEAST, AT_MOST, averages, distinct, group, limited, scale, where
from .grammar import Grammar
from .inference import last_token_plateaus, plateau


if TYPE_CHECKING:
    from matplotlib.figure import Figure


WIDTH = 7.0  # inches, of every picture
# Okabe and Ito's first; one less than markers, so that a colour that comes again has another one.
INKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#7A5195", "#A0522D", "#8B8000")
GAP = 0.06  # of a panel's height, between names at the ends of lines
MARKERS = "os^Dv<>pPX"
Panels = Annotated[int, Range(1, 1000)]


@checked
def plateaus(grammar: Grammar) -> list[dict[str, Any]]:
    """The exact losses of the best possible model that sees only its own aligned level-l block, l = 0..L.

    Returns:
        `list[dict]`: for every level `level`, `block` (tokens), `loss` (over all positions) and `loss_last` (at the
        last one) in nats per token, and `kl` and `kl_last`: how far that is above level L, the entropy rate.

    Raises:
        `ValueError`: where the grammar has too many contexts to enumerate.
    """
    laws = [(plateau(grammar, level), last) for level, last in enumerate(last_token_plateaus(grammar))]
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


@checked
def learning_curve(
    rows: Sequence[dict[str, Any]], exact: Sequence[dict[str, Any]], path: str | Path, title: str = ""
) -> None:
    """KL against the number of training sentences, over all positions and at the last one, with the exact plateaus.

    Args:
        rows (`Sequence[dict]`): the best row of every run: `num_train`, `kl`, `kl_stderr`, `kl_last` and `rules_seed`,
            over which error bars are; of one grammar the bars are `kl_stderr` and, where there, `kl_last_stderr`.
            Several `data` or `model` are a curve each.
        exact (`Sequence[dict]`): from [`plateaus`], with `data` where the rows have several.
        path (`str` or `Path`): the image to write.
        title (`str`, *optional*): the title above both panels.
    """
    if not len(rows):
        raise ValueError("rows is empty: give the best row of every run")
    figure, (left, right) = sheet(2, height=3.2)
    curves = group(rows, "data", "model")
    names = {
        key: ", ".join(str(part) for part, n in zip(key, _numbers(curves), strict=True) if n > 1) for key in curves
    }
    for ax, key, heading in ((left, "kl", "all positions"), (right, "kl_last", "last position")):
        for i, (name, mine) in enumerate(curves.items()):
            one = len(distinct(mine, "rules_seed")) == 1 and all(f"{key}_stderr" in row for row in mine)
            curve(ax, mine, "num_train", key, i, names[name], errors=f"{key}_stderr" if one else None)
        for level, value, _ in zip(*averages(exact, "level", key), strict=True):
            if value > 0 and len(distinct(rows, "data")) == 1:
                block = where(exact, level=level)[0]["block"]
                level_line(ax, value, "no context" if level == 0 else f"blocks of {block}")
        finish(ax, heading, labels="lines", xscale="log", yscale="log", xlabel="training sentences P")
        few_ticks(ax, [row["num_train"] for row in rows])
    left.set_ylabel("KL to the exact law (nats per token)")
    figure.suptitle(title, fontsize=9)
    ended = "; hollow: ended by the step limit" if any(map(limited, rows)) else ""
    note(figure, f"{scale(rows)}; dashed: exact, the best model that sees its block only{ended}")
    figure.savefig(path)


def _numbers(keys) -> list[int]:
    return [len(set(column)) for column in zip(*keys, strict=True)]


@checked
def new_figure(
    panels: Panels, width: Positive = 4.2, height: Positive = 3.9, rows: Panels = 1
) -> tuple["Figure", np.ndarray]:
    """A figure of so many panels, drawn without a display or global state.

    Returns:
        `tuple`: the figure and its axes, an array of shape `(panels,)`, or `(rows, panels)` for several rows.
    """
    figure = _figure(width * panels, height * rows)
    axes = figure.subplots(rows, panels, squeeze=False)
    return figure, axes[0] if rows == 1 else axes


@checked
def sheet(panels: Panels, height: Positive = 2.7, **options: object) -> tuple["Figure", np.ndarray]:
    """A picture 7 inches wide with at most two panels a row.

    Args:
        panels (`int`): how many, in reading order; of an odd number the last place stays empty.
        height (`float`, *optional*, defaults to 2.7): inches of a row.
        options: of matplotlib's `subplots`, such as `sharex`.

    Returns:
        `tuple`: the figure and its axes, an array of shape `(panels,)`.
    """
    columns, rows = min(2, panels), -(-panels // 2)
    figure = _figure(WIDTH, height * rows + 0.2)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for ax in axes[panels:]:
        ax.set_axis_off()
    return figure, axes[:panels]


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@checked
def colour(position: NonNegativeInt, of: PositiveInt) -> tuple[float, float, float, float]:
    """The colour of the `position`-th of so many curves that have an order, such as levels or sizes.

    From dark to light, and no lighter than prints well.
    """
    from matplotlib import colormaps

    return colormaps["viridis"](0.8 * position / max(1, of - 1))


@checked
def ink(i: NonNegativeInt, of: PositiveInt | None = None) -> dict[str, Any]:
    """Colour and marker of the i-th curve: of an ordered family where `of` says of how many, else of single ones."""
    return {"color": INKS[i % len(INKS)] if of is None else colour(i, of), "marker": MARKERS[i % len(MARKERS)]}


@checked
def curve(
    ax: Any,
    rows: Sequence[dict[str, Any]],
    x: str,
    y: str,
    i: NonNegativeInt = 0,
    label: str = "",
    of: PositiveInt | None = None,
    errors: str | None = None,
    hollow: str | Callable[[dict[str, Any]], bool] | None = None,
    over: str = "rules_seed",
    **style: object,
) -> None:
    """The mean over grammars with error bars over them.

    Args:
        ax: of matplotlib.
        rows (`Sequence[dict]`): of one ensemble.
        x, y (`str`): columns.
        i (`int`, *optional*, defaults to 0): which of several curves it is.
        label (`str`, *optional*): its name.
        of (`int`, *optional*): how many curves there are, where they have an order.
        errors (`str`, *optional*): a column of error bars, instead of the spread over grammars.
        hollow (`str` or `Callable`, *optional*): a column that is 1, or a function of a row that is true, where a
            value is a bound. Runs that their step limit ended always are, where the table tells (`stopped_by`).
        over (`str`, *optional*, defaults to `"rules_seed"`): the column that tells independent samples apart.
        style: of matplotlib's `errorbar`.
    """
    if not rows:
        return
    xs, means, bars = averages(rows, x, y, over)
    if errors is not None:
        bars = averages(rows, x, errors, over)[1]
    told = hollow if callable(hollow) else (lambda row: hollow is not None and row.get(hollow) == 1)
    look = {"markersize": 3.5, "capsize": 1.5, "linewidth": 1.1, **ink(i, of), **style}
    ax.errorbar(xs, means, bars, label=label or None, **look)
    for place, mean in zip(xs, means, strict=True):
        if any(told(row) or limited(row) for row in rows if row[x] == place):
            ax.plot(
                place, mean, look["marker"], color=look["color"], markersize=3.5, markerfacecolor="white", zorder=5
            )


@checked
def bound_mark(ax: Any, x: float, y: float, bound: str, marker: str, color: Any, vertical: bool = True) -> None:
    """A point: filled where measured, hollow with an arrow to the side on which the truth lies where it is a bound."""
    ax.plot(x, y, marker, color=color, markersize=4, markerfacecolor="white" if bound else color, zorder=5)
    if bound in (AT_LEAST, AT_MOST):
        turn = 10 if bound == AT_LEAST else -10
        ax.annotate(
            "", (x, y), xytext=(0, turn) if vertical else (turn, 0), textcoords="offset points",
            arrowprops={"arrowstyle": "<-", "color": color, "linewidth": 0.8},
        )  # fmt: skip


@checked
def level_line(ax: Any, value: float, label: str = "", **style: object) -> None:
    """A law of theory, dashed black across the panel; its name stands with those of the lines."""
    ax.axhline(
        value, label=label or None, gid="level", **{"color": "black", "linestyle": "--", "linewidth": 0.7, **style}
    )


@checked
def place_line(ax: Any, value: float, label: str = "") -> None:
    """A place of theory, dashed black from bottom to top, its name at the top."""
    ax.axvline(value, color="black", linestyle="--", linewidth=0.7)
    ax.annotate(
        label, (value, 1), xycoords=ax.get_xaxis_transform(), xytext=(2, -2), textcoords="offset points",
        fontsize=6.5, color="0.25", va="top",
    )  # fmt: skip


@checked
def finish(ax: Any, title: str = "", labels: str = "legend", **settings: Any) -> None:
    """Common settings of a panel: plain numbers on logarithmic axes, a light grid, no frame.

    Args:
        ax: of matplotlib.
        title (`str`, *optional*): broken into lines where it is longer than a panel.
        labels (`str`, *optional*, defaults to `"legend"`): `lines`: names at the ends of the lines, beside the panel.
        settings: of `ax.set`.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set(**settings)
    narrow = ax.figure.get_figwidth() <= WIDTH
    ax.set_title(textwrap.fill(title, 44) if narrow else title, fontsize=8 if narrow else 10)
    if narrow:
        ax.tick_params(labelsize=7)
        ax.xaxis.label.set_fontsize(8)
        ax.yaxis.label.set_fontsize(8)
    if settings.get("yscale") == "log":
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    if settings.get("xscale") == "log" and high > 10 * low:
        ax.xaxis.set_minor_formatter(NullFormatter())  # powers of ten will do, others would overlap
    if labels == "lines":
        label_lines(ax)
    elif ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=6.5 if narrow else 7, framealpha=0.85, edgecolor="none")
    ax.grid(alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)


@checked
def label_lines(ax: Any, fontsize: float = 6.5) -> None:
    """The name of every labelled line right of the panel, at the height of its end and in its colour."""
    ends = []
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
        line = handle.lines[0] if hasattr(handle, "lines") else handle
        xs, ys = (np.asarray(values, dtype=float) for values in (line.get_xdata(), line.get_ydata()))
        seen = np.flatnonzero(np.isfinite(xs) & np.isfinite(ys))
        if len(seen):
            last = seen[np.argmax(xs[seen])]
            at = ax.transAxes.inverted().transform(line.get_transform().transform((xs[last], ys[last])))
            ends.append((float(np.clip(at[1], 0, 1)), at, label, line.get_color()))
    ends.sort(key=lambda end: (end[0], end[1][0]))  # of equal heights the shorter line below: leaders do not cross
    for (_, at, label, shade), height in zip(ends, _apart([end[0] for end in ends], gap=GAP), strict=True):
        ax.annotate(
            label, at, xycoords="axes fraction", xytext=(1.04, height), textcoords="axes fraction", fontsize=fontsize,
            va="center", color=shade, annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": shade, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def _apart(heights: list[float], gap: float) -> list[float]:
    """Heights in order, moved as little as they must be to lie a gap apart and inside the panel."""
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(heights))
    if not heights:
        return []
    moved = isotonic_regression(np.array(heights) - steps).x
    return (np.clip(moved, 0, max(0.0, 0.97 - steps[-1])) + steps).tolist()


@checked
def few_ticks(ax: Any, sizes: Sequence[float]) -> None:
    """At most six ticks at powers of two or four within the range of some sizes, written out."""
    if not len(sizes):
        raise ValueError("sizes is empty: give the sizes on the axis")
    low, high = np.log2(min(sizes)), np.log2(max(sizes))
    step = max(1, int(np.ceil((high - low) / 6)))
    exponents = np.arange(np.ceil(low), np.floor(high) + 1, step)
    ticks = [2.0**k for k in exponents] if len(exponents) > 1 else sorted(set(sizes))
    ax.set_xticks(ticks, [_short(tick) for tick in ticks])
    ax.set_xticks([], minor=True)


def _short(value: float) -> str:
    return f"{value / 2**20:g}M" if value >= 2**20 else f"{value / 1024:g}k" if value >= 8192 else f"{value:g}"


@checked
def note(figure: Any, text: str) -> None:
    """What a reader must know, in small print below the panels: how many grammars and seeds, what marks mean."""
    figure.supxlabel(textwrap.fill(text, 125), fontsize=6.5, color="0.25", x=0.01, ha="left")
