"""What counting says of a text: correlations, losses by context, learning curves of n-grams and their collapse.

    python recipes/texts/texts.py --text my.txt [--separator "<|endoftext|>"] [--pieces 2000] [--figures FOLDER]
    python recipes/texts/texts.py --draw docs/figures/shakespeare

Nothing is trained, so no step limit ends a curve: Kneser-Ney models that see t = 0 .. 8 tokens count the first P
tokens of documents in a random order, and are judged on held-out ones. Writes `texts.png` and its tables:
`texts_blocks.csv` (loss of a part of the held-out documents, a row per t and P), `texts_pairs.csv` (correlations by
distance), `texts_contexts.csv` (t* by P), `texts_betas.csv` (by range of distances), and of those `_exponents.csv`
and `_scans.csv` (how well the curves collapse at every z).
"""

from pathlib import Path

import numpy as np
import torch

from rhm_hf import NGramForCausalLM
from rhm_hf.ensembles import averages, distinct, ensemble, where
from rhm_hf.plots import INKS, curve, finish, ink, note, sheet
from rhm_hf.statistics import fit_collapse, token_correlations
from rhm_hf.statistics.curves.decays import LAWS, fitted
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "text": None,  # a UTF-8 file
    "separator": "",  # ends a document; without one the text is cut into parts of PART characters
    "pieces": 0,  # of a byte-pair encoding learnt from the training documents; 0: characters
    "max_context": 8,  # tokens
    "num_targets": 8192,  # held-out tokens that every model is judged on
    "max_distance": 64,  # tokens
    "published": [],  # beta and gamma to draw beside
}
TINY = {"max_context": 3, "num_targets": 320, "max_distance": 8}
PART, HELD_OUT, BLOCKS = 4096, 16, 16  # characters; every so-manieth document is held out; parts of those
SMALLEST = 1000  # tokens
BETA_RANGES, GAMMA_RANGES = ((1, 8), (1, 15), (2, 15), (5, 32)), ((1, 8), (1, 4), (2, 8), (3, 8))
Z_RANGE = (0.25, 8.0)


def measure(
    text: str | None,
    separator: str,
    pieces: int,
    max_context: int,
    num_targets: int,
    max_distance: int,
    published: list,
) -> Tables:
    """Losses of all n-grams, correlations and t*(P)."""
    if text is None:
        raise ValueError("text=None: give a UTF-8 file, --text my.txt")
    train, test, v = encoded(documents(Path(text).read_text(encoding="utf-8"), separator), pieces)
    names = {"data": Path(text).stem, "unit": f"{pieces} pieces" if pieces else "characters"}
    windows = held_out(test, max_context + 1, num_targets)
    total = sum(map(len, train))
    sizes = [total >> k for k in range(int(np.log2(total / SMALLEST)), -1, -1)]
    blocks = []
    for size in sizes:
        for t in range(max_context + 1):
            each = ngram_losses(first(train, size), t, v, windows)
            parts = enumerate(np.array_split(each, BLOCKS))
            blocks += [names | {"t": t, "P": size, "block": k, "loss": float(part.mean())} for k, part in parts]
    given = [
        names | {"quantity": name, "value": value} for name, value in zip(("beta", "gamma"), published, strict=False)
    ]
    tables = {"blocks": blocks, "published": given or [names | {"quantity": "", "value": ""}]}
    return tables | correlations(names, train, v, max_distance, sizes)


def correlations(names: dict, train: list[np.ndarray], v: int, max_distance: int, sizes: list[int]) -> Tables:
    """C~(t) over all pairs inside of documents, beta by range of distances, and t*(P)."""
    counted = token_correlations(train, range(1, max_distance + 1), v, anchor="all")
    columns = ("distances", "correlation", "noise_floor", "signal", "signal_stderr")
    pairs = [
        names | dict(zip(columns, values, strict=True))
        for values in zip(*(getattr(counted, name).tolist() for name in columns), strict=True)
    ]
    contexts = counted.effective_context_curve(sizes)
    columns = zip(sizes, contexts.contexts.tolist(), contexts.is_bound.tolist(), contexts.intervals, strict=True)
    found = [
        names | {"P": size, "t_star": t, "is_bound": int(bound), "low": float(ends[0]), "high": float(ends[1])}
        for size, t, bound, ends in columns
    ]
    return {"pairs": pairs, "contexts": found, "betas": betas(names, counted)}


def documents(text: str, separator: str) -> list[str]:
    """The documents of a text in a random order; a training set is the first ones."""
    parts = text.split(separator) if separator else [text[i : i + PART] for i in range(0, len(text), PART)]
    parts = [part.strip("\n") if separator else part for part in parts]
    parts = [part for part in parts if part]
    return [parts[i] for i in np.random.default_rng(0).permutation(len(parts))]


