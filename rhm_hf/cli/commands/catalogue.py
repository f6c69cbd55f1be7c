"""`rhm families`, `rhm metrics`, `rhm tasks`: what there is."""

import ast

from ..options import Json
from ..output import json_text, screen, show_table
from ..progress import heavy


METRICS = {  # metric -> the command that takes it
    "rhm_kl": "kl",
    "context_loss": "context",
    "token_correlations": "correlations",
    "in_context_kl": "in_context",
}


def families(json: Json = False) -> None:
    """List the families of grammars, and how the short names of their ensembles are written."""
    from ...grammar import registry

    names = [
        {"ensemble": kind, "what it is": _first_sentence(parameters.__doc__), "short names": parameters.form}
        for kind, parameters in registry.kinds().items()
    ]
    sources = [
        {"family": family, "class": source.__name__, "what it is": _first_sentence(source.__doc__)}
        for family, source in registry.families().items()
    ]
    if json:
        print(json_text({"names": names, "families": sources}))
        return
    show_table(names, "Short names: each is a GRAMMAR, as in rhm info NAME, rhm train --grammar NAME", screen())
    show_table(sources, "Families of sources, by name or made in Python and saved: rhm info ./FOLDER", screen())


def metrics(json: Json = False) -> None:
    """List the metrics, with the command that computes each."""
    from ...metrics import metric_folders

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
        from ...tasks import TASKS

    rows = [
        {
            "task": name,
            "what it is": _first_sentence(task.__doc__),
            "models": ", ".join(kind.removeprefix("AutoModelFor") for kind in task.auto_classes),
            "options": ", ".join(task.options),
        }
        for name, task in TASKS.items()
    ]
    _list(rows, "Tasks: rhm train --task NAME", json)


def _first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def _list(rows: list[dict], title: str, json: bool) -> None:
    if json:
        print(json_text(rows))
    else:
        show_table(rows, title, screen())
