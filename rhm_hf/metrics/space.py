"""A metric as a Space of the Hub: `evaluate.load("user/rhm_kl")` finds its script there, and people a form to fill in.

evaluate's own `launch_gradio_widget` serves neither: it is written for Gradio 3 (`gr.inputs` is gone), and it hands on
columns of a table alone, where these metrics need a model and a grammar.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import files
from . import load_metric, metric_folders


FIELDS = {  # argument -> what the form says about it
    "model": "Model: an id of the Hub",
    "grammar": "Grammar: a short name (v8-m2-s2-L3), or an id of the Hub that holds one",
    "input_ids": "Sentences: JSON, a list of lists of token ids; empty: fresh ones",
    "train": "Training sentences: JSON, a list of lists of token ids",
    "texts": "Text: JSON, a list of documents; or one text as it is",
    "data": "Text: JSON, a list of documents or of lists of token ids; or one text as it is",
    "corpus": "Text: JSON, a list of documents or of lists of token ids; or one text as it is",
}
FORMS: dict[str, tuple[str, ...]] = {  # metric -> its fields; other arguments are JSON
    "belief_probe": ("model", "grammar"),
    "context_loss": ("model", "texts"),
    "effective_context": ("corpus", "model"),
    "grammaticality": ("input_ids", "grammar"),
    "in_context_kl": ("model", "grammar"),
    "latent_probe": ("model", "grammar"),
    "memorisation": ("input_ids", "train", "grammar"),
    "representation_probe": ("model", "grammar"),
    "rhm_kl": ("model", "grammar", "input_ids"),
    "synonym_sensitivity": ("model", "grammar"),
    "token_correlations": ("data",),
}
APP = '''"""The form of `{name}`; Spaces run this file."""

from rhm_hf.metrics.space import form


form("{name}").launch()
'''


def form(name: str) -> Any:
    """A Gradio form that computes a metric of this package.

    Args:
        name (`str`): of the metric.

    Returns:
        `gradio.Interface`: call its `launch`.

    Raises:
        `ImportError`: where gradio is not installed; a Space of its kind has it.
    """
    import gradio

    metric, fields = load_metric(name), FORMS[name]
    boxes = [gradio.Textbox(label=FIELDS[field]) for field in fields]
    return gradio.Interface(
        fn=answer(metric, fields),
        inputs=[*boxes, gradio.Textbox(label='Other arguments: JSON, such as {"num_sentences": 512}')],
        outputs=gradio.JSON(label=name),
        title=name,
        description=metric.description,
    )


def answer(metric: Any, fields: tuple[str, ...]) -> Callable[..., dict[str, Any]]:
    """The function behind a form: texts in, the metric's result or `{"error": ..}` out.

    Args:
        metric: of `load_metric`.
        fields (`tuple[str, ...]`): the arguments that the texts stand for; one more text is JSON for others.
    """

    def compute(*texts: str) -> dict[str, Any]:
        try:
            filled = [(field, text) for field, text in zip(fields, texts[:-1], strict=True) if text.strip()]
            given = {field: read_field(field, text) for field, text in filled}
            others = json.loads(texts[-1].strip() or "{}")
            return ready(metric.compute(**given, **others))
        except (ValueError, OSError, TypeError) as error:
            return {"error": " ".join(str(error).split())}

    return compute


def read_field(field: str, text: str) -> Any:
    """What a text of the form stands for."""
    text = text.strip()
    if field == "model":
        return text
    if field == "grammar":
        from ..data import resolve_grammar
        from ..grammar import Grammar
        from ..grammar.registry import is_name

        return Grammar.from_name(text) if is_name(text) else resolve_grammar(text)
    if field in ("input_ids", "train") or text.startswith("["):
        return json.loads(text)
    return [text]


def ready(result: Any) -> Any:
    """A result as JSON has it: infinite numbers are strings, arrays lists."""
    if isinstance(result, dict):
        return {str(name): ready(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [ready(value) for value in result]
    if hasattr(result, "tolist"):
        return ready(result.tolist())
    if isinstance(result, float) and result in (float("inf"), float("-inf")):
        return str(result)
    return result if isinstance(result, bool | int | float | str | None) else str(result)


def write_space(name: str, folder: Path) -> Path:
    """Writes the Space of a metric: its script, `app.py`, `requirements.txt` and the card.

    Args:
        name (`str`): of a metric of this package.
        folder (`Path`): is made.

    Raises:
        `ValueError`: if this package has no such metric.
    """
    from .._version import __version__

    folders = metric_folders()
    if name not in folders:
        raise ValueError(f"name={name!r} is no metric of rhm_hf: it has {', '.join(folders)}")
    folder.mkdir(parents=True, exist_ok=True)
    script = (folders[name] / f"{name}.py").read_text(encoding="utf-8")
    texts = {
        f"{name}.py": script,
        "app.py": APP.format(name=name),
        "requirements.txt": f"rhm-hf>={__version__}\n",
        "README.md": _card(name),
    }
    for file, text in texts.items():
        files.write_atomically(folder / file, text)
    return folder


def _card(name: str) -> str:
    """The card in `hub_cards/` of a checkout, whose figures are measured; elsewhere what the metric says of itself."""
    from huggingface_hub import SpaceCardData

    from ..cards import CITATION, LICENSE

    measured = Path(__file__).parents[2] / "hub_cards" / f"{name}.md"
    if measured.is_file():
        return measured.read_text(encoding="utf-8")
    metric = load_metric(name)
    tags = ["evaluate", "metric", "random-hierarchy-model", "arxiv:2307.02129"]
    data = SpaceCardData(title=name, sdk="gradio", app_file="app.py", license=LICENSE, tags=tags)
    usage = inspect.cleandoc(metric.inputs_description)
    text = f"# {name}\n\n{metric.description.strip()}\n\n```text\n{usage}\n```\n\n```bibtex\n{CITATION}\n```\n"
    return f"---\n{data.to_yaml()}\n---\n\n{text}"
