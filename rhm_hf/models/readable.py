"""Weights that others can read: safetensors writes them for their owner alone, of no use on a shared disk."""

from pathlib import Path
from typing import Any

from ..files import umask


class ReadableWeights:
    """Goes before `PreTrainedModel` among the bases of this package's models."""

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`; the weights get the mode that the other files have."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True):
            for path in Path(save_directory).glob("*.safetensors"):
                path.chmod(0o666 & ~umask())