def encoded(texts: list[str], pieces: int) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Training and held-out documents as ids, and how many ids there are."""
    train = [text for i, text in enumerate(texts) if i % HELD_OUT]
    test = [text for i, text in enumerate(texts) if not i % HELD_OUT]
    if not pieces:
        alphabet = sorted(set("".join(texts)))
        number = {character: i for i, character in enumerate(alphabet)}
        return *([np.array([number[c] for c in text]) for text in part] for part in (train, test)), len(alphabet)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=pieces, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(train, trainer)
    parts = ([np.array(found.ids) for found in tokenizer.encode_batch(part)] for part in (train, test))
    return *parts, tokenizer.get_vocab_size()


def first(texts: list[np.ndarray], size: int) -> list[np.ndarray]:
    """The first so many tokens; the last document may be cut."""
    ends = np.cumsum([len(text) for text in texts])
    whole = int(np.searchsorted(ends, size, "right"))
    left = size - (ends[whole - 1] if whole else 0)
    return texts[:whole] + [text[:left] for text in texts[whole : whole + 1] if left]


def held_out(texts: list[np.ndarray], length: int, count: int) -> np.ndarray:
    """So many windows `(count, length)` from all over the held-out documents: the same targets for every t."""
    long = [text for text in texts if len(text) >= length]
    windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(text, length) for text in long])
    return windows[np.arange(min(count, len(windows))) * len(windows) // min(count, len(windows))]


def ngram_losses(train: list[np.ndarray], t: int, v: int, windows: np.ndarray) -> np.ndarray:
    """Cross-entropies of the last tokens of windows given the t before, nats, by a Kneser-Ney model."""
    laws, losses = NGramForCausalLM.fit(train, order=t + 1, num_symbols=v, tied=True).laws, []
    for part in torch.from_numpy(windows.astype(np.int64)).split(1024):
        law = laws(torch.zeros(len(part), dtype=torch.int64), iter(part[:, :-1].flip(1).T[:t]))
        losses.append(-law.gather(1, part[:, -1:])[:, 0].log())
    return torch.cat(losses).numpy()


def betas(names: dict, counted) -> list[dict]:
    """beta of C~ ~ t^-beta by range of distances, with its error in that range and what other ranges would give."""
    rows = []
    for low, high in BETA_RANGES:
        try:
            fit = counted.fit(low, min(high, int(counted.distances[-1])))
        except ValueError as error:
            print(f"no beta over t = {low} .. {high}: {error}")
            continue
        row = names | {"t_min": fit.t_min, "t_max": fit.t_max, "beta": fit.exponent, "amplitude": fit.amplitude}
        ends = map(float, (*fit.interval, *fit.statistical_interval))
        rows.append(row | dict(zip(("low", "high", "noise_low", "noise_high"), ends, strict=True)))
    return rows


def conclude(tables: Tables) -> Tables:
    """gamma by range, alpha, and the collapses of L, and of L - H with the limit of gamma, with the residuals."""
    names = {key: tables["blocks"][0][key] for key in ("data", "unit")}
    n, loss = by_context(tables["blocks"])
    exponents, scans, limit, z = [], [], 0.0, 2 * tables["betas"][0]["beta"] if tables["betas"] else ""
    for low, high in GAMMA_RANGES:
        kept = (n >= low) & (n <= high)
        for law in LAWS if kept.sum() > 3 else ():
            for found in fitted(law, n[kept], loss[kept]):
                exponents.append(names | {"quantity": law, "choice": f"n = {low}..{int(n[kept][-1])}"} | found)
                if law == "gamma" and not limit:
                    limit = found["limit"]
    for t in (1, int(n[-1])):
        sizes, means, _ = averages(where(tables["blocks"], t=t), "P", "loss", over="block")
        slope = -np.polyfit(np.log(sizes[-4:]), np.log(means[-4:]), 1)[0]
        exponents.append(names | {"quantity": "alpha of L(P)", "choice": f"t = {t}, four largest P", "value": slope})
    for name, above in (("L", 0.0), ("L - H", limit)):
        found, scan = collapse(tables["blocks"], above)
        exponents += [
            names | {"quantity": f"z of {name}", "choice": "t = 1..", "z_expected": z} | row for row in found
        ]
        scans += [names | {"collapse": name} | row for row in scan]
    return {"exponents": exponents, "scans": scans}


def by_context(blocks: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the largest P by context."""
    rows = where(blocks, P=max(distinct(blocks, "P")))
    n, loss, _ = averages(rows, "t", "loss", over="block")
    return np.array(n, dtype=float), np.array(loss)


