"""A small GPT-2 on every grammar of the gallery, and where its exact KL sits: by depth of nesting, and by symbol.

    python recipes/grammars/grammars.py --config recipes/grammars/cpu.yaml [--figures FOLDER]
    python recipes/grammars/grammars.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `grammars.png` and its tables: `grammars_runs.csv` (the
kept evaluation of every run), `grammars_depths.csv` (its KL by the number of constituents that are open) and
`grammars_symbols.csv` (by the symbol that a token begins). Grammars may be files of rules: `--grammar mine.cfg`.
"""

from pathlib import Path

import torch

from rhm_hf.ensembles import distinct, group, limited, scale, where
from rhm_hf.grammar import Source
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.plots import finish, ink, note, sheet
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


KEYS = ("data", "rules_seed", "model_seed", "num_train")
KEPT = (*KEYS, "step", "stopped_by", "validation_loss", "train_loss", "kl", "kl_stderr", "kl_end", "entropy")
DEEPEST = 9  # deeper nesting counts as this
BRACKETS = {"(": 1, "[": 1, ")": -1, "]": -1}


def measure(rows: list[dict], values: dict) -> Tables:
    """The KL of every run, whole and in parts, at the fresh sentences that it was judged at."""
    runs = kept_runs(rows, values)
    found: Tables = {"runs": [], "depths": [], "symbols": []}
    for run in runs:
        model, grammar = run.model(), run.grammar()
        options = {"num_sentences": run.arguments.training.kl_sentences, "batch_size": 32}
        by_depth = kl_divergence(model, grammar, split=lambda tokens, g=grammar: depths(g, tokens), **options)
        by_symbol = kl_divergence(model, grammar, split="symbols", **options)
        found["runs"].append(run.keys(*KEPT, *versions()))
        found["depths"] += parts(run, "depth", range(DEEPEST + 1), by_depth)
        found["symbols"] += parts(run, "symbol", by_symbol["split_groups"], by_symbol)
    return found


def parts(run: KeptRun, name: str, groups, result: dict) -> list[dict]:
    """A row for every group that has tokens: what it adds to the KL, its share of the tokens, and their mean KL."""
    rows = zip(groups, result["kl_split"], result["split_share"], strict=True)
    return [
        run.keys(*KEYS) | {name: key, "adds": kl, "share": share, "kl": kl / share} for key, kl, share in rows if share
    ]


def depths(grammar: Source, tokens: torch.Tensor) -> torch.Tensor:
    """The depth of nesting at which every next token stands, `(rows, positions, DEEPEST + 1)`, one-hot.

    Where a grammar has brackets, those that are open. Elsewhere the expected number of constituents that contain the
    token before, given the tokens up to it, rounded; 0 at the first token.
    """
    if BRACKETS.keys() & set(grammar.terminals):
        steps = torch.tensor([BRACKETS.get(terminal, 0) for terminal in grammar.terminals] + [0, 0])
        depth = steps[tokens.long()].cumsum(1)
    else:
        depth = grammar.laws.causal_posteriors(tokens)[0].sum(-1).round().long()
    depth = torch.nn.functional.pad(depth, (1, 0)).clamp(0, DEEPEST)
    return torch.nn.functional.one_hot(depth, DEEPEST + 1)


def draw(tables: Tables, path: Path) -> None:
    """KL against P; against depth, at the largest P; and what every symbol adds to it."""
    figure, (left, middle, right) = sheet(3, height=3.1)
    names = distinct(tables["runs"], "data")
    largest = max(row["num_train"] for row in tables["runs"])
    for i, name in enumerate(names):
        mine = sorted(where(tables["runs"], data=name), key=lambda row: row["num_train"])
        style = {**ink(i), "markersize": 4, "linewidth": 1, "label": name.removeprefix("pcfg-")}
        errors = [row["kl_stderr"] for row in mine]
        left.errorbar([r["num_train"] for r in mine], [r["kl"] for r in mine], errors, capsize=2, **style)
        ended = [row for row in mine if limited(row)]
        hollow = ink(i) | {"markersize": 4, "markerfacecolor": "white", "linestyle": "", "zorder": 4}
        left.plot([r["num_train"] for r in ended], [r["kl"] for r in ended], **hollow)
        mine = where(tables["depths"], data=name, num_train=largest)
        middle.plot([r["depth"] for r in mine], [r["kl"] for r in mine], **style)
    axes = {"xscale": "log", "yscale": "log", "xlabel": "training sentences P", "ylabel": "KL (nats per token)"}
    finish(left, "Exact KL", "lines", **axes)
    labels = {"xlabel": "brackets, or constituents, that are open", "ylabel": "KL (nats per token)"}
    finish(middle, f"By depth of nesting, P = {largest}", "lines", yscale="log", **labels)
    draw_symbols(right, tables["symbols"], largest)
    text = (
        f"{scale(tables['runs'])} each; bars at the left: standard error over sentences; hollow: stopped by the step "
    )
    text += (
        f"limit. Depth {DEEPEST}: and more; arithmetic and dyck2 count open brackets. Below: the parts sum to the KL."
    )
    note(figure, text)
    figure.savefig(path)


def draw_symbols(ax, rows: list[dict], largest: int) -> None:
    """What the symbols add to the KL, as shares of the whole, in order."""
    for i, mine in enumerate(group(where(rows, num_train=largest), "data").values()):
        whole, at = sum(row["adds"] for row in mine), 0.0
        for k, row in enumerate(sorted(mine, key=lambda row: -row["adds"])):
            part = row["adds"] / whole
            ax.barh(i, part, left=at, height=0.7, color=ink(i)["color"], alpha=0.85 - 0.35 * (k % 2), linewidth=0)
            if part > 0.06:
                shade = "black" if k % 2 else "white"
                ax.text(at + part / 2, i, row["symbol"], ha="center", va="center", fontsize=5.5, color=shade)
            at += part
    names = [name.removeprefix("pcfg-") for name in distinct(rows, "data")]
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_axisbelow(True)
    finish(ax, f"By what the token begins, P = {largest}", xlim=(0, 1), xlabel="share of the KL")
    ax.tick_params(axis="y", labelsize=6.5)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="grammars", measure=measure, draw=draw, shows="runs")


if __name__ == "__main__":
    main()
