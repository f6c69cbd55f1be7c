"""Figures: log-log, measurements in colour with error bars, theory dashed black; the CSV lies beside every figure."""

from collections.abc import Sequence
from pathlib import Path

from .grammar import Grammar
from .inference import plateau, position_entropies


def learning_curve(rows: Sequence[dict], grammar: Grammar, path: str | Path) -> None:
    """KL against the number of training sentences, over all positions and at the last one, with the exact plateaus.

    A plateau is the KL of the best model that sees only its own aligned level-l block: the truncated law's entropy
    less the entropy rate.

    Args:
        rows (`Sequence[dict]`): the best row of every run, with `num_train`, `kl`, `kl_stderr`, `kl_last` and
            `kl_last_stderr`, in nats per token.
        grammar ([`Grammar`]): the law they are judged against.
        path (`str` or `Path`): the image to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: row["num_train"])
    averages = [plateau(grammar, level) for level in range(grammar.depth + 1)]
    lasts = [float(position_entropies(grammar, level)[-1]) for level in range(grammar.depth + 1)]
    figure = Figure(figsize=(9.6, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for ax, laws, key, title in (
        (axes[0], averages, "kl", "all positions"),
        (axes[1], lasts, "kl_last", "last position"),
    ):
        _panel(ax, rows, key, [law - laws[-1] for law in laws[:-1]], grammar)
        ax.set_title(title)
    axes[0].set_ylabel("KL to the exact law (nats per token)")
    figure.savefig(path)


def _panel(ax, rows: Sequence[dict], key: str, plateaus: Sequence[float], grammar: Grammar) -> None:
    sizes, kls = [row["num_train"] for row in rows], [row[key] for row in rows]
    errors = [row[f"{key}_stderr"] for row in rows]
    left, right = min(sizes) / 1.6, max(sizes) * 1.6
    for level, height in enumerate(plateaus):
        ax.axhline(height, color="black", linestyle="--", linewidth=1)
        span = grammar.block_length(level)
        label = "no context" if level == 0 else f"own block of {span} tokens"
        ax.text(right / 1.06, height * 1.03, label, ha="right", va="bottom", fontsize=8)
    ax.errorbar(sizes, kls, yerr=errors, color="C0", marker="o", capsize=3, linewidth=1.6)
    ax.set(xscale="log", yscale="log", xlim=(left, right), xlabel="training sentences P")
    ax.set_xticks(sizes, [f"{size:,}".replace(",", " ") for size in sizes])
    ax.minorticks_off()
    ax.grid(axis="y", which="major", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
