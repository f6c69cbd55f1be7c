"""Figures: log-log, measurements in colour with error bars, theory dashed black; the CSV lies beside every figure."""

from collections.abc import Sequence
from pathlib import Path

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