def collapse(blocks: list[dict], limit: float) -> tuple[list[dict], list[dict]]:
    """The fitted z with its interval, over parts of the held-out documents, and the residual at every z."""
    lengths = [t for t in sorted(distinct(blocks, "t")) if t]
    curves = [ensemble(where(blocks, t=t), "P", "loss", over="block") for t in lengths]
    try:
        fit = fit_collapse(curves, lengths, Z_RANGE, limit=limit)
    except ValueError as error:
        print(f"no collapse with limit {limit:g}: {error}")
        return [], []
    row = {"value": fit.x_exponent, "low": fit.x_interval[0], "high": fit.x_interval[1], "limit": limit}
    row |= {"pinned": int(fit.pinned), "alpha_z": -fit.y_exponent, "ratio": fit.collapse.ratio}
    columns = (fit.scan.exponents, fit.scan.residuals, fit.scan.overlaps)
    names = ("z", "residual", "overlap")
    return [row], [dict(zip(names, map(float, values), strict=True)) for values in zip(*columns, strict=True)]


def draw(tables: Tables, path: Path) -> None:
    """Learning curves, the residual of their collapse, correlations, t*(P) and losses by context."""
    blocks, unit = tables["blocks"], tables["blocks"][0]["unit"]
    figure, axes = sheet(6, height=2.7)
    lengths = sorted(distinct(blocks, "t"))
    labels = {"xlabel": f"training tokens P ({unit})", "ylabel": "loss (nats per token)"}
    for i, t in enumerate(lengths):
        curve(axes[0], where(blocks, t=t), "P", "loss", i, f"t = {t}", len(lengths), over="block")
    finish(axes[0], f"n-grams of t + 1 tokens, {blocks[0]['data']}", "lines", xscale="log", yscale="log", **labels)
    draw_collapsed(axes[1], tables)
    draw_scans(axes[2], tables)
    draw_pairs(axes[3], tables)
    draw_contexts(axes[4], tables["contexts"], unit)
    draw_losses(axes[5], tables)
    note(
        figure,
        f"One text, in {unit}, documents in one random order; bars: over {BLOCKS} parts of the held-out documents. "
        "Nothing is trained. Hollow: a bound.",
    )
    figure.savefig(path)


def expected(tables: Tables) -> float | None:
    """2 beta over the first range."""
    return 2 * tables["betas"][0]["beta"] if tables["betas"] else None


def draw_collapsed(ax, tables: Tables) -> None:
    """(L - H) t^gamma against P / t^(2 beta): nothing is fitted to make the curves meet."""
    z, gamma = expected(tables), where(tables["exponents"], quantity="gamma")
    if z is None or not gamma:
        finish(ax, "No exponents to rescale with")
        return
    lengths = sorted(t for t in distinct(tables["blocks"], "t") if t)
    for i, t in enumerate(lengths):
        sizes, losses, _ = averages(where(tables["blocks"], t=t), "P", "loss", over="block")
        y = (np.array(losses) - gamma[0]["limit"]) * t ** gamma[0]["value"]
        ax.plot(np.array(sizes) / t**z, y, "-", **ink(i, len(lengths)), markersize=3, linewidth=1, label=f"t = {t}")
    title = f"$2\\beta$ = {z:.2f}, $\\gamma$ = {gamma[0]['value']:.2f}, H = {gamma[0]['limit']:.2f}, all measured"
    labels = {"xlabel": r"$P / t^{2\beta}$", "ylabel": r"$(L - H)\, t^\gamma$"}
    finish(ax, title, "lines", xscale="log", yscale="log", **labels)


def draw_scans(ax, tables: Tables) -> None:
    """How well the curves collapse at every z; thick where enough overlap is left to count."""
    shown = [row for row in tables["scans"] if np.isfinite(row["residual"]) and row["residual"] > 0]
    for i, name in enumerate(distinct(shown, "collapse")):
        rows = where(shown, collapse=name)
        counted = [row for row in rows if row["overlap"] >= 0.5]
        (fit,) = where(tables["exponents"], quantity=f"z of {name}")
        label = f"{name}: z = {fit['value']:.2f}" + (", not decided" if fit["pinned"] else "")
        ax.plot([r["z"] for r in rows], [r["residual"] for r in rows], "-", color=INKS[i], linewidth=0.5)
        at = [[row[key] for row in counted] for key in ("z", "residual")]
        ax.plot(*at, "-", color=INKS[i], linewidth=1.7, label=label)
    slopes = [2 * fit["beta"] for fit in tables["betas"]]
    if slopes:
        ax.axvspan(min(slopes), max(slopes), color="0.85", linewidth=0)
    low = min((row["residual"] for row in shown if row["overlap"] >= 0.5), default=None)
    limits = {} if low is None else {"yscale": "log", "ylim": (low / 3, None)}
    finish(
        ax, r"Does z collapse? Grey: $2\beta$ by range", xlabel="z", ylabel="distance of ln loss, squared", **limits
    )


