"""Plain figures of measurements: lines with error bars, heat maps. Matplotlib, without a display or global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import beside


APART = 0.07  # of a panel's width, that two numbers below it need
TITLE_WIDTH = 62  # characters


def lines(
    path: str | Path,
    series: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
    levels: Mapping[str, float] | None = None,
) -> None:
    """One panel of curves.

    Args:
        path (`str` or `Path`): the picture; its ending says the format.
        series (`Mapping`): label -> `x`, `y` and, where they are known, `error` (None: no bar at that point).
        title, xlabel, ylabel, xscale, yscale (`str`, *optional*): of the panel.
        levels (`Mapping[str, float]`, *optional*): label -> height of a dashed black line.
    """
    panels(path, [(title, series, levels)], xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)


def panels(
    path: str | Path,
    drawn: Sequence[tuple[str, Mapping[str, Mapping[str, Any]], Mapping[str, float] | None]],
    *,
    xlabel: str = "",
    ylabel: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
) -> None:
    """Panels of curves side by side, each a title, its series and its dashed lines: see [`lines`]."""
    from ..plots import colour, finish, new_figure

    figure, axes = new_figure(len(drawn), width=5.4 if len(drawn) == 1 else 4.4)
    for number, (ax, (title, series, levels)) in enumerate(zip(axes, drawn, strict=True)):
        ax.set_xscale(xscale)  # before anything asks for its limits
        for i, (label, curve) in enumerate(series.items()):
            x, y, error = _drawable(curve, yscale)
            ax.errorbar(
                x,
                y,
                error,
                color=colour(i, len(series)),
                marker="o",
                markersize=4,
                capsize=3,
                linewidth=1.2,
                label=label,
            )
        for label, height in (levels or {}).items():
            ax.axhline(height, color="black", linestyle="--", linewidth=0.9)
            ax.annotate(label, (1, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        ylabel_here = ylabel if number == 0 else ""
        finish(ax, _wrapped(title), xlabel=xlabel, ylabel=ylabel_here, xscale=xscale, yscale=_spread(ax, yscale))
        _plain_ticks(ax, series, xscale)
    with beside(path) as partial:
        figure.savefig(partial)


def _wrapped(title: str) -> str:
    """Titles hold names of any length: they are broken where a panel ends."""
    import textwrap

    return textwrap.fill(title, TITLE_WIDTH, break_on_hyphens=False)


def _spread(ax, yscale: str) -> str:
    """A logarithmic axis where the data span a factor that its ticks can show, else a linear one."""
    heights = [y for line in ax.get_lines() for y in line.get_ydata() if y > 0] if yscale == "log" else []
    return "linear" if heights and max(heights) < 4 * min(heights) else yscale


def _plain_ticks(ax, series: Mapping[str, Mapping[str, Any]], xscale: str) -> None:
    """On a logarithmic axis the measured values themselves, as plain numbers: those that have room."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    values = sorted({x for curve in series.values() for x in curve["x"]})
    if xscale == "linear" or not values:
        return
    to_panel = ax.transData + ax.transAxes.inverted()
    places = to_panel.transform([(x, ax.get_ylim()[0]) for x in values])[:, 0]
    shown = [len(values) - 1]  # the last one, and from the first one on what is far enough from both neighbours
    for i, place in enumerate(places[:-1]):
        if places[-1] - place >= APART and (len(shown) == 1 or place - places[shown[-1]] >= APART):
            shown.append(i)
    ax.set_xticks([values[i] for i in sorted(shown)])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x < 1e6 else f"{x:.0e}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", labelsize=8)


def _drawable(curve: Mapping[str, Any], yscale: str) -> tuple[list, list, list | None]:
    """Finite points alone, and on a logarithmic axis positive ones: an infinite KL has no place in a picture."""
    import math

    errors = curve.get("error") or [None] * len(curve["x"])
    points = [
        (x, y, 0.0 if e is None or not math.isfinite(e) else e)
        for x, y, e in zip(curve["x"], curve["y"], errors, strict=True)
        if y is not None and math.isfinite(y) and (yscale != "log" or y > 0)
    ]
    return [p[0] for p in points], [p[1] for p in points], [p[2] for p in points] if curve.get("error") else None


def heat_map(
    path: str | Path,
    values: Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str = "",
    xlabel: str = "",
    label: str = "",
) -> None:
    """A table of numbers as colours, with the numbers in it; what is not known stays white."""
    heat_maps(path, {title: values}, rows=rows, columns=columns, xlabel=xlabel, label=label)


def heat_maps(
    path: str | Path,
    tables: Mapping[str, Sequence[Sequence[float | None]]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str = "",
    label: str = "",
) -> None:
    """Several of them side by side, on one scale of colours."""
    import numpy as np

    from ..plots import new_figure

    height = max(2.6, 0.42 * len(rows) + 1.4)
    figure, axes = new_figure(len(tables), width=max(3.6, 0.75 * len(columns) + 2.2), height=height)
    grids = [np.array([[np.nan if v is None else v for v in row] for row in table]) for table in tables.values()]
    low, high = np.nanmin([np.nanmin(g) for g in grids]), np.nanmax([np.nanmax(g) for g in grids])
    for number, (ax, title, grid) in enumerate(zip(axes, tables, grids, strict=True)):
        shown = ax.imshow(grid, vmin=low, vmax=high, cmap="viridis", aspect="auto")
        ax.set_xticks(range(len(columns)), columns, fontsize=8)
        ax.set_yticks(range(len(rows)), rows if number == 0 else [""] * len(rows), fontsize=8)
        ax.set_xlabel(xlabel)
        ax.set_title(_wrapped(title), fontsize=10)
        for (i, j), value in np.ndenumerate(grid):
            if not np.isnan(value):
                dark = (value - low) < 0.6 * (high - low)
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    figure.colorbar(shown, ax=list(axes), label=label)
    with beside(path) as partial:
        figure.savefig(partial)
