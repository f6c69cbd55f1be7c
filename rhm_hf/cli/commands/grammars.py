"""`rhm info` and `rhm theory`: what is known exactly of a grammar, and in closed form of its ensemble."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..options import GrammarName, Json, Out, RulesSeed
from ..output import Findings, publish
from ..progress import heavy, progress


LEARNERS = {  # column -> arguments of theory.sample_complexity
    "last token, transformer": {"task": "last_token", "architecture": "transformer"},
    "last token, CNN": {"task": "last_token", "architecture": "cnn"},
    "masked": {"task": "masked"},
    "n-gram": {"task": "ngram"},
    "hierarchical n-gram": {"task": "hierarchical_ngram"},
}


def info(grammar: GrammarName, rules_seed: RulesSeed = None, json: Json = False, out: Out = None) -> None:
    """Print a grammar's size, entropy and exact plateaus, and what theory says of learning it."""
    from ..operands import read_grammar

    source = read_grammar(grammar, rules_seed)
    with progress("counting sentences and their entropy"):
        facts, result = _facts(source)
    tables = {}
    if source.has_blocks:
        with heavy("PyTorch"):
            from ...inference import plateau  # noqa: F401
        rows = _plateaus(source)
        tables["Best loss of a model that sees only its own aligned block (nats per token)"] = rows
        result["plateaus"] = rows
    closed = closed_forms(source.parameters)
    if closed is not None:
        result["theory"] = closed
        facts |= {name: value for name, value in closed["exponents"].items() if value is not None}
        tables["Theory: training sentences P_l at which level l is learnt"] = closed["sample_complexity"]
    parameters = {"grammar": grammar, "rules_seed": rules_seed}
    if source.lengths_vary:
        share = result["lengths"]["share"]
        tables["Lengths of the sentences drawn"] = [{"tokens": n, "share": value} for n, value in share.items()]
    draw = None
    if "plateaus" in result:
        draw = partial(_draw_plateaus, result["plateaus"], source.name)
    publish(Findings("info", source.name, parameters, result, facts, tables, draw), json, out)


def theory(grammar: GrammarName, json: Json = False, out: Out = None) -> None:
    """Print the closed forms of the theory for an ensemble: P_l, plateaus, exponents, the denoising transition."""
    from ...grammar.registry import parameters_from_name

    parameters = parameters_from_name(grammar.removeprefix("name:"))
    closed = closed_forms(parameters)
    if closed is None:
        raise ValueError(
            f"{grammar}: the closed forms hold for the uniform Random Hierarchy Model (v16-m4-s2-L3) and not for this "
            "ensemble; its exact numbers are those of rhm info"
        )
    tables = {
        "Training sentences P_l at which level l is learnt": closed["sample_complexity"],
        "Last-token prediction and correlations, averages over grammars": closed["levels"],
    }
    facts = closed["exponents"]
    publish(Findings("theory", parameters.name, {"grammar": grammar}, closed, facts, tables), json, out)


def _facts(source) -> tuple[dict[str, str], dict[str, Any]]:
    """Lines to show and numbers for programs."""
    count, entropy = source.num_sentences, source.entropy
    stderr = source.entropy_stderr
    about = "" if stderr == 0 else f" (+- {stderr:.2g}: a mean over sampled sentences)"
    facts = {"family": source.family, "tokens (v)": str(source.vocab_size)}
    result: dict[str, Any] = {"name": source.name, "family": source.family, "vocab_size": source.vocab_size}
    if source.lengths_vary:
        found = _lengths(source)
        result |= {"sentence_length": None, "max_length": source.max_length, "lengths": found}
        error = f" (+- {found['mean_stderr']:.2g})" if found["mean_stderr"] else ""
        facts["tokens per sentence"] = (
            f"{found['mean']:.4f} on average{error}; {found['shortest']} to {found['longest']} in "
            f"{found['num_sentences']} sentences drawn"
        )
        facts["entropy"] = f"{entropy:.6f} nats per sentence{about}"
    else:
        length = source.sentence_length
        result["sentence_length"] = length
        facts["tokens per sentence"] = str(length)
        facts["entropy"] = f"{entropy:.6f} nats per sentence, {entropy / length:.6f} per token{about}"
    unknown = count == math.inf and (not source.lengths_vary or source.max_length is not None)
    facts["sentences"] = (
        "too many to count" if unknown else "infinitely many" if count == math.inf else f"10^{math.log10(count):.3f}"
    )
    facts["equiprobable"] = "yes" if source.is_equiprobable else "no"
    facts["fingerprint"] = source.fingerprint
    result |= {
        "num_sentences": count,
        "entropy": entropy,
        "entropy_stderr": stderr,
        "is_equiprobable": source.is_equiprobable,
        "fingerprint": source.fingerprint,
        "parameters": None if source.parameters is None else source.parameters.to_dict(),
    }
    return facts, result


