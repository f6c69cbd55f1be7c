"""Three lengths against P: where models' losses saturate, how far their text is right, and what P tokens can show.

    python recipes/conjecture/conjecture.py --config recipes/conjecture/cpu.yaml [--text FILE]
    python recipes/conjecture/conjecture.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `conjecture.png` and its tables:
`conjecture_lengths.csv` (a row for every P: the three lengths, and which of them are only bounds), `_losses.csv` (loss
against visible tokens), `_agreement.csv` (differences of correlations against distance), `_held_out.csv` (what a
perfect model, or another part of the text, would score) and `_exponents.csv` (z of every length).
"""

import sys
from pathlib import Path

import numpy as np
import torch

from rhm_hf import Grammar, load_metric, theory
from rhm_hf.inference import sample_posterior
from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.context_loss.saturation import curve, differences, saturation
from rhm_hf.plots import finish, new_figure
from rhm_hf.statistics import (
    compare_correlations,
    context_curve,
    exact_correlation,
    prefix_contexts,
    token_correlations,
)
from rhm_hf.training.data import load_text
from rhm_hf.training.recipe import Tables, best_runs, data_name, recipe_main
from rhm_hf.training.results import versions


OPTIONS = {
    "corpus_sentences": 2**19,  # of the law that samples are compared with; of a text it is all of the training text
    "generated_tokens": 2**19,  # of text; a sentence has one pair at each distance, so that they are more
    "generated_sentences": 2**17,
    "num_windows": 8192,  # sentences or windows of the losses
    "max_distance": 64,  # of a text's t*(P)
}
KEPT = ("model", "num_train", "rules_seed", "sample_seed", "model_seed", "step", "epoch", "test_loss", "seconds")
RELATIVE = 0.05  # of the whole gain, by which a loss may still fall where it counts as saturated
LENGTHS = {  # column: label, marker, colour
    "n_sat": ("loss saturates: $n_{sat}$", "o", "C0"),
    "n_sat_relative": ("the same, but for 5 % of the gain", "D", "C9"),
    "t_agree": ("samples agree with the corpus: $t_{agree}$", "s", "C1"),
    "t_star": ("correlations above the noise of P: $t^*$", "^", "C2"),
    "t_star_prefix": ("the same, seen in P alone", "v", "0.6"),
}


def measure(rows: list[dict], values: dict, **options) -> Tables:
    """The three lengths of every run."""
    tables: Tables = {name: [] for name in ("lengths", "losses", "agreement", "held_out", "exponents")}
    groups: dict = {}
    for row, run in best_runs(rows, values):
        groups.setdefault((run.data.text, run.data.grammar, run.data.rules_seed), []).append((row, run))
    for (text, _, _), group in groups.items():
        group.sort(key=lambda pair: pair[1].data.num_train)
        (measure_sentences if text is None else measure_text)(tables, group, options)
    tables["exponents"] = exponents(tables["lengths"])
    return tables


def described(row: dict, run, found: dict) -> dict:
    """A row of the table of lengths: no paths."""
    limited = int(row["step"] == run.training.max_steps)
    return (
        {"data": data_name(run)}
        | {name: row[name] for name in KEPT}
        | {"steps_limit": limited}
        | found
        | {name: row[name] for name in versions()}
    )


def add_run(tables: Tables, row: dict, run, losses: dict, samples: dict, contexts: dict) -> None:
    """Everything about one model; what is censored is marked so."""
    found = {"n_max": losses["context_lengths"][-1], "n_sat_hidden": samples["n_sat"]}
    for name in ("n_sat", "n_sat_relative"):  # what is not decided stands with its interval
        low, high = losses[f"{name}_interval"] or ("", "")
        found |= {name: losses[f"{name}_estimate"], f"{name}_low": low, f"{name}_high": high}
        found[f"{name}_is_bound"] = int(losses[f"{name}_status"] != "decided")
    found |= {"t_agree": samples["t_agree"], "t_res": samples["t_res"], "t_agree_is_bound": int(samples["censored"])}
    described_row = described(row, run, found | contexts)
    tables["lengths"].append(described_row)
    names = {name: described_row[name] for name in ("data", "rules_seed", "num_train")}
    columns = ("context_lengths", "loss", "loss_stderr", "delta", "delta_stderr")
    for values in zip(*(losses[name] for name in columns), strict=True):
        tables["losses"].append(names | dict(zip(("n", *columns[1:]), values, strict=True)))
    columns = ("distances", "difference", "difference_stderr", "relative_difference", "agrees")
    samples = samples | {"agrees": [int(agrees) for agrees in samples["agrees"]]}
    for values in zip(*(samples[name] for name in columns), strict=True):
        tables["agreement"].append(names | dict(zip(("t", *columns[1:]), values, strict=True)))


def add_held_out(tables: Tables, data: str, rules_seed: int, found) -> None:
    agreement = {"t_agree": found.t_agree, "t_res": found.t_res, "t_agree_is_bound": int(found.censored)}
    tables["held_out"].append({"data": data, "rules_seed": rules_seed} | agreement)


