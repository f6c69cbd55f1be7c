"""Metrics for `evaluate`, one folder each: `<name>/<name>.py` over a pure function that needs no `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from evaluate import EvaluationModule

from ..checks import checked


def metric_folders() -> dict[str, Path]:
    """The folder of every metric of this package, by name."""
    return {
        script.stem: script.parent
        for script in sorted(Path(__file__).parent.glob("*/*.py"))
        if script.stem == script.parent.name
    }


@checked
def load_metric(name: str, **kwargs: Any) -> "EvaluationModule":
    """Loads a metric of this package, without a network: `rhm_hf.load_metric("rhm_kl")`.

    Args:
        name (`str`): the metric's name, as for `evaluate.load`.
        kwargs: passed to `evaluate.load` (`experiment_id=`, `keep_in_memory=`, ..).

    Returns:
        `evaluate.EvaluationModule`: call its `compute`.

    Raises:
        `ValueError`: if this package has no such metric.
    """
    folders = metric_folders()
    if name not in folders:
        raise ValueError(f"name={name!r} is no metric of rhm_hf: it has {', '.join(folders)}; others: evaluate.load")
    import evaluate

    return evaluate.load(str(folders[name]), **kwargs)
