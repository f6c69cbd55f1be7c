"""`rhm in_context`: how many sentences of a fresh grammar a model needs in its prompt."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..options import BesideGrammar, Json, ModelName, Out, Seed, Set, settings
from ..output import Findings, publish
from ..progress import counting
from .judged import given_ones, grammar_beside


NumGrammars = Annotated[int, typer.Option(help="Fresh grammars, over which errors are taken.")]
Tokenizer = Annotated[str | None, typer.Option(help="A folder or Hub id; by default that beside MODEL.")]
SHOWN = ("uniform", "ngram", "hierarchical_ngram", "correlation_learner", "previous_token")


def in_context(
    model: ModelName,
    grammar: BesideGrammar = None,
    num_grammars: NumGrammars = 16,
    tokenizer: Tokenizer = None,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How far a model is from a grammar of which n sentences are in its prompt, beside learners that saw the same."""
    publish(found_in_context(model, grammar, num_grammars, tokenizer, seed, given), json, out)


def found_in_context(
    model: str,
    grammar: str | None = None,
    num_grammars: int = 16,
    tokenizer: str | None = None,
    seed: int = 0,
    given: list[str] | None = None,
) -> Findings:
    """What the command finds, for other commands that show it too; arguments as its own."""
    from ..operands import read_model

    read = read_model(model)
    from ...metrics.in_context_kl import in_context_kl

    taken = {"num_grammars": num_grammars, "tokenizer": tokenizer, "seed": seed}
    options = settings(given, in_context_kl, tuple(taken)) | taken
    source = grammar_beside(grammar, read, None)
    if source.parameters is None:
        options["num_grammars"] = 1
    with counting(read.model, f"judging {read.name} in context", None):
        result = in_context_kl(read.model, source, **options)
    title = f"{model} in context: the sentence after n sentences of a fresh {source.name}"
    parameters = given_ones(model=model, grammar=source.name, **options)

    def draw(path: Path) -> None:
        from ...drawing.figures import lines

        series = {model: _series(result, result["kl_within"], result["kl_within_interval"])}
        series |= {name: _series(result, result["lines"][name]["kl"]) for name in SHOWN if name in result["lines"]}
        lines(path, series, title=title, xlabel="sentences in the prompt n", ylabel="KL (nats per token)")

    return Findings(
        "in_context", title, parameters, result, _facts(result), {"KL after n sentences": _rows(result)}, draw
    )


def _series(result: dict, kl: list[float], interval: list | None = None) -> dict[str, list]:
    error = [None] * len(kl) if interval is None else [(high - low) / 2 for low, high in interval]
    return {"x": result["num_examples"], "y": kl, "error": error}


def _facts(result: dict) -> dict[str, Any]:
    units = f"{result['num_units']} {result['unit']}s"
    return {
        "symbols are": {"own": "the model's own ids", "words": "words of the tokenizer", "ids": "random ids"}[
            result["symbols"]
        ],
        "grammars x mappings x prompts": " x ".join(
            str(result[name]) for name in ("num_grammars", "num_mappings", "num_prompts")
        ),
        "intervals": f"{result['confidence']:.0%}, Student's t over {units}",
        "the first prompt begins": repr(result["prompt"][:60]),
    }


def _rows(result: dict) -> list[dict[str, Any]]:
    """A row for every n: the model's KL within the symbols, the mass outside, and the learners' KL."""
    rows = []
    for k, n in enumerate(result["num_examples"]):
        low, high = result["kl_within_interval"][k]
        row = {"n": n, "KL within symbols": result["kl_within"][k], "from": low, "to": high}
        row["mass outside"] = result["leaked_mass"][k]
        rows.append(row | {name: result["lines"][name]["kl"][k] for name in SHOWN if name in result["lines"]})
    return rows