def context_columns(curve, prefix, i: int) -> dict:
    return {
        "t_star": float(curve.contexts[i]),
        "t_star_is_bound": int(curve.is_bound[i]),
        "t_star_prefix": float(prefix.contexts[i]),
        "t_star_prefix_is_bound": int(prefix.is_bound[i]),
    }


# Sentences of a grammar.


def measure_sentences(tables: Tables, group: list, options: dict) -> None:
    """Against the law itself: its exact correlations, and a corpus of fresh sentences larger than any training set."""
    data = group[0][1].data
    grammar = Grammar.from_name(data.grammar, rules_seed=data.rules_seed)
    v, distances = grammar.vocab_size, range(1, grammar.sentence_length)
    sizes = sorted({run.data.num_train for _, run in group})
    corpus = grammar.sample(options["corpus_sentences"], seed=1, sampling="iid")
    counted = token_correlations(corpus, distances, v, anchor="last")
    noise = counted.noise_floor**2 * len(corpus)  # that of one sentence
    exact = context_curve(
        counted.distances, exact_correlation(grammar) ** 2, np.array(sizes), noise / np.array(sizes)[:, None]
    )
    prefix = prefix_contexts(grammar.sample(sizes[-1]), sizes, distances, v)
    ideal = grammar.sample(options["generated_sentences"], seed=2, sampling="iid")
    agreement = compare_correlations(token_correlations(ideal, distances, v, anchor="last"), counted)
    add_held_out(tables, data.grammar, data.rules_seed, agreement)
    metric = load_metric("effective_context")
    judged = redrawn_sentences(grammar, options["num_windows"])
    for row, run in group:
        model = load_model(str(Path(run.training.output_dir) / "model"))
        samples = metric.compute(
            corpus=corpus,
            model=model,
            distances=distances,
            vocab_size=v,
            num_tokens=options["generated_sentences"] * grammar.sentence_length,
            batch_size=2048,
        )
        i = sizes.index(run.data.num_train)
        contexts = context_columns(exact, prefix, i)
        contexts["t_star_theory"] = theory.effective_context(grammar.parameters, run.data.num_train)
        add_run(tables, row, run, sentence_losses(model, grammar, *judged), samples, contexts)


