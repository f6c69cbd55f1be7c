"""A source on disk: `grammar.json` (family, parameters, shape, checksum) beside `grammar.safetensors` (its numbers).

Nothing in either file is executed. Files are written beside their target and renamed, the JSON last; it holds the
fingerprint of the arrays, so a torn or mixed pair of files is noticed when it is read.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


JSON_NAME = "grammar.json"
TENSORS_NAME = "grammar.safetensors"
FORMAT = 1


def save(source, folder: str | Path) -> None:
    """Writes the two files into `folder`, which is made where it does not exist."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "format": FORMAT,
        "family": source.family,
        "name": source.name,
        "parameters": None if source.parameters is None else source.parameters.to_dict(),
        "settings": source.settings(),
        "depth": source.depth,
        "vocab_size": source.vocab_size,
        "sentence_length": source.sentence_length,
        "fingerprint": source.fingerprint,
    }
    partial = f".{os.getpid()}.partial"
    save_file(source.arrays(), folder / (TENSORS_NAME + partial))
    (folder / (JSON_NAME + partial)).write_text(json.dumps(description, indent=2) + "\n")
    for name in (TENSORS_NAME, JSON_NAME):
        os.replace(folder / (name + partial), folder / name)


def load(folder: str | Path, **hub_kwargs) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads the two files from a local directory, or from a Hub repository where no such directory exists.

    Args:
        folder: a directory or a Hub id with the two files, itself or in its folder `grammar/`.
        hub_kwargs: passed to `huggingface_hub.snapshot_download` (`revision=`, `repo_type="dataset"`, ..).

    Returns:
        The description and the arrays, unchecked but for the format.

    Raises:
        `FileNotFoundError`: if a local directory holds no grammar.
        `ValueError`: if the files do not hold a grammar.
    """
    path = Path(folder)
    if not path.is_dir():
        from huggingface_hub import snapshot_download

        wanted = [f"{where}{name}" for where in ("", "grammar/") for name in (JSON_NAME, TENSORS_NAME)]
        path = Path(snapshot_download(str(folder), allow_patterns=wanted, **hub_kwargs))
    places = [place for place in (path, path / "grammar") if (place / JSON_NAME).is_file()]
    if not places:
        raise FileNotFoundError(f"{folder} holds no {JSON_NAME}, neither itself nor in its folder grammar/")
    description = json.loads((places[0] / JSON_NAME).read_text())
    if description.get("format") != FORMAT:
        raise ValueError(
            f"{places[0] / JSON_NAME} has format {description.get('format')!r}; this version of rhm_hf reads {FORMAT}"
        )
    return description, load_file(places[0] / TENSORS_NAME)
