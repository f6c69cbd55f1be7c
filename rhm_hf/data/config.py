"""The configuration of `load_dataset("rhm", ..)`: keywords checked, defaults filled in, one name for equal content."""

from dataclasses import dataclass, fields
from typing import Any

import datasets
import numpy as np
from datasets.fingerprint import Hasher

from ..checks import SEED_LIMIT, check_integer
from ..grammar import Grammar, NotSupported, Source
from ..grammar.registry import from_parameters, parameters_from_keywords, parameters_from_name
from ..grammar.sentences.sampling import check_split_sizes, resolve_sampling
from .provenance import is_place, resolve_grammar


DEFAULT_NAME = "v16-m4-s2-L3"
SPLIT_SIZES = {"train": "train_size", "validation": "validation_size", "test": "test_size"}


@dataclass(eq=False)
class RHMDatasetConfig(datasets.BuilderConfig):
    """What determines every row of a dataset. Equal content has equal fields, whichever way it was asked for.

    Args:
        name (`str`, *optional*): a grammar's short name such as `v16-m4-s2-L3`, a file of rules such as `./dyck.cfg`,
            or the directory or Hub id of a saved one; or keywords, or `grammar`; with none of the three the grammar
            is `v16-m4-s2-L3`.
        vocab_size, num_synonyms, tuple_size, depth, num_classes, rules_seed, zipf_exponent, zipf_level, uncorrelated,
            cut_level, sparsity, placement (*optional*): see [`~rhm_hf.GrammarParameters`],
            [`~rhm_hf.grammar.FilteredParameters`] and [`~rhm_hf.grammar.SparseParameters`]; `rules_seed` defaults to
            0.
        train_size (`int`, *optional*, defaults to 8192): sentences of the split; a split of size 0 is absent.
        validation_size (`int`, *optional*, defaults to 1024): likewise.
        test_size (`int`, *optional*, defaults to 1024): likewise.
        sample_seed (`int`, *optional*, defaults to 0): picks the sentences.
        sampling (`str`, *optional*): `"unique"` (all sentences of all splits differ; the default where all sentences
            have the same probability) or `"iid"` (with replacement; the default elsewhere).
        disjoint (`bool`, *optional*, defaults to `False`): keeps iid splits from sharing a sentence; unique ones never
            do.
        levels (`bool`, *optional*, defaults to `False`): adds the hidden symbols, columns `level_1` .. `level_{L-1}`;
            level 0 is `input_ids` and level L is `label`.
        grammar ([`~rhm_hf.Grammar`] or another family's source, file of rules, directory, Hub id or dataset,
            *optional*): the grammar itself.

    Raises:
        `ValueError`: if a value is out of range, two of them contradict each other, or more distinct sentences are
            asked for than exist.
    """

    vocab_size: int | None = None
    num_synonyms: int | None = None
    tuple_size: int | None = None
    depth: int | None = None
    num_classes: int | None = None
    rules_seed: int | None = None
    zipf_exponent: float | None = None
    zipf_level: int | None = None
    uncorrelated: bool | None = None
    cut_level: int | None = None
    sparsity: int | None = None
    placement: str | None = None
    train_size: int = 8192
    validation_size: int = 1024
    test_size: int = 1024
    sample_seed: int = 0
    sampling: str | None = None
    disjoint: bool = False
    levels: bool = False
    grammar: Any = None

    def __post_init__(self) -> None:
        for name in ("data_dir", "data_files"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}={getattr(self, name)!r}: the dataset 'rhm' is generated and reads no files")
        self.grammar = self._resolved_grammar()
        self.name = self.grammar.name
        known = {} if self.grammar.parameters is None else self.grammar.parameters.keywords
        for keyword in _PARAMETERS:
            setattr(self, keyword, known.get(keyword))  # other families have some of them, or none
        for size in SPLIT_SIZES.values():
            setattr(self, size, check_integer(size, getattr(self, size), 0))
        if not any(self.split_sizes.values()):
            raise ValueError("train_size=0, validation_size=0 and test_size=0 leave no split: make one positive")
        self.sample_seed = check_integer("sample_seed", self.sample_seed, 0, SEED_LIMIT)
        for name in ("disjoint", "levels"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(f"{name}={getattr(self, name)!r} must be True or False")
        self.sampling = resolve_sampling(self.grammar, self.sampling)
        self.disjoint = bool(self.disjoint) and self.sampling == "iid"  # unique splits are disjoint either way
        self.levels = bool(self.levels)
        if self.levels and not self.grammar.has_blocks:
            raise NotSupported("levels=True", self.grammar, "its sentences have no levels by position", "leave it out")
        check_split_sizes(self.grammar, *self.split_sizes.values(), self.sampling)
        super().__post_init__()

    def __eq__(self, other: object) -> bool:
        same_type = isinstance(other, RHMDatasetConfig)
        return same_type and all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    @property
    def split_sizes(self) -> dict[str, int]:
        """The number of sentences of the three splits."""
        return {split: getattr(self, size) for split, size in SPLIT_SIZES.items()}

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: datasets.Features | None = None) -> str:
        """The cache directory's name: a function of the content, not of the keywords that were passed."""
        parameters = self.grammar.parameters
        grammar = f"custom-{self.grammar.fingerprint}" if parameters is None else f"{self.name}-rules{self.rules_seed}"
        sizes = "-".join(str(size) for size in self.split_sizes.values())
        sampling = f"{'disjoint-' * self.disjoint}{self.sampling}{self.sample_seed}"
        config_id = f"{grammar}-{sampling}-{sizes}{'-levels' * self.levels}"
        return config_id if custom_features is None else f"{config_id}-{Hasher.hash(custom_features)}"

    def _resolved_grammar(self) -> Source:
        given = {k: getattr(self, k) for k in _PARAMETERS if getattr(self, k) is not None}
        shape = [k for k in given if k != "rules_seed"]
        if self.grammar is None and self.name != "default" and is_place(self.name):
            self.grammar, self.name = self.name, "default"
        if self.grammar is not None:
            grammar = _without_wrong_parameters(resolve_grammar(self.grammar))
            if self.name not in ("default", grammar.name):
                raise ValueError(f"name={self.name!r} contradicts grammar=, which is {grammar.name}: drop one of them")
            self._refuse_contradictions(given, grammar.parameters, f"grammar={grammar.name}")
            return grammar
        if self.name == "default" and shape:
            missing = [k for k in ("vocab_size", "num_synonyms", "tuple_size", "depth") if k not in given]
            if missing:
                raise ValueError(
                    f"{', '.join(shape)} without {', '.join(missing)}: give all of vocab_size, num_synonyms, "
                    f"tuple_size and depth, or a name such as {DEFAULT_NAME!r}"
                )
            return from_parameters(parameters_from_keywords(given))
        name = DEFAULT_NAME if self.name == "default" else self.name
        parameters = parameters_from_name(name, given.get("rules_seed", 0))
        self._refuse_contradictions(given, parameters, f"name={name!r}")
        return from_parameters(parameters)

    def _refuse_contradictions(self, given: dict, parameters: Any, source: str) -> None:
        for keyword, value in given.items():
            if parameters is None:
                if keyword == "rules_seed" and value == 0:
                    continue  # the default, which a training run passes whatever the grammar is
                raise ValueError(f"{keyword}={value!r} has no meaning for {source}, whose rules were given: drop it")
            if keyword not in parameters.keywords:
                raise ValueError(f"{keyword}={value!r} has no meaning for {source}, of another family: drop it")
            if value != (known := parameters.keywords[keyword]):
                raise ValueError(
                    f"{keyword}={value!r} contradicts {source}, which says {keyword}={known}: drop one of them"
                )


_PARAMETERS = (
    *("vocab_size", "num_synonyms", "tuple_size", "depth", "num_classes", "rules_seed", "zipf_exponent", "zipf_level"),
    *("uncorrelated", "cut_level", "sparsity", "placement"),
)


def _without_wrong_parameters(grammar: Source) -> Source:
    """Drops parameters that no longer give these rules (files of another version): a name must mean one grammar."""
    if grammar.parameters is None or Grammar.from_parameters(grammar.parameters) == grammar:
        return grammar
    return grammar.without_parameters()
