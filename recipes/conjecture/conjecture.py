"""Three lengths against P: where models' losses saturate, how far their text is right, and what P tokens can show.

    python recipes/conjecture/conjecture.py --config recipes/conjecture/cpu.yaml [--text FILE]
    python recipes/conjecture/conjecture.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `conjecture.png` and its tables:
`conjecture_lengths.csv` (a row for every P: the three lengths, and which of them are only bounds), `_losses.csv` (loss
against visible tokens), `_agreement.csv` (differences of correlations against distance), `_held_out.csv` (what a
perfect model, or another part of the text, would score) and `_exponents.csv` (z of every length).
"""

from pathlib import Path

import numpy as np
import torch

from rhm_hf import Grammar, load_metric, theory
from rhm_hf.ensembles import AT_LEAST, averages, distinct, limited, scale, where
from rhm_hf.inference import sample_posterior
from rhm_hf.judging.bare import evaluating
from rhm_hf.metrics.context_loss.saturation import TOLERANCE, curve, differences, saturation
from rhm_hf.plots import INKS, bound_mark, few_ticks, finish, note, sheet
from rhm_hf.statistics import (
    compare_correlations,
    context_curve,
    exact_correlation,
    prefix_contexts,
    token_correlations,
)
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


OPTIONS = {
    "corpus_sentences": 2**19,  # of the law that samples are compared with; of a text it is all of the training text
    "generated_tokens": 2**19,  # of text; a sentence has one pair at each distance, so that they are more
    "generated_sentences": 2**17,
    "num_windows": 8192,  # sentences or windows of the losses
    "max_distance": 64,  # of a text's t*(P)
}
TINY = {
    "corpus_sentences": 512,
    "generated_tokens": 2048,
    "generated_sentences": 256,
    "num_windows": 64,
    "max_distance": 10,
}
KEPT = ("model", "num_train", "rules_seed", "sample_seed", "model_seed", "step", "epoch", "test_loss", "seconds")
RELATIVE = 0.05  # of the whole gain, by which a loss may still fall where it counts as saturated
SATURATIONS = ("n_sat", "n_sat_relative")
FEWEST = 4  # different lengths of an exponent
LENGTHS = {  # column: label, marker, colour
    "n_sat": ("$n_{sat}$", "o", "C0"),
    "n_sat_relative": ("$n_{sat}$, 5 %", "D", "C9"),
    "t_agree": ("$t_{agree}$", "s", "C1"),
    "t_star": ("$t^*$", "^", "C2"),
    "t_star_prefix": ("$t^*$ of P alone", "v", "0.6"),
}


def measure(rows: list[dict], values: dict, **options) -> Tables:
    """The three lengths of every run."""
    tables: Tables = {name: [] for name in ("lengths", "losses", "agreement", "held_out")}
    groups: dict = {}
    for run in kept_runs(rows, values):
        data = run.arguments.data
        groups.setdefault((data.text, data.grammar, data.rules_seed), []).append(run)
    for (text, _, _), runs in groups.items():
        runs.sort(key=lambda run: run["num_train"])
        (measure_sentences if text is None else measure_text)(tables, runs, options)
    return tables


def conclude(tables: Tables) -> Tables:
    """n_sat of losses that were measured without intervals, and z of every length."""
    lengths = [row if f"{SATURATIONS[0]}_status" in row else row | resaturated(row, tables["losses"])
               for row in tables["lengths"]]  # fmt: skip
    return {"lengths": lengths, "exponents": exponents(lengths)}


def resaturated(row: dict, losses: list[dict]) -> dict:
    """Today's estimates from the losses of a table alone: without documents to resample nothing is decided.

    A loss that rises with context by more than its errors allow has none, as in `saturation` itself.
    """
    mine = where(losses, **{name: row[name] for name in ("data", "rules_seed", "num_train")})
    mine = sorted(mine, key=lambda loss: loss["n"])
    lengths = [loss["n"] for loss in mine]
    sums, one = torch.tensor([[loss["loss"] for loss in mine]], dtype=torch.float64), torch.ones(1)
    found, fall = {"n_max": lengths[-1]}, max(mine[0]["loss"] - mine[-1]["loss"], 0)
    for name, options in zip(SATURATIONS, ({}, {"tolerance": RELATIVE, "relative": True}), strict=True):
        entries = saturation(lengths, sums, one, 1, **options).to_dict(name)
        eps = RELATIVE * fall if options else TOLERANCE
        if any(loss["delta"] < -max(eps, 4 * loss["delta_stderr"]) for loss in mine):
            entries |= {f"{name}_estimate": None, f"{name}_status": "rises"}
        found |= saturation_columns(name, entries)
    return found