def redrawn_sentences(grammar: Grammar, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Fresh sentences `(count, d)`, and for n = 0 .. d-1 the same with all but the n tokens before the last redrawn.

    A model was never trained to see part of a sentence, and what it makes of a hole says little about what it uses. So
    it is shown whole sentences: the tokens further back than n are drawn again from their exact law given the n that
    stay, `(d, count, d)`. Its loss at the true last token then rises just where it had used them.
    """
    d = grammar.sentence_length
    tokens = torch.from_numpy(grammar.sample(count, split="evaluation", sampling="iid").astype(np.int64))
    generator = torch.Generator().manual_seed(0)
    places, shown = torch.arange(d), []
    for n in range(d - 1):
        hidden = ((places < d - 1 - n) | (places == d - 1)).expand(count, d)
        drawn = sample_posterior(grammar, tokens, mask=hidden, generator=generator)[0]
        shown.append(torch.where(hidden, drawn, tokens))
    return tokens, torch.stack([*shown, tokens])


@torch.no_grad()
def sentence_losses(model, grammar: Grammar, tokens: torch.Tensor, shown: torch.Tensor) -> dict:
    """The loss at the last token with n tokens true and the others redrawn, and where it saturates."""
    losses = []
    with evaluating(model):
        for sentences in shown:
            inputs = torch.nn.functional.pad(sentences[:, :-1], (1, 0), value=grammar.vocab_size)
            logits = [model(input_ids=part, use_cache=False).logits[:, -1] for part in inputs.split(1024)]
            losses.append(torch.nn.functional.cross_entropy(torch.cat(logits), tokens[:, -1], reduction="none"))
    sums, ones = torch.stack(losses, 1).double(), torch.ones(len(tokens), dtype=torch.float64)
    lengths = list(range(len(shown)))
    loss, delta = curve(sums, ones), differences(sums, ones)
    found = dict(zip(("loss", "loss_stderr", "delta", "delta_stderr"), (*loss, *delta), strict=True))
    found["context_lengths"] = lengths
    found |= saturation(lengths, sums, ones, len(tokens)).to_dict("n_sat")
    relative = saturation(lengths, sums, ones, len(tokens), RELATIVE, relative=True)
    return found | relative.to_dict("n_sat_relative")


# Characters.


def measure_text(tables: Tables, group: list, options: dict) -> None:
    """Samples against all of the training text; losses on the held-out text."""
    corpus = load_text(group[-1][1].data)
    train, test, v = corpus.splits["train"].ids, corpus.splits["test"], corpus.num_symbols
    sizes = sorted({run.data.num_train for _, run in group})
    distances = range(1, options["max_distance"] + 1)
    whole = token_correlations(train, distances, v).effective_context_curve(sizes)
    prefix = prefix_contexts(train, sizes, distances, v)
    context_loss, effective_context = load_metric("context_loss"), load_metric("effective_context")
    for row, run in group:
        model = load_model(str(Path(run.training.output_dir) / "model"))
        samples = effective_context.compute(
            corpus=train,
            model=model,
            vocab_size=v,
            num_tokens=options["generated_tokens"],
            batch_size=1024,
            loss_context=False,
        )
        losses = context_loss.compute(input_ids=test, model=model, paired=True, num_windows=options["num_windows"])
        add_run(
            tables,
            row,
            run,
            losses,
            samples | {"n_sat": ""},
            context_columns(whole, prefix, sizes.index(run.data.num_train)),
        )
    found = [token_correlations(text, samples["distances"], v) for text in (test.ids, train)]
    add_held_out(tables, tables["lengths"][-1]["data"], group[0][1].data.rules_seed, compare_correlations(*found))


# Reading it.


def exponents(lengths: list[dict]) -> list[dict]:
    """z in length ~ P^(1/z), by least squares in logarithms over the P where it is at least 1 and no bound."""
    found = []
    for data in dict.fromkeys(row["data"] for row in lengths):
        for name in LENGTHS:
            points = [
                (row["num_train"], row[name])
                for row in measured(lengths, name)
                if row["data"] == data and row[name] >= 1 and not row[f"{name}_is_bound"]
            ]
            x, y = np.log(np.array(points, dtype=float)).T if points else (np.empty(0), np.empty(0))
            slope = np.polyfit(x, y, 1)[0] if len(set(x)) > 1 else np.nan
            z = 1 / slope if slope > 0 else np.inf
            found.append({"data": data, "length": name, "points": len(points), "z": z})
    return found


def draw(tables: Tables, path: Path) -> None:
    """A panel for each corpus; hollow markers with an arrow are lower bounds."""
    names = list(dict.fromkeys(row["data"] for row in tables["lengths"]))
    figure, axes = new_figure(len(names), width=5.4, height=4.6)
    for data, ax in zip(names, axes, strict=True):
        draw_lengths(ax, data, {key: [row for row in rows if row["data"] == data] for key, rows in tables.items()})
    figure.savefig(path)


def draw_lengths(ax, data: str, of: Tables) -> None:
    rows = of["lengths"]
    is_grammar = rows[0].get("t_star_theory", "") != ""
    z = {row["length"]: row for row in of["exponents"]}
    for name, (label, marker, shade) in LENGTHS.items():
        if z[name]["points"] > 2 and np.isfinite(z[name]["z"]):
            label += f", z = {z[name]['z']:.1f}"
        draw_length(ax, measured(rows, name), name, marker, shade, label)
    if is_grammar:
        parameters = Grammar.from_name(data).parameters
        ends = sorted(row["num_train"] for row in rows)
        sizes = np.geomspace(ends[0], ends[-1], 500)
        steps = [theory.effective_context(parameters, size) for size in sizes]
        ax.plot(sizes, steps, "--", color="black", linewidth=0.8, label="theory: $s^\\ell - 1$ from $P_\\ell$ on")
    label = "the same of " + ("fresh sentences of the law" if is_grammar else "held-out text")
    for i, row in enumerate(of["held_out"]):
        bound = " (at least)" if row["t_agree_is_bound"] else ""
        ax.axhline(row["t_agree"], color="C1", linestyle=":", linewidth=1.2, label="" if i else label + bound)
    ax.set_yscale("symlog", linthresh=1, linscale=0.3)
    unit = "sentences" if is_grammar else "characters"
    finish(ax, data, xscale="log", xlabel=f"training {unit} P", ylabel="tokens")
    ax.legend(frameon=False, fontsize=7, loc="upper left")
    top = max(row[name] for name in LENGTHS for row in measured(rows, name))
    ticks = [0, 1, *(2**k - 1 for k in range(2, 8) if 2 ** (k - 1) <= top)]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.set_yticks([], minor=True)
    ax.set_ylim(-0.3, 12 * top)  # the legend lies above


def measured(rows: list[dict], name: str) -> list[dict]:
    """The rows that have this length: a loss that rises with context saturates nowhere."""
    return [row for row in rows if row[name] not in ("", None)]


def draw_length(ax, rows: list[dict], name: str, marker: str, shade: str, label: str) -> None:
    """One length against P, a line a grammar: filled where measured, hollow with an arrow where a lower bound."""
    shift = 1 + 0.06 * list(LENGTHS).index(name)  # points that coincide are seen side by side
    ax.plot([], [], "-", marker=marker, color=shade, markersize=5, linewidth=1, label=label)
    for seed in sorted({row["rules_seed"] for row in rows}):
        points = [
            (shift * row["num_train"], row[name], row[f"{name}_is_bound"]) for row in rows if row["rules_seed"] == seed
        ]
        ax.plot([x for x, _, _ in points], [y for _, y, _ in points], "-", color=shade, linewidth=1)
        for x, y, is_bound in points:
            ax.plot(x, y, marker, color=shade, markersize=5, markerfacecolor="white" if is_bound else shade)
            if is_bound:
                ax.annotate("", (x, 1.35 * y + 0.2), (x, y), arrowprops={"arrowstyle": "->", "color": shade})


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="conjecture", measure=measure, draw=draw, options=OPTIONS)
