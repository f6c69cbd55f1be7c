"""A source on disk: `grammar.json` (family, parameters, shape, checksum) beside `grammar.safetensors` (its numbers).

Nothing in either file is executed. The tensors' file holds the description as well, and says which `grammar.json` it
replaces, so that one rename puts another source in place of the old one: whoever is killed between the two renames
leaves the new source and a description that is recognised as the old one. Any other pair of files that do not agree is
refused, and so is what was edited by hand: the checksum covers description and numbers.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from .. import files


JSON_NAME = "grammar.json"
TENSORS_NAME = "grammar.safetensors"
FORMAT = 2


def save(source: Any, folder: str | Path) -> None:
    """Writes the two files into `folder`, which is made where it does not exist."""
    folder = Path(folder)
    description = {
        "format": FORMAT,
        "family": source.family,
        "name": source.name,
        "parameters": None if source.parameters is None else source.parameters.to_dict(),
        "settings": source.settings(),
        "vocab_size": source.vocab_size,
        "max_length": source.max_length,
        "fingerprint": source.fingerprint,
    }
    description["checksum"] = _checksum(description)
    text = json.dumps(description, indent=2) + "\n"
    known = folder / JSON_NAME
    replaced = files.sha256(known) if known.is_file() else ""
    with files.beside(folder / TENSORS_NAME) as partial:
        save_file(source.arrays(), partial, metadata={JSON_NAME: text, "replaces": replaced})
    with files.beside(folder / JSON_NAME) as partial:
        partial.write_text(text, encoding="utf-8")


def write_with_card(source: Any, folder: str | Path) -> None:
    """Writes the two files and `README.md`: what a repository of the grammar holds."""
    save(source, folder)
    from .. import cards  # only where something is shared

    files.write_atomically(Path(folder) / "README.md", cards.grammar_card(source))


def push(source: Any, repo_id: str, *options: Any) -> str:
    """Uploads the two files with their card, see [`~rhm_hf.grammar.Source.push_to_hub`]."""
    from .. import hub

    with tempfile.TemporaryDirectory() as folder:
        write_with_card(source, folder)
        return hub.Upload(Path(folder), repo_id).send(*options)


def load(folder: str | Path, **hub_kwargs: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads the two files from a local directory, or from a Hub repository where no such directory exists.

    Args:
        folder: a directory or a Hub id with the two files, itself or in its folder `grammar/`.
        hub_kwargs: passed to `huggingface_hub.snapshot_download` (`revision=`, `repo_type="dataset"`, ..).

    Returns:
        The description and the arrays, unchecked but for format and checksum.

    Raises:
        `FileNotFoundError`: if a local directory holds no grammar.
        `ValueError`: if the files do not hold a grammar, or were edited.
    """
    path = Path(folder)
    if not path.is_dir():
        from huggingface_hub import snapshot_download

        wanted = [f"{where}{name}" for where in ("", "grammar/") for name in (JSON_NAME, TENSORS_NAME)]
        wanted.append("config.json")  # of a model, whose law the grammar must be
        path = Path(snapshot_download(str(folder), allow_patterns=wanted, **hub_kwargs))
    places = [place for place in (path, path / "grammar") if (place / TENSORS_NAME).is_file()]
    if not places:
        raise FileNotFoundError(f"{folder} holds no {TENSORS_NAME}, neither itself nor in its folder grammar/")
    tensors = places[0] / TENSORS_NAME
    try:
        with safe_open(tensors, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except Exception as error:  # whatever a damaged file makes of the reader
        raise ValueError(f"{tensors} cannot be read ({error}): save the grammar again") from None
    description, beside = _checked(metadata.get(JSON_NAME), tensors), places[0] / JSON_NAME
    is_older = beside.is_file() and files.sha256(beside) == metadata.get("replaces")
    if beside.is_file() and not is_older:
        said = _checked(beside.read_text(encoding="utf-8"), beside)
        if said != description:
            raise ValueError(f"{tensors} does not belong to {JSON_NAME} beside it: save the grammar again")
    _check_model(places[0], description)
    return description, arrays


def _check_model(place: Path, description: dict[str, Any]) -> None:
    """That a grammar in an oracle's folder `grammar/` is the oracle's law, which its config.json has a checksum of."""
    config = place.parent / "config.json"
    if place.name != "grammar" or not config.is_file():
        return
    try:
        said = json.loads(config.read_text(encoding="utf-8"))["source"]["fingerprint"]
    except (ValueError, KeyError, TypeError):
        return  # another model's
    if said != description["fingerprint"]:
        raise ValueError(f"{place.parent} holds two laws: {config} describes another one than {place}; remove one")


def _checked(text: str | None, place: Path) -> dict[str, Any]:
    """A description whose format and checksum are right."""
    try:
        description = json.loads(text or "")
    except ValueError:
        description = None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise ValueError(
            f"{place} has format {found!r}; this version of rhm_hf reads {FORMAT}: save the grammar again"
        )
    if description.get("checksum") != _checksum(description):
        raise ValueError(f"{place} was changed: what it says does not have its checksum; save the grammar again")
    return description


def _checksum(description: dict[str, Any]) -> str:
    said = {name: value for name, value in description.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