def described(run: KeptRun, found: dict) -> dict:
    """A row of the table of lengths: no paths."""
    limited = {"steps_limit": int(run.stopped_by_steps)}
    return run.keys("data", *KEPT) | limited | found | run.keys(*versions())


def add_run(tables: Tables, run: KeptRun, losses: dict, samples: dict, contexts: dict) -> None:
    """Everything about one model; what is censored is marked so."""
    found = {"n_max": losses["context_lengths"][-1], "n_sat_hidden": samples["n_sat"]}
    for name in SATURATIONS:
        found |= saturation_columns(name, losses)
    found |= {"t_agree": samples["t_agree"], "t_res": samples["t_res"], "t_agree_is_bound": int(samples["censored"])}
    described_row = described(run, found | contexts)
    tables["lengths"].append(described_row)
    names = {name: described_row[name] for name in ("data", "rules_seed", "num_train")}
    columns = ("context_lengths", "loss", "loss_stderr", "delta", "delta_stderr")
    for values in zip(*(losses[name] for name in columns), strict=True):
        tables["losses"].append(names | dict(zip(("n", *columns[1:]), values, strict=True)))
    columns = ("distances", "difference", "difference_stderr", "relative_difference", "agrees")
    samples = samples | {"agrees": [int(agrees) for agrees in samples["agrees"]]}
    for values in zip(*(samples[name] for name in columns), strict=True):
        tables["agreement"].append(names | dict(zip(("t", *columns[1:]), values, strict=True)))


def saturation_columns(name: str, losses: dict) -> dict:
    """n_sat with its interval; `_is_bound` is 1 where the data do not decide it, and `_status` says why."""
    low, high = losses[f"{name}_interval"] or ("", "")
    estimate, status = losses[f"{name}_estimate"], losses[f"{name}_status"]
    found = {name: "" if estimate is None else estimate, f"{name}_low": low, f"{name}_high": high}
    return found | {f"{name}_is_bound": int(status != "decided"), f"{name}_status": status}


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


def measure_sentences(tables: Tables, runs: list[KeptRun], options: dict) -> None:
    """Against the law itself: its exact correlations, and a corpus of fresh sentences larger than any training set."""
    data, grammar = runs[0].arguments.data, runs[0].grammar()
    v, distances = grammar.vocab_size, range(1, grammar.sentence_length)
    sizes = sorted({run["num_train"] for run in runs})
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
    for run in runs:
        model = run.model()
        samples = metric.compute(
            corpus=corpus,
            model=model,
            distances=distances,
            vocab_size=v,
            num_tokens=options["generated_sentences"] * grammar.sentence_length,
            batch_size=2048,
        )
        contexts = context_columns(exact, prefix, sizes.index(run["num_train"]))
        contexts["t_star_theory"] = theory.effective_context(grammar.parameters, run["num_train"])
        add_run(tables, run, sentence_losses(model, grammar, *judged), samples, contexts)


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


def measure_text(tables: Tables, runs: list[KeptRun], options: dict) -> None:
    """Samples against all of the training text; losses on the held-out text."""
    corpus = runs[-1].corpus()
    train, test, v = corpus.splits["train"].ids, corpus.splits["test"], corpus.num_symbols
    sizes = sorted({run["num_train"] for run in runs})
    distances = range(1, options["max_distance"] + 1)
    whole = token_correlations(train, distances, v).effective_context_curve(sizes)
    prefix = prefix_contexts(train, sizes, distances, v)
    context_loss, effective_context = load_metric("context_loss"), load_metric("effective_context")
    for run in runs:
        model = run.model()
        samples = effective_context.compute(
            corpus=train,
            model=model,
            vocab_size=v,
            num_tokens=options["generated_tokens"],
            batch_size=1024,
            loss_context=False,
        )
        losses = context_loss.compute(input_ids=test, model=model, paired=True, num_windows=options["num_windows"])
        contexts = context_columns(whole, prefix, sizes.index(run["num_train"]))
        add_run(tables, run, losses, samples | {"n_sat": ""}, contexts)
    found = [token_correlations(text, samples["distances"], v) for text in (test.ids, train)]
    add_held_out(tables, runs[0].data, runs[0]["rules_seed"], compare_correlations(*found))


