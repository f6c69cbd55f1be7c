"""Configuration of the oracle models: the source of a law, its special ids and the context that is visible."""

import hashlib
import json
import math
from typing import Any

import numpy as np

from ...checks import NonNegativeInt, PositiveInt, check, check_integer, check_memory, checked
from ...grammar import Source
from ..configuration_law import LawConfig
from ..sizes import NumSymbols


TRIVIAL: dict[str, Any] = {  # one sentence of two tokens: what a configuration without arguments describes
    "family": "layered",
    "settings": {"vocab_size": 2},
    "parameters": None,
    "identity": None,
    "shapes": {"root_probs": ["float64", [1]], "rules.0": ["int32", [1, 1, 2]], "rule_probs.0": ["float64", [1, 1]]},
    "num_classes": 1,
    "max_length": 2,
    "lengths_vary": False,
    "depth": 1,
}


class RHMConfig(LawConfig):
    """Configuration of [`RHMForCausalLM`], [`RHMForMaskedLM`] and [`RHMForSequenceClassification`].

    The numbers of the source are the model's buffers; the configuration holds their shapes, so that the model can be
    built before they are loaded. Get one with [`RHMConfig.from_grammar`].

    Args:
        num_symbols (`int`, *optional*, defaults to 2): v, tokens of the source; symbol k has token id k.
        source (`dict`, *optional*, defaults to a source of one sentence): `family`, `settings` and `parameters` as in
            the grammar's files; `shapes`, name to dtype and shape of every buffer; `num_classes`; `max_length` (None
            where there is no bound), `lengths_vary`; `depth` where the tree is fixed; `fingerprint`, that of the
            numbers, and `identity`, a checksum of the parameters with it: a directory whose files differ is refused.
        context_level (`int`, *optional*): the causal model sees only the tokens of its own aligned level-ℓ block.
        context_length (`int`, *optional*): the causal model sees only that many tokens before the one it predicts.

    Special ids follow the symbols: BOS = EOS = END = v, PAD = v + 1, MASK = v + 2, and `vocab_size` = v + 3 counts all
    ids. `sentence_length` is d where all sentences have one length, and None where they differ.
    """

    model_type = "rhm"

    @checked
    def __init__(
        self,
        num_symbols: NumSymbols = 2,
        source: dict[str, Any] | None = None,
        context_level: NonNegativeInt | None = None,
        context_length: NonNegativeInt | None = None,
        **kwargs: Any,
    ):
        if "rule_shapes" in kwargs:
            raise ValueError(
                "rule_shapes: this configuration was written by rhm_hf 0.1; make the oracle again from its grammar, "
                "RHMForCausalLM.from_grammar(Grammar.from_pretrained(folder))"
            )
        self.source: dict[str, Any] = dict(TRIVIAL) if source is None else _checked_source(source)
        self.context_level = context_level
        self.context_length = context_length
        self._check_context()
        if "id2label" not in kwargs and "label2id" not in kwargs:
            kwargs["num_labels"] = self.source["num_classes"]
        super().__init__(num_symbols, **kwargs)

    @classmethod
    @checked
    def from_grammar(cls, grammar: Source, **kwargs: Any) -> "RHMConfig":
        """The configuration of a source's oracle."""
        source = {
            "family": grammar.family,
            "settings": grammar.settings(),
            **named(grammar),
            "shapes": {name: [array.dtype.name, list(array.shape)] for name, array in grammar.arrays().items()},
            "num_classes": grammar.num_classes,
            "max_length": grammar.max_length,
            "lengths_vary": grammar.lengths_vary,
        }
        if grammar.has_blocks:
            source["depth"] = grammar.depth
        return cls(num_symbols=grammar.vocab_size, source=source, **kwargs)

    def _check_context(self) -> None:
        level, length, depth = self.context_level, self.context_length, self.source.get("depth")
        if level is not None and length is not None:
            raise ValueError(f"context_level={level} and context_length={length} exclude each other: give one of them")
        if level is not None and depth is None:
            raise ValueError(f"context_level={level}: this source's trees have no aligned blocks; use context_length=")
        if level is not None and not 0 <= check_integer("context_level", level, 0) <= depth:
            raise ValueError(f"context_level={level} is out of range: this grammar has levels 0 to {depth}")
        if length is not None:
            check_integer("context_length", length, 0)

    @property
    def buffer_shapes(self) -> dict[str, tuple[str, list[int]]]:
        """The dtype and shape of every buffer, by the name it has in `grammar.arrays()`."""
        return {name: tuple(kind) for name, kind in self.source["shapes"].items()}

    @property
    def sentence_length(self) -> int | None:
        """d, in tokens; None where sentences differ in length."""
        return None if self.source["lengths_vary"] else self.source["max_length"]


def _checked_source(source: dict[str, Any]) -> dict[str, Any]:
    """A source of the form that [`RHMConfig.from_grammar`] writes, whose buffers fit."""
    missing = sorted(_FIELDS.keys() - source.keys())
    if missing:
        raise ValueError(f"source={sorted(source)} lacks {', '.join(missing)}: make it with RHMConfig.from_grammar")
    for name, hint in _FIELDS.items():
        check(f"source[{name!r}]", source[name], hint)
    num_bytes = 0
    for name, (dtype, shape) in source["shapes"].items():
        if dtype not in ("float64", "int32"):
            raise ValueError(f"source['shapes'][{name!r}]={dtype!r} is no dtype of a source: float64 or int32")
        sizes = [check_integer(f"source['shapes'][{name!r}]", size, 0) for size in shape]
        num_bytes += math.prod(sizes) * np.dtype(dtype).itemsize
    check_memory(f"source of family={source['family']!r}", num_bytes, "make its rules fewer")
    return source


_FIELDS = {
    "family": str,
    "settings": dict,
    "parameters": dict | None,
    "shapes": dict,
    "num_classes": NumSymbols,
    "max_length": PositiveInt | None,
    "lengths_vary": bool,
}


def named(grammar: Source) -> dict[str, Any]:
    """What ties the record of a source to its numbers: checksums of them, and of them with its parameters."""
    parameters = None if grammar.parameters is None else grammar.parameters.to_dict()
    checksum = None if parameters is None else identity(parameters, grammar.fingerprint)
    return {"parameters": parameters, "identity": checksum, "fingerprint": grammar.fingerprint}


def identity(parameters: dict[str, Any], fingerprint: str) -> str:
    """A checksum that ties the parameters, and so the name, of a source to its numbers."""
    return hashlib.sha256(f"{json.dumps(parameters, sort_keys=True)} {fingerprint}".encode()).hexdigest()
