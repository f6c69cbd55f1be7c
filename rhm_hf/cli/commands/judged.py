"""Commands of metrics that judge by a grammar: exact KL, grammaticality, memorisation; layers are in `probes.py`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import (
    BesideGrammar,
    Column,
    GrammarName,
    Json,
    ModelName,
    NumSentences,
    Out,
    RulesSeed,
    Seed,
    Set,
    Split,
    settings,
)
from ..output import Findings, publish
from ..progress import counting, heavy, progress


if TYPE_CHECKING:
    from ...grammar import Source


BLOCKS = 64  # of sentences: the differences of two models in them give the error of the mean difference

Sentences = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Sentences to judge on: a .npy file, dataset:ID, ..; fresh ones by default."),
]
Second = Annotated[str | None, typer.Argument(metavar="MODEL2", help="Another model, judged on the same sentences.")]


def kl(
    model: ModelName,
    grammar: BesideGrammar = None,
    model2: Second = None,
    rules_seed: RulesSeed = None,
    sentences: Sentences = None,
    num_sentences: NumSentences = 4096,
    seed: Seed = 0,
    split: Split = None,
    column: Column = None,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How far a model is from the truth: the exact KL in nats per token; of two models, their difference."""
    from ..operands import read_model

    first = read_model(model, rules_seed)
    from ...metrics.rhm_kl.kl import kl_divergence

    options = settings(given, kl_divergence, ("num_sentences", "seed"))
    options |= {"num_sentences": num_sentences, "seed": seed}
    source = grammar_beside(grammar, first, rules_seed)
    rows = _rows(sentences, split, column)
    found = {model: judged(kl_divergence, first, source, rows, options)}
    result: dict[str, Any] = found[model]
    title = f"KL of {model} to {source.name}"
    facts = _kl_facts(result)
    if model2 is not None:
        second = read_model(model2, rules_seed)
        other = judged(kl_divergence, second, source, rows, options)
        found[f"{model2} (2)" if model2 == model else model2] = other
        difference = _difference(kl_divergence, first, second, source, rows, options, (found[model], other))
        result = {"models": found, **difference}
        title = f"KL of {model} and {model2} to {source.name}, on the same sentences"
        facts = {f"KL of {name}": _kl_text(entry) for name, entry in found.items()}
        facts["difference, second - first"] = _with_error(difference["difference"], difference["difference_stderr"])
    tables = {"KL at every position": _by_position(found, "kl_per_position", "kl_stderr_per_position", "positions")}
    if "split_groups" in result:
        columns = ("split_groups", "kl_split", "split_share")
        tables[f"By {options['split']}: what adds to the KL, its share of the tokens"] = _table(result, columns)
    parameters = given_ones(
        model=model, grammar=source.name, fingerprint=source.fingerprint, model2=model2, sentences=sentences, **options
    )

    def draw(path: Path) -> None:
        from ...drawing.figures import lines

        series = {
            name: {"x": e["positions"], "y": e["kl_per_position"], "error": e["kl_stderr_per_position"]}
            for name, e in found.items()
        }
        lines(path, series, title=title, xlabel="position", ylabel="KL (nats)")

    publish(Findings("kl", title, parameters, result, facts, tables, draw), json, out)


