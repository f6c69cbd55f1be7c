"""`rhm families`, `rhm metrics`, `rhm tasks`: what there is."""

import ast

from .options import Json
from .output import json_text, screen, show_table
from .progress import heavy


EXAMPLES = {  # a name for the kinds of parameters, and what the name adds
    "v16-m4-s2-L3": "Random Hierarchy Model: v symbols, m synonyms, s children, L levels; -c8: 8 classes",
    "v16-m4-s2-L3-zipf1.0": "rules with Zipf's probabilities; @1: at level 1 alone",
    "v8-m8-s2-L3-uncorrelated": "rules that hide the class from every tuple of tokens",
    "v16-m4-s2-L3-cut1": "filtered hierarchy: correlations above level 1 by way of the root alone",
    "v16-m4-s2-L3-sparse1": "an uninformative token for every informative one; 1b: anywhere in the block",
    "layered-c4-v8.16-m2.4-s3.2": "every level with sizes of its own",
    "hmm-v16-h8-m4-d64-p0.5": "hidden Markov source: h states, m tokens a state, d tokens, persistence p",
}
METRICS = {  # metric -> the command that takes it
    "rhm_kl": "kl",
    "context_loss": "context",
    "token_correlations": "correlations",
}


def families(json: Json = False) -> None:
    """List the families of grammars that have a short name, each with an example that is drawn."""
    from ..grammar import Grammar

    rows = []
    for name, text in EXAMPLES.items():
        grammar = Grammar.from_name(name)
        rows.append(
            {
                "example": name,
                "family": grammar.family,
                "what it is": text,
                "tokens": grammar.vocab_size,
                "sentence length": grammar.sentence_length,
                "class": type(grammar).__name__,
            }
        )
    _list(
        rows,
        "Families: any of these names is a GRAMMAR (rhm info NAME, rhm show NAME, rhm train --grammar NAME)",
        json,
    )


def metrics(json: Json = False) -> None:
    """List the metrics, with the command that computes each."""
    from ..metrics import metric_folders

    rows = []
    for name, folder in metric_folders().items():
        text = ast.get_docstring(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))) or ""
        rows.append(
            {
                "metric": name,
                "command": f"rhm {METRICS.get(name, name)}",
                "what it measures": " ".join(text.partition("\n\n")[0].split()).removeprefix("`evaluate` module: "),
            }
        )
    _list(rows, "Metrics: evaluate.load(name) after `import rhm_hf`, rhm_hf.load_metric(name), or the command", json)


def tasks(json: Json = False) -> None:
    """List what a model can be trained on: the values of `rhm train --task`."""
    with heavy():
        from ..tasks import TASKS

    rows = [
        {
            "task": name,
            "what it is": " ".join((task.__doc__ or "").strip().partition("\n\n")[0].split()),
            "models": ", ".join(kind.removeprefix("AutoModelFor") for kind in task.auto_classes),
            "options": ", ".join(task.options),
        }
        for name, task in TASKS.items()
    ]
    _list(rows, "Tasks: rhm train --task NAME", json)


def _list(rows: list[dict], title: str, json: bool) -> None:
    if json:
        print(json_text(rows))
    else:
        show_table(rows, title, screen())
