"""`Source`: what every family of grammars offers, so that data sets, oracles and metrics need not know which it is.

A family says what its law is: its outcomes and lengths, how random numbers become sentences, what is known exactly. It
says what it consists of as `arrays` (numbers) and `settings` (JSON), from which `from_arrays` makes it again: files,
the records of data sets and the oracle models' buffers all hold these two. Samples, identity and files are made of
that here. Families register themselves with [`~rhm_hf.grammar.registry`]; `docs/architecture.md` says what a new one
has to give.
"""

import hashlib
import json
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import NonNegativeIndex, NonNegativeInt, Seed, check_memory, check_methods, smallest_dtype
from . import storage
from .names import Ensemble
from .refusal import NotSupported
from .sentences import sampling as sampling_module


BYTES_PER_POSITION = 512  # of messages and tables along a sentence, from below


class Source:
    """A law of sentences. Sources are immutable, compare and hash by content, and pickle.

    A subclass has the attributes `family` (its name in files), `parameters` (of the named ensemble that it is drawn
    from, or None), `vocab_size`, `max_length`, `is_equiprobable`, `num_sentences` and `entropy`, and the methods that
    raise `NotImplementedError` here. What raises [`NotSupported`] is what some families have and others lack:
    [`~rhm_hf.grammar.fixed_tree.FixedTree`] has it all.

    Token k has id k; after them come BOS = EOS = END = v, PAD = v + 1 and MASK = v + 2.
    """

    family: str
    parameters: Any = None
    lengths_vary: bool = False  # whether sentences differ in their numbers of tokens
    has_blocks: bool = False  # whether all sentences have one tree, with nodes by level and position
    laws_class: str | None = None  # "module:Class" of its exact laws, which need torch
    sampling_plan: Any = None  # a `sentences.plan.Plan`; without one, `draw_sentences` makes the sentences
    entropy_stderr: float = 0.0  # of `entropy`, where that is a mean over sampled sentences
    num_classes: int = 1  # n_c, symbols of the root; 1 where sentences have no classes
    vocab_size: int
    max_length: int | None  # the most tokens of a sentence; None where there is no bound
    is_equiprobable: bool = False  # only then is `unique` sampling possible
    num_sentences: int | float  # of positive probability; `math.inf` where nobody can count them
    entropy: float  # of a sentence, nats

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_methods(cls)  # of a family from outside too

    # What a family gives.

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers that make the source, int32 or float64."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What `arrays` do not say, ready for JSON."""
        raise NotImplementedError

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "Source":
        """The source of `arrays()` and `settings()`; checks them, as they may come from a file."""
        raise NotImplementedError

    @classmethod
    def drawn_from(cls, parameters: Ensemble) -> "Source":
        """The source that `parameters.rules_seed` picks from the ensemble of `parameters`."""
        raise NotImplementedError

    def draw_sentences(self, key: np.ndarray, attempt: int, indices: np.ndarray) -> np.ndarray:
        """Sentences drawn with the law of the source, a pure function of the arguments.

        Needed where there is no `sampling_plan`. Take the random numbers from
        [`~rhm_hf.grammar.sentences.sampling.numbers_of`].

        Args:
            key (`np.ndarray`): uint64 `(2,)`, of the generator.
            attempt (`int`): 0, 1, ..: another one gives other sentences, independently.
            indices (`np.ndarray`): int64 `(num,)`, of the sentences.

        Returns:
            `np.ndarray` of shape `(num, longest of these)` and `token_dtype`, padded with PAD where lengths vary.
        """
        raise NotImplementedError

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """All sentences and their probabilities, see [`~rhm_hf.grammar.enumeration.enumerate_sentences`]."""
        raise NotSupported("the list of all sentences", self, "the family does not make one", "draw some with sample")

    @cached_property
    def laws(self) -> Any:
        """The exact laws, a [`~rhm_hf.grammar.laws.base.Laws`] in torch: `laws_class`, imported at the first use."""
        if self.laws_class is None:
            raise NotSupported("an exact law", self, "the family gives none")
        what = f"laws along sentences of max_length={self.max_length}"
        check_memory(what, BYTES_PER_POSITION * (self.max_length or 1), "take a smaller grammar")
        module, _, name = self.laws_class.partition(":")
        return getattr(import_module(module), name)(self)

    def shape(self) -> dict[str, str]:
        """What a card says about the source's shape: values ready to print, by what they are called."""
        return {}

    # Outcomes and lengths.

    @property
    def num_outcomes(self) -> int:
        """Columns of a next-token law: v, and one more for END where lengths vary."""
        return self.vocab_size + self.lengths_vary

    @property
    def sentence_length(self) -> int:
        """d, tokens of every sentence.

        Raises:
            [`NotSupported`]: where sentences differ in length.
        """
        if self.lengths_vary:
            raise NotSupported(
                "sentence_length",
                self,
                "its sentences differ in length",
                "read max_length, or the lengths of a sample",
            )
        return self.max_length

    @cached_property
    def mean_length(self) -> float:
        """The mean number of tokens of a sentence, END not counted."""
        return float(self.sentence_length)

    @property
    def token_dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that holds every token, and PAD where lengths vary."""
        return smallest_dtype(self.vocab_size + 2 * self.lengths_vary)

    # What only some have.

    @property
    def depth(self) -> int:
        """L, the level of the root."""
        raise self._no_blocks("a number of levels")

    @property
    def parsed_depth(self) -> int:
        """The highest level that tokens determine, see `parse`."""
        raise self._no_blocks("a parse by levels")

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0 (tokens) .. L (root)."""
        raise self._no_blocks("num_symbols_at")

    def tuple_size_at(self, level: int) -> int:
        """The number of children of a level-`level` node, 1..L."""
        raise self._no_blocks("tuple_size_at")

    def block_length(self, level: int) -> int:
        """The number of tokens below one node of a level, 0..L."""
        raise self._no_blocks("block_length")

    def num_nodes_at(self, level: int) -> int:
        """The number of nodes of a level, 0..L."""
        raise self._no_blocks("num_nodes_at")

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The levels 0 .. `parsed_depth` that tokens determine, tokens first."""
        raise self._no_blocks("a parse by levels")

    def _checked_level(self, level: int, lowest: int) -> int:
        if not lowest <= level <= self.depth:
            raise ValueError(f"level={level} is out of range: this grammar has levels {lowest} to {self.depth}")
        return level

    def _no_blocks(self, what: str) -> NotSupported:
        return NotSupported(
            what, self, "it has no fixed tree with nodes by level and position", "take a source with has_blocks"
        )

    @cached_property
    def num_derivations(self) -> int | float:
        """The number of derivations of positive probability; more than sentences where some are ambiguous."""
        return self.num_sentences

    @cached_property
    def derivation_entropy(self) -> float:
        """Entropy of a derivation in nats; that of its sentence where tokens determine it."""
        return self.entropy

    def classes(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> np.ndarray:
        """The root's symbols of the sentences of `sample` with these arguments: int64 `(num,)`."""
        if self.num_classes == 1:
            return np.zeros(num, dtype=np.int64)
        raise NotSupported("the class of a sentence", self, "the family does not say it")

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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        seed = "" if self.parameters is None else f", rules_seed={self.parameters.rules_seed}"
        length = f"max_length={self.max_length}" if self.lengths_vary else f"sentence_length={self.sentence_length}"
        return f"{type(self).__name__}({self.name!r}{seed}, {length})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A function of a module, not a method: `datasets` hashes methods by what their code reaches, without an end.
        return _rebuilt, (type(self), self.arrays(), self.settings(), self.parameters)

    def without_parameters(self) -> "Source":
        """The same law without the name of its ensemble."""
        return type(self).from_arrays(self.arrays(), self.settings())

    def sample(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
        return_lengths: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Sentences `start .. start + num - 1` of a split: see [`~rhm_hf.grammar.sentences.sampling.sample`].

        With `return_lengths` also their numbers of tokens, int64 `(num,)`.
        """
        self._check_size(num)
        tokens = sampling_module.sample(self, num, seed, split, sampling, start, disjoint)
        return (tokens, self.lengths_of(tokens)) if return_lengths else tokens

    def _check_size(self, num: int, levels: int = 1) -> None:
        """Refuses sentences that no memory holds before they are drawn."""
        num_bytes = num * levels * (self.max_length or 1) * self.token_dtype.itemsize
        check_memory(f"num={num} sentences of {self.name}", num_bytes, "draw them in parts, with start=")

    def lengths_of(self, tokens: np.ndarray) -> np.ndarray:
        """The numbers of tokens of padded rows `(num, width)`: those before the first PAD, int64 `(num,)`."""
        if not self.lengths_vary:
            return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
        return (np.asarray(tokens) != self.vocab_size + 1).cumprod(1).sum(1)

    def derivations(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> list[Any]:
        """The drawn derivations of the same sentences: levels on a fixed tree, one tree a sentence elsewhere."""
        raise NotSupported("a derivation", self, "the family does not say which hidden symbols wrote a sentence")

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `grammar.json` and `grammar.safetensors` into `folder`."""
        storage.save(self, folder)

    def push_to_hub(
        self,
        repo_id: str,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Uploads the two files with their card; `from_pretrained(repo_id)` reads them.

        Args:
            repo_id (`str`): `user/name`, a repository of the kind `model`; made where there is none.
            private (`bool`, *optional*): of a new repository; by default what the account says.
            token (`str`, *optional*): by default that of `hf auth login`.
            commit_message (`str`, *optional*): by default `Upload with rhm_hf`.
            create_pr (`bool`, *optional*, defaults to `False`): whether to open a pull request instead.

        Returns:
            `str`: the address of the commit.

        Raises:
            `ValueError`: for a name that the Hub does not allow.
        """
        return storage.push(self, repo_id, private, token, commit_message, create_pr)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **hub_kwargs: Any) -> "Source":
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


check_methods(Source)


def _rebuilt(kind: type[Source], *description) -> Source:
    return kind.from_arrays(*description)
