"""Other visible tokens distract: where level 1 is learnt by learners that could represent it, by tokens seen and by m.

    python recipes/last_token/distractors.py [--num_grammars 4] [--figures FOLDER]
    python recipes/last_token/distractors.py --draw docs/figures

No network is trained: the last token is predicted from the t before it by counting pairs (t = 1) and by softmax
regression on one-hot tokens, which for every t can represent the law given the nearest token, so that only the number
of other visible tokens changes. Its steps (L-BFGS, from zero weights) end where the validation loss is lowest. Writes
`distractors.png` and its tables: `distractors_losses.csv` (a row per grammar, learner, t and P), `_plateaus.csv`
(exact), `_half_way.csv` and `_exponents.csv` (of m).
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from rhm_hf import Grammar, NGramForCausalLM, theory
from rhm_hf.ensembles import averages, distinct, ensemble, group, marked_mean, scale, where
from rhm_hf.inference import last_token_plateaus, next_token_probs
from rhm_hf.plots import INKS, MARKERS, bound_mark, curve, finish, level_line, note, sheet
from rhm_hf.statistics import half_way_points, mean_half_way_points, synonym_exponent
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "grammars": ["v16-m2-s2-L4", "v16-m3-s2-L4", "v16-m4-s2-L4"],
    "num_grammars": 4,  # rules_seed = 0, 1, ..
    "visible_tokens": [1, 3, 7, 15],
    "min_log2": 3,  # log2 of the smallest P
    "max_log2": 13,
    "num_judged": 2048,  # fresh sentences
}
TINY = {
    "grammars": ["v8-m2-s2-L2", "v8-m3-s2-L2", "v8-m4-s2-L2"],
    "num_grammars": 2,
    "visible_tokens": [1, 3],
    "max_log2": 6,
    "num_judged": 64,
}
NUM_VALIDATION, STEPS = 256, 40


def measure(
    grammars: list[str],
    num_grammars: int,
    visible_tokens: list[int],
    min_log2: int,
    max_log2: int,
    num_judged: int,
) -> Tables:
    """The losses of all learners."""
    losses, plateaus = [], []
    cases = [(name, seed) for name in grammars for seed in range(num_grammars)]
    for name, seed in tqdm(cases, unit="grammar", disable=not sys.stderr.isatty()):
        source, keys = Grammar.from_name(name, rules_seed=seed), {"data": name, "rules_seed": seed}
        for level, loss in enumerate(last_token_plateaus(source)[:2]):
            plateaus.append(keys | {"level": level, "loss": loss, "theory": theory_of(source, 1)})
        fresh = source.sample(num_judged, split="evaluation", sampling="iid")
        law = next_token_probs(source, fresh)[:, -1]
        validation = source.sample(NUM_VALIDATION, seed=1, sampling="iid")
        for size in (2**k for k in range(min_log2, max_log2 + 1)):
            train = source.sample(size, sampling="iid")
            row = keys | {"P": size}
            losses.append(row | {"learner": "counting", "t": 1, "loss": counting(train, fresh, law)})
            for t in visible_tokens:
                loss = regression(train, validation, fresh, law, t)
                losses.append(row | {"learner": "regression", "t": t, "loss": loss})
    return {"losses": losses, "plateaus": plateaus}


def theory_of(source: Grammar, level: int) -> float:
    return theory.sample_complexity(source.parameters, level)


def counting(train: np.ndarray, fresh: np.ndarray, law: torch.Tensor) -> float:
    """Cross-entropy, nats, of Kneser-Ney counts of the last pair of tokens."""
    model = NGramForCausalLM.fit(train[:, -2:], order=2, num_symbols=law.shape[1])
    seen = torch.from_numpy(fresh[:, -2:-1].astype(np.int64))
    probs = model.next_probs(seen, torch.ones_like(seen, dtype=torch.bool), torch.zeros_like(seen, dtype=torch.bool))
    return float(-(law * probs[:, -1].log()).sum(1).mean())


def regression(train, validation, fresh, law: torch.Tensor, t: int) -> float:
    """Cross-entropy, nats, of softmax regression on t one-hot tokens, at its step of lowest validation loss."""
    v = law.shape[1]

    def features(tokens: np.ndarray) -> torch.Tensor:
        seen = torch.from_numpy(tokens[:, -1 - t : -1].astype(np.int64))
        return F.one_hot(seen, v).flatten(1).double()

    x, held_out, judged = features(train), features(validation), features(fresh)
    y, held_y = (torch.from_numpy(tokens[:, -1].astype(np.int64)) for tokens in (train, validation))
    weights = torch.zeros(x.shape[1], v, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(v, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=1, history_size=20, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weights + bias, y)
        loss.backward()
        return loss

    best, kept = np.inf, (weights.detach().clone(), bias.detach().clone())
    for _ in range(STEPS):
        optimizer.step(closure)
        with torch.no_grad():
            loss = float(F.cross_entropy(held_out @ weights + bias, held_y))
        if loss > best + 0.5:
            break  # it has begun to overfit, and will not come back
        if loss < best:
            best, kept = loss, (weights.detach().clone(), bias.detach().clone())
    log_probs = (judged @ kept[0] + kept[1]).log_softmax(1)
    return float(-(law * log_probs).sum(1).mean())


def conclude(tables: Tables) -> Tables:
    """Half-way points of the first step, and their exponents of m."""
    points, exponents = [], []
    for (learner, t), of_learner in group(tables["losses"], "learner", "t").items():
        found = []
        for data, mine in group(of_learner, "data").items():
            sizes, losses = ensemble(mine, "P", "loss")
            exact = ensemble(where(tables["plateaus"], data=data), "level", "loss")[1]
            each, p = half_way_points(sizes, losses, exact), Grammar.from_name(data).parameters
            found.append((p, each[:, 0]))
            row = {"learner": learner, "t": t, "data": data, "m": p.num_synonyms, "grammars": len(losses)}
            mean = mean_half_way_points(sizes, losses, exact)
            row |= marked_mean(mean.mean[0], int(mean.num_before[0]), int(mean.num_beyond[0]))
            low, high = mean.interval[0]
            points.append(row | {"low": low, "high": high, "theory": theory.sample_complexity(p, 1)})
        inside = all(np.isfinite(column).all() and (column > 0).all() for _, column in found)
        if inside and len({p.num_synonyms for p, _ in found}) > 2:
            fit = synonym_exponent([p for p, _ in found], [column for _, column in found], divide_correlations=True)
            row = {"learner": learner, "t": t, "exponent": fit.exponent}
            exponents.append(row | {"low": fit.interval[0], "high": fit.interval[1], "theory": 1})
    return {"half_way": points, "exponents": exponents}


def draw(tables: Tables, path: Path) -> None:
    """Losses of the largest m; half-way points against m; their exponents against the tokens seen."""
    figure, axes = sheet(3, height=2.7)
    shown = distinct(tables["losses"], "data")[-1]
    lengths = distinct(where(tables["losses"], learner="regression"), "t")
    for i, t in enumerate(lengths):
        curve(axes[0], where(tables["losses"], data=shown, learner="regression", t=t), "P", "loss", i, f"t = {t}",
              len(lengths))  # fmt: skip
    curve(axes[0], where(tables["losses"], data=shown, learner="counting"), "P", "loss", 4, "counting", linestyle=":")
    for level, loss in zip(*averages(where(tables["plateaus"], data=shown), "level", "loss")[:2], strict=True):
        level_line(axes[0], loss, f"$L_{level}$")
    labels = {"xlabel": "training sentences P", "ylabel": "loss at the last token (nats)"}
    finish(axes[0], f"Softmax regression on t tokens, {shown}", "lines", xscale="log", yscale="log", **labels)
    for i, ((learner, t), mine) in enumerate(group(tables["half_way"], "learner", "t").items()):
        name = "counting" if learner == "counting" else f"t = {t}"
        axes[1].plot([r["m"] for r in mine], [r["half_way"] for r in mine], "-", color=INKS[i], label=name)
        for row in mine:
            bound_mark(axes[1], row["m"], row["half_way"], row["half_way_bound"], MARKERS[i], INKS[i])
    known = where(tables["half_way"], learner="counting")
    axes[1].plot([r["m"] for r in known], [r["theory"] for r in known], "k--", linewidth=0.8, label="$P_1$")
    ticks = sorted(distinct(tables["half_way"], "m"))
    finish(
        axes[1], "Half way to level 1", "lines", xscale="log", yscale="log", xlabel="synonyms m", ylabel="P half way"
    )
    axes[1].set_xticks(ticks, [str(m) for m in ticks])
    axes[1].set_xticks([], minor=True)
    for row in tables["exponents"]:
        i = int(row["learner"] == "counting")
        ends = np.array([[row["exponent"] - row["low"]], [row["high"] - row["exponent"]]])
        bars = np.where(np.isfinite(ends), ends, 0)
        axes[2].errorbar(row["t"], row["exponent"], bars, marker=MARKERS[i], color=INKS[i], capsize=2, markersize=4)
    level_line(axes[2], 1)
    title = "Exponent of m in P (1 - f); square: counting; dashed: theory"
    finish(axes[2], title, xscale="log", xlabel="tokens seen t", ylabel="exponent")
    axes[2].set_xticks(lengths, [str(t) for t in lengths])
    axes[2].set_xticks([], minor=True)
    text = (
        f"{scale(tables['losses'])} of each m; bars: standard errors over grammars, of exponents 95 %. Hollow: bounds."
    )
    note(figure, text)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    parts = {"measure": measure, "conclude": conclude, "draw": draw, "options": OPTIONS, "tiny": TINY}
    return recipe_main(argv, name="distractors", trains=False, shows="exponents", **parts)


if __name__ == "__main__":
    main()