def _lengths(source, num: int = 4096) -> dict[str, Any]:
    """Lengths of sentences: their exact mean where the family knows it, and those of sentences that are drawn."""
    import numpy as np

    lengths = source.sample(num, split="evaluation", sampling="iid", return_lengths=True)[1]
    values, counts = np.unique(lengths, return_counts=True)
    if hasattr(source, "mean_length"):
        mean, stderr = float(source.mean_length), 0.0
    elif hasattr(source, "length_probs"):
        mean, stderr = float(np.arange(len(source.length_probs)) @ source.length_probs), 0.0
    else:
        mean, stderr = float(lengths.mean()), float(lengths.std() / math.sqrt(num))
    return {
        "num_sentences": num,
        "mean": mean,
        "mean_stderr": stderr,
        "shortest": int(values[0]),
        "longest": int(values[-1]),
        "share": {int(value): float(number / num) for value, number in zip(values, counts, strict=True)},
    }


def _plateaus(source) -> list[dict[str, Any]]:
    """Plateaus of every level, over all positions and at the last one (None where contexts are too many)."""
    from ... import inference

    rows = []
    with progress("exact plateaus", source.depth + 1, "levels") as advance:
        for level in range(source.depth + 1):
            try:
                last = float(inference.position_entropies(source, level)[-1])
            except ValueError:  # too many contexts to enumerate
                last = None
            loss = inference.plateau(source, level)
            row = {"level": level, "block": source.block_length(level), "all positions": loss, "last position": last}
            rows.append(row)
            advance(1)
    return rows


def closed_forms(parameters: Any) -> dict[str, Any] | None:
    """The theory's numbers of an ensemble; None where they do not hold for it."""
    from ... import theory as forms

    if not _is_uniform_rhm(parameters):
        return None
    p = parameters
    try:
        forms.sample_complexity(p, level=1)
    except ValueError:  # an ensemble that the closed forms refuse
        return None
    complexity, levels = [], []
    for level in range(1, p.depth + 1):
        row: dict[str, Any] = {"level": level, "block": p.tuple_size**level}
        for column, learner in LEARNERS.items():
            row[column] = _known(lambda k=learner, l=level: forms.sample_complexity(p, l, **k))
        complexity.append(row)
    for level in range(p.depth + 1):
        row = {"level": level, "loss plateau": _known(lambda l=level: forms.plateau(p, l))}
        row["local exponent"] = (
            _known(lambda l=level: forms.learning_exponent(p, level=l)) if level < p.depth else None
        )
        row["correlation"] = _known(lambda l=level: forms.token_correlation(p, l)) if level else None
        row["tuple correlation"] = _known(lambda l=level: forms.tuple_correlation(p, l)) if level > 1 else None
        levels.append(row)
    transition = _known(lambda: forms.denoising_transition(p))
    exponents = {
        "P of classification": _known(lambda: forms.sample_complexity(p, task="classification")),
        "fraction of grammatical tuples f": _known(lambda: forms.grammatical_fraction(p)),
        "learning exponent alpha, transformer": _known(lambda: forms.learning_exponent(p)),
        "learning exponent alpha, CNN": _known(lambda: forms.learning_exponent(p, "cnn")),
        "correlation exponent beta": _known(lambda: forms.correlation_exponent(p)),
        "dynamic exponent z": _known(lambda: forms.dynamic_exponent(p)),
        "limiting loss": _known(lambda: forms.limiting_loss(p)),
        "denoising transition": None if transition is None else transition[0],
        "denoising exponent nu": None if transition is None else transition[1],
    }
    return {"exponents": exponents, "sample_complexity": complexity, "levels": levels}


def _is_uniform_rhm(parameters) -> bool:
    """Whether these parameters are those of the model that the closed forms are of."""
    shape = ("vocab_size", "num_synonyms", "tuple_size", "depth", "num_classes")
    if not all(hasattr(parameters, name) for name in shape):
        return False
    special = ("zipf_exponent", "cut_level", "sparsity")
    return all(getattr(parameters, name, None) is None for name in special) and not getattr(
        parameters, "uncorrelated", False
    )


def _known(compute: Callable[[], Any]) -> Any:
    """None where the formula refuses these parameters; a word where no float64 holds the number."""
    try:
        return compute()
    except ValueError:
        return None
    except OverflowError:
        return "> 1e308"


def _draw_plateaus(rows: list[dict[str, Any]], name: str, path: Path) -> None:
    from ...drawing.figures import lines

    series = {
        key: (
            [row["block"] for row in rows if row[key] is not None],
            [row[key] for row in rows if row[key] is not None],
        )
        for key in ("all positions", "last position")
    }
    lines(
        path,
        {key: {"x": x, "y": y} for key, (x, y) in series.items() if x},
        title=f"{name}: best loss of a model that sees its own block",
        xlabel="tokens of the block",
        ylabel="nats per token",
        xscale="log",
    )