def draw_pairs(ax, tables: Tables) -> None:
    """Correlations with every fit in its range, and the published slope."""
    rows = [row for row in tables["pairs"] if row["signal"] > 0]
    at = [row["distances"] for row in rows]
    ax.plot(at, [row["signal"] ** 0.5 for row in rows], linestyle="none", **ink(0), markersize=2.5)
    floor = tables["pairs"]
    ax.plot([r["distances"] for r in floor], [r["noise_floor"] for r in floor], ":", color="0.5", label="noise")
    for i, fit in enumerate(tables["betas"], start=1):
        t = np.array([fit["t_min"], fit["t_max"]], dtype=float)
        label = rf"{fit['t_min']}..{fit['t_max']}: $\beta$ = {fit['beta']:.2f}"
        ax.plot(t, fit["amplitude"] * t ** -fit["beta"], "-", color=INKS[i], linewidth=1, label=label)
    for row in where(tables["published"], quantity="beta"):
        t = np.array([at[0], at[-1]], dtype=float)
        height = rows[0]["signal"] ** 0.5
        label = rf"published {row['value']:g}"
        ax.plot(t, height * (t / t[0]) ** -row["value"], "k--", linewidth=0.8, label=label)
    labels = {"xlabel": "distance t (tokens)", "ylabel": r"$\tilde{C}(t)$, noise removed"}
    finish(ax, "Correlations", "lines", xscale="log", yscale="log", **labels)


def draw_contexts(ax, rows: list[dict], unit: str) -> None:
    """t*(P) of the whole text's signal, with the interval over blocks."""
    for row in rows:
        ends = [max(row["t_star"] - row["low"], 0)], [row["high"] - row["t_star"]]
        bars = np.where(np.isfinite(ends), ends, 0)
        look = {**ink(0), "markerfacecolor": "white" if row["is_bound"] else INKS[0], "markersize": 4}
        ax.errorbar(row["P"], row["t_star"], bars, capsize=1.5, **look)
    ax.plot([r["P"] for r in rows], [r["t_star"] for r in rows], "-", color=INKS[0], linewidth=0.9)
    grown = [row for row in rows if row["t_star"] > 1 and not row["is_bound"]]
    title = "Effective context"
    if len({row["t_star"] for row in grown}) > 2:
        x, y = np.log([row["P"] for row in grown]), np.log([row["t_star"] for row in grown])
        title += f": z = {1 / np.polyfit(x, y, 1)[0]:.2f}"
    labels = {"xlabel": f"P ({unit})", "ylabel": "t* (tokens)"}
    finish(ax, title, xscale="log", yscale="log", **labels)


def draw_losses(ax, tables: Tables) -> None:
    """Losses by context of the largest P with a power law and an exponential, and the published slope."""
    n, loss = by_context(tables["blocks"])
    rows = [row for row in where(tables["blocks"], P=max(distinct(tables["blocks"], "P"))) if row["t"]]
    curve(ax, rows, "t", "loss", 0, over="block", linestyle="none")
    fine = np.geomspace(1, n[-1], 100)
    for i, (law, name) in enumerate((("gamma", "power"), ("rate of an exponential", "exponential")), start=1):
        for fit in where(tables["exponents"], quantity=law)[:1]:
            label = f"{name}, rms {fit['rms']:.3f}" + (rf", $\gamma$ = {fit['value']:.2f}" if i == 1 else "")
            values = LAWS[law](fine, fit["limit"], fit["height"], fit["value"])
            ax.plot(fine, values, "-" if i == 1 else "--", color=INKS[i], linewidth=1, label=label)
    for row in where(tables["published"], quantity="gamma"):
        # The published exponent with the limit and height that fit best.
        design = np.stack([np.ones(len(n) - 1), n[1:] ** -row["value"]], 1)
        limit, height = np.linalg.lstsq(design, loss[1:], rcond=None)[0]
        label = rf"published $\gamma$ = {row['value']:g}"
        ax.plot(fine, limit + height * fine ** -row["value"], "k:", linewidth=1, label=label)
    finish(ax, "Losses by context at the largest P", xscale="log", xlabel="visible tokens n", ylabel="loss (nats)")
    ax.set_xticks(n[1:], [f"{int(t)}" for t in n[1:]])
    ax.set_xticks([], minor=True)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="texts",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        trains=False,
        shows="exponents",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
