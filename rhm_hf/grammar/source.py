"""`Source`: what every family of grammars offers, so that datasets, oracles and metrics need not know which it is.

A family says what its law is: its shape, how random words become sentences, how sentences become derivations, what is
known exactly. It says what it consists of as `arrays` (numbers) and `settings` (JSON), from which `from_arrays` makes
it again: files, datasets' records and the oracle models' buffers all hold these two. Samples, identity and files are
made of that here. `families.FAMILIES` lists the families; `docs/architecture.md` says what a new one has to give.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import smallest_dtype
from . import storage
from .sentences import sampling as sampling_module


class Source:
    """A law of sentences of a fixed number of tokens, with hidden symbols on levels 1 .. `depth` above them.

    Subclasses have the attributes `family` (their name in files), `parameters` (of the named ensemble that they are
    drawn from, or None), `depth`, `vocab_size`, `sentence_length`, `is_equiprobable`, `num_sentences`, `entropy` and
    `sampling_plan`, and the methods that raise `NotImplementedError` here. They are immutable.
    """

    family: str
    parameters: Any = None

    # What a family gives.

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0 (tokens) .. L (root)."""
        raise NotImplementedError

    def tuple_size_at(self, level: int) -> int:
        """The number of children of a level-`level` node, 1..L."""
        raise NotImplementedError

    def block_length(self, level: int) -> int:
        """The number of tokens below one node of a level, 0..L."""
        raise NotImplementedError

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The levels that given sentences `(num, sentence_length)` determine, tokens first."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers that make the source, int32 or float64."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What `arrays` do not say, ready for JSON."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Any = None) -> "Source":
        """The source of `arrays()` and `settings()`; checks them, as they may come from a file."""
        raise NotImplementedError

    # Shape.

    @property
    def num_classes(self) -> int:
        """n_c, the number of symbols of the one node of level L."""
        return self.num_symbols_at(self.depth)

    def num_nodes_at(self, level: int) -> int:
        """The number of nodes of a level, 0..L."""
        return self.sentence_length // self.block_length(level)

    @property
    def token_dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that holds every token."""
        return smallest_dtype(self.vocab_size)

    def _checked_level(self, level: int, lowest: int) -> int:
        if not lowest <= level <= self.depth:
            raise ValueError(f"level={level} is out of range: this grammar has levels {lowest} to {self.depth}")
        return level

    # Identity.

    @property
    def name(self) -> str:
        """The parameters' short name, or `custom-<hash>` for what was given by hand."""
        return self.parameters.name if self.parameters is not None else f"custom-{self.fingerprint[:12]}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the family, its settings and all its numbers, in hexadecimal."""
        digest = hashlib.sha256(f"{self.family} {json.dumps(self.settings(), sort_keys=True)}".encode())
        for name, array in sorted(self.arrays().items()):
            little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.shape}".encode() + little_endian.tobytes())
        return digest.hexdigest()

    def __eq__(self, other) -> bool:
        return isinstance(other, Source) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        seed = "" if self.parameters is None else f", rules_seed={self.parameters.rules_seed}"
        return f"{type(self).__name__}({self.name!r}{seed}, sentence_length={self.sentence_length})"

    def __reduce__(self):
        return type(self).from_arrays, (self.arrays(), self.settings(), self.parameters)

    def without_parameters(self) -> "Source":
        """The same law without the name of its ensemble."""
        return type(self).from_arrays(self.arrays(), self.settings())

    # Sentences.

    def sample(
        self,
        num: int,
        seed: int = 0,
        split: str = "train",
        sampling: str | None = None,
        start: int = 0,
        disjoint: bool = False,
    ) -> np.ndarray:
        """Sentences `start .. start + num - 1` of a split: see [`~rhm_hf.grammar.sampling.sample`]."""
        return sampling_module.sample(self, num, seed, split, sampling, start, disjoint)

    def derivations(
        self,
        num: int,
        seed: int = 0,
        split: str = "train",
        sampling: str | None = None,
        start: int = 0,
        disjoint: bool = False,
    ) -> list[np.ndarray]:
        """The derivations of the same sentences: entry ℓ = 0..L of shape `(num, nodes at level ℓ)`, 0 the tokens."""
        return self.parse(self.sample(num, seed, split, sampling, start, disjoint))

    # Files.

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `grammar.json` and `grammar.safetensors` into `folder`."""
        storage.save(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **hub_kwargs) -> "Source":
        """Reads a grammar from a directory or Hub id that holds the two files, itself or in its folder `grammar/`.

        Args:
            folder: the directory or Hub id.
            hub_kwargs: passed to `huggingface_hub.snapshot_download` (`revision=`, `repo_type="dataset"`, ..).

        Returns:
            A source of the family that was saved, whichever class is asked.

        Raises:
            `FileNotFoundError`: if a local directory holds no grammar.
            `ValueError`: if the files do not hold a grammar, or do not belong together.
        """
        from .registry import rebuilt

        description, arrays = storage.load(folder, **hub_kwargs)
        source = rebuilt(description, arrays)
        if source.fingerprint != description["fingerprint"]:
            raise ValueError(
                f"in {folder}, {storage.TENSORS_NAME} does not belong to {storage.JSON_NAME}: the checksums differ; "
                "save the grammar again"
            )
        return source