# Reading it.


def exponents(lengths: list[dict]) -> list[dict]:
    """z in length ~ P^(1/z), by least squares in logarithms over the P where it is at least 1 and no bound.

    Nothing where there are fewer than four different lengths: a slope through three integers says little.
    """
    found = []
    for data in distinct(lengths, "data"):
        for name in LENGTHS:
            points = [
                (row["num_train"], row[name])
                for row in measured(where(lengths, data=data), name)
                if row[name] >= 1 and not row[f"{name}_is_bound"]
            ]
            x, y = np.log(np.array(points, dtype=float)).T if points else (np.empty(0), np.empty(0))
            slope = np.polyfit(x, y, 1)[0] if len(set(y)) >= FEWEST else np.nan
            z = 1 / slope if slope > 0 else ""
            found.append({"data": data, "length": name, "points": len(points), "z": z})
    return found


def draw(tables: Tables, path: Path) -> None:
    """A panel for each corpus; hollow markers with an arrow are lower bounds."""
    names = distinct(tables["lengths"], "data")
    figure, axes = sheet(len(names), height=3.6)
    for data, ax in zip(names, axes, strict=True):
        draw_lengths(ax, data, {key: where(rows, data=data) for key, rows in tables.items()})
    text = f"One grammar or text, {scale(tables['lengths'], ['model_seed'])} at every P; hollow: not decided, "
    text += "with an arrow a lower bound. "
    ended = [row for row in tables["lengths"] if limited(row)]
    sizes = sorted(distinct(ended, "num_train"))
    if ended:
        text += f"Ended by their step limit: the {len(ended)} models of P = {', '.join(map(str, sizes))}. "
    text += "Dotted: how far fresh sentences, or held-out text, agree. Points that coincide are drawn on one another."
    note(figure, text)
    figure.savefig(path)


def draw_lengths(ax, data: str, of: Tables) -> None:
    rows = of["lengths"]
    is_grammar = rows[0].get("t_star_theory", "") != ""
    for i, (name, (label, marker, _)) in enumerate(LENGTHS.items()):
        mine = measured(rows, name)
        if mine:
            xs, means, _ = averages(mine, "num_train", name)
            ax.plot(xs, means, "-", linewidth=1, color=INKS[i], label=label)
        for row in mine:
            draw_interval(ax, row, name, INKS[i])
            bound_mark(ax, row["num_train"], row[name], bound_of(row, name), marker, INKS[i])
    if is_grammar:
        parameters = Grammar.from_name(data).parameters
        sizes = np.geomspace(min(r["num_train"] for r in rows), max(r["num_train"] for r in rows), 500)
        steps = [theory.effective_context(parameters, size) for size in sizes]
        ax.plot(sizes, steps, "--", color="black", linewidth=0.8, label="theory")
    for row in of["held_out"]:
        ax.axhline(row["t_agree"], color=INKS[2], linestyle=":", linewidth=1)
    ax.set_yscale("symlog", linthresh=1, linscale=0.3)
    unit = "sentences" if is_grammar else "characters"
    top = max(row[name] for name in LENGTHS for row in measured(rows, name))
    ax.set_ylim(-0.3, 1.5 * top)
    finish(ax, data, "lines", xscale="log", xlabel=f"training {unit} P", ylabel="tokens")
    ticks = [0, 1, *(2**k - 1 for k in range(2, 8) if 2 ** (k - 1) <= top)]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.set_yticks([], minor=True)
    few_ticks(ax, distinct(rows, "num_train"))


def bound_of(row: dict, name: str) -> str:
    """Which side of a mark the truth lies on: an n_sat that is not decided may lie on both."""
    if not row[f"{name}_is_bound"]:
        return ""
    at_end = name not in SATURATIONS or row[f"{name}_status"] == "context" or row[name] == row["n_max"]
    return AT_LEAST if at_end else "undecided"


def draw_interval(ax, row: dict, name: str, color: str) -> None:
    low, high = row.get(f"{name}_low", ""), row.get(f"{name}_high", "")
    if low != "" and high != "":
        ax.plot([row["num_train"]] * 2, [low, high], "-", color=color, linewidth=0.8)


def measured(rows: list[dict], name: str) -> list[dict]:
    """The rows that have this length: a loss that rises with context saturates nowhere."""
    return [row for row in rows if row[name] not in ("", None)]


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="conjecture",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        shows="lengths",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
