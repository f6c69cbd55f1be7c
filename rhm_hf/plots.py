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
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, laws, key, title in ((left, averages, "kl", "all positions"), (right, lasts, "kl_last", "last position")):
        _panel(ax, rows, key, [law - laws[-1] for law in laws[:-1]], grammar)
        ax.set_title(title, fontsize=11)
    left.plot(
        [], [], color="black", linestyle="--", linewidth=1, label="exact: the best model that sees its block only"
    )
    left.legend(loc="lower left", frameon=False, fontsize=8)
    left.set_ylabel("KL to the exact law (nats per token)")
    figure.suptitle(f"{_model_name(rows)} trained on P sentences of {grammar.name}", fontsize=12)
    figure.savefig(path)


def _panel(ax, rows: Sequence[dict], key: str, plateaus: Sequence[float], grammar: Grammar) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sizes, kls = [row["num_train"] for row in rows], [row[key] for row in rows]
    right = max(sizes) * 1.6
    for level, height in enumerate(plateaus):
        ax.axhline(height, color="black", linestyle="--", linewidth=1)
        span = grammar.block_length(level)
        label = "no context" if level == 0 else f"blocks of {span} tokens"
        ax.text(right / 1.06, height * 1.03, label, ha="right", va="bottom", fontsize=8)
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


def _model_name(rows: Sequence[dict]) -> str:
    names = {"gpt2": "GPT-2", "llama": "Llama", "gpt_neox": "GPT-NeoX"}
    return " and ".join(sorted({names.get(row["model"], row["model"]) for row in rows}))
