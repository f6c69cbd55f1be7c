"""Accelerate's trackers: checked at the start, with project and run named after the folders."""

from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..checks import did_you_mean


NAMED = {"wandb": "name", "trackio": "name", "comet_ml": "experiment_name"}  # the keyword of a run's name


def check(name: str) -> None:
    """Raises a `ValueError` for a tracker that does not exist or is not installed."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name == "none":
        return
    known = [str(kind) for kind in LOGGER_TYPE_TO_CLASS]
    if name not in known:
        raise ValueError(
            f"report_to={name!r} is out of range: it must be none, {', '.join(known)}{did_you_mean(name, known)}"
        )
    if name not in [str(kind) for kind in get_available_trackers()]:
        raise ValueError(f"report_to={name!r} is not installed: pip install {name}, or leave report_to out")


def start(accelerator: Accelerator, folder: Path, arguments: dict[str, Any]) -> None:
    """Opens the run's trackers, if it has any: the project is the folder of the sweep, the run that of the run."""
    if accelerator.log_with:
        place = folder.resolve()
        names = {name: {keyword: place.name} for name, keyword in NAMED.items()}
        given = {str(name): names[str(name)] for name in accelerator.log_with if str(name) in names}
        accelerator.init_trackers(
            place.parent.name or "rhm_hf", {name: str(value) for name, value in arguments.items()}, given
        )