def grammaticality(
    samples: Annotated[str, typer.Argument(metavar="SAMPLES", help="Sentences: a .npy file, dataset:ID, ..")],
    grammar: GrammarName,
    rules_seed: RulesSeed = None,
    split: Split = None,
    column: Column = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """Which share of sentences a grammar allows, and of their rules, level by level."""
    from ..operands import read_grammar

    source = read_grammar(grammar, rules_seed)
    with heavy("PyTorch"):
        from ...metrics.grammaticality.correctness import grammaticality as judge
    rows = _rows(samples, split, column)
    with progress(f"parsing {len(rows)} sentences"):
        result = judge(rows, source)
    facts = {
        "sentences": result["num_samples"],
        "grammatical": _with_error(result["valid"], result["valid_stderr"]),
        "log P of the grammatical ones": result["log_prob"],
    }
    columns = ("levels", "correct", "correct_stderr", "chance", "rule_given_children")
    tables = {"Fraction of correct nodes of every level": _table(result, columns)}

    def draw(path: Path) -> None:
        from ...drawing.figures import lines

        series = {
            "samples": {"x": result["levels"], "y": result["correct"], "error": result["correct_stderr"]},
            "uniform random tokens": {"x": result["levels"], "y": result["chance"]},
        }
        lines(path, series, title=f"{samples}: correct nodes", xlabel="level", ylabel="fraction")

    title = f"{samples} judged by {source.name}"
    parameters = given_ones(samples=samples, grammar=source.name, fingerprint=source.fingerprint)
    publish(Findings("grammaticality", title, parameters, result, facts, tables, draw), json, out)


def memorisation(
    samples: Annotated[str, typer.Argument(metavar="SAMPLES", help="What was generated: a .npy file, dataset:ID, ..")],
    training: Annotated[str, typer.Argument(metavar="TRAIN", help="The training sentences, likewise.")],
    grammar: Annotated[str | None, typer.Argument(metavar="GRAMMAR", help="Their law, where it is known.")] = None,
    rules_seed: RulesSeed = None,
    seed: Seed = 0,
    split: Split = None,
    column: Column = None,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How many generated sentences are copies of training sentences, and how much they overlap level by level."""
    from ..operands import read_grammar

    with heavy("PyTorch"):
        from ...metrics.memorisation.copies import memorisation as judge
    source = None if grammar is None else read_grammar(grammar, rules_seed)
    options = settings(given, judge, ("seed",)) | {"seed": seed}
    rows, known = _rows(samples, split, column), _rows(training, split, column)
    with progress(f"comparing {len(rows)} samples with {len(known)} training sentences"):
        result = judge(rows, known, source, **options)
    facts = {"copied": _with_error(result["copied"], result["copied_stderr"]), "distinct": result["distinct"]}
    facts |= {name: result[name] for name in ("valid", "novel", "chance_of_copy") if name in result}
    columns = ("levels", "overlap", "overlap_fresh", "num_judged")
    tables = {"Largest overlap with any training sentence, mean over samples": _table(result, columns)}
    title = f"{samples} beside the training sentences {training}"
    parameters = given_ones(samples=samples, train=training, grammar=grammar, rules_seed=rules_seed, **options)
    publish(Findings("memorisation", title, parameters, result, facts, tables), json, out)


# What they share.


def grammar_beside(grammar: str | None, model: Any, rules_seed: int | None) -> "Source":
    """The grammar that was named, the oracle's own, or the one that lies beside the model."""
    from ..operands import read_grammar

    if grammar is not None:
        return read_grammar(grammar, rules_seed)
    own = getattr(model.model, "grammar", None)
    if own is not None:
        return own
    path = Path(model.path)
    if (path / "grammar" / "grammar.json").exists() or (path / "grammar.json").exists():
        from ...data import resolve_grammar

        return resolve_grammar(str(path))
    raise ValueError(
        f"no grammar lies beside {model.name}: name it, as in rhm kl {model.name} v16-m4-s2-L3 --rules_seed 0"
    )


def _rows(sentences: str | None, split: str | None, column: str | None):
    """Token ids `(n, d)`, or None where none are given."""
    import numpy as np

    from ..corpora import TextSource, read_text

    if sentences is None:
        return None
    corpus = read_text(sentences, TextSource(split=split, column=column))
    if corpus.ids is not None:
        return corpus.ids
    try:  # written as decimal numbers, a sentence a line
        rows = [
            [int(word) for word in line.split()] for text in corpus.texts for line in text.splitlines() if line.strip()
        ]
    except ValueError as error:
        raise ValueError(f"{sentences} holds text that is no sentence of decimal numbers ({error})") from None
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{sentences} must hold sentences of one length, one a line: its lines differ")
    return np.array(rows)


def judged(
    judge: Callable[..., dict[str, Any]], read: Any, source: "Source", rows: Any, options: dict[str, Any]
) -> dict[str, Any]:
    """A metric with its rows counted."""
    total = None
    if rows is not None:
        total = len(rows)
    elif "num_sentences" in options:
        total = options["num_sentences"]
        if judge.__name__ == "kl_divergence" and source.num_sentences <= 2**16:
            total = source.num_sentences
    with counting(read.model, f"judging {read.name}", total):
        return judge(read.model, source, rows, **options)


def _difference(judge, first, second, source, rows, options, found) -> dict[str, Any]:
    """The second model's KL less the first one's, with the error of that from blocks of the same sentences."""
    import numpy as np

    both = found[1]["kl"] - found[0]["kl"] if all(math.isfinite(entry["kl"]) for entry in found) else None
    if both is None or (found[0]["kl_stderr"] == 0 and found[1]["kl_stderr"] == 0):  # all sentences were judged
        return {"difference": both, "difference_stderr": None if both is None else 0.0}
    if rows is None:
        rows = source.sample(options["num_sentences"], seed=options["seed"], split="evaluation", sampling="iid")
    blocks = [block for block in np.array_split(np.asarray(rows), min(BLOCKS, len(rows))) if len(block)]
    if len(blocks) < 2:
        return {"difference": both, "difference_stderr": None}
    options = {name: value for name, value in options.items() if name not in ("num_sentences", "seed")}
    differences = []
    with progress("the error of the difference", len(blocks), "blocks") as advance:
        for number, block in enumerate(blocks):
            own = options | ({"mask_seed": options.get("mask_seed", 0) + number} if "mask_seed" in options else {})
            values = [judge(read.model, source, block, **own)["kl"] for read in (first, second)]
            differences.append(values[1] - values[0])
            advance(1)
    weights = np.array([len(block) for block in blocks]) / len(rows)
    spread = float(np.sqrt((weights**2 * (np.array(differences) - both) ** 2).sum() * len(blocks) / (len(blocks) - 1)))
    return {"difference": both, "difference_stderr": spread}


def _kl_facts(result: dict) -> dict[str, Any]:
    facts = {
        "KL": _kl_text(result),
        "of it on symbols that do not exist": result["leak_cost"],
        "cross-entropy": f"{result['cross_entropy']:.6g} = entropy {result['entropy']:.6g} + KL",
        "KL of a sentence": f"{result['kl_sentence']:.6g} nats",
        "sentences": result["num_sentences"],
    }
    if result["num_infinite"]:
        facts["sentences that the model excludes"] = result["num_infinite"]
    return facts


def _kl_text(result: dict) -> str:
    if result["kl_stderr"] == 0:
        return f"{result['kl']:.6g} nats per judged token (all sentences, weighted by their probability)"
    return _with_error(result["kl"], result["kl_stderr"]) + " nats per judged token"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.6g}" if not error else f"{value:.6g} +- {error:.2g}"


def _by_position(found: dict[str, dict], key: str, error: str, positions: str) -> list[dict[str, Any]]:
    several = len(found) > 1
    rows: dict[int, dict[str, Any]] = {}
    for name, entry in found.items():
        for position, value, spread in zip(entry[positions], entry[key], entry[error], strict=True):
            row = rows.setdefault(position, {"position": position})
            row[f"KL of {name}" if several else "KL"] = value
            row[f"stderr of {name}" if several else "stderr"] = spread
    return [rows[position] for position in sorted(rows)]


def _table(result: dict, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Lists of a result side by side; those that are there."""
    present = [name for name in columns if name in result]
    values = zip(*(result[name] for name in present), strict=True)
    return [dict(zip([n.rstrip("s") if n == "levels" else n for n in present], row, strict=True)) for row in values]


def given_ones(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
