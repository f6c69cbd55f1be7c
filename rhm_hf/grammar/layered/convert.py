"""Rules in the form of the authors' code, as a [`Grammar`].

That code keeps a dictionary of integer tensors, root first: entry 0 of shape `(n_c, m, s)`, entries 1 .. L-1 of shape
`(v, m, s)`, the children of each being symbols of the next. All its levels have the same vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import as_array, checked
from .grammar import Grammar


@checked
def grammar_from_tensors(
    rules: Any,
    rule_probs: Any = None,
    root_probs: Any = None,
    vocab_size: int | None = None,
) -> Grammar:
    """A grammar from rules as the authors of the model keep them, or saved them.

    Args:
        rules (`dict`, `list`, `str` or `Path`): integer tensors or arrays of shape `(symbols, rules per symbol,
            children)`, root first: a list, or a dictionary with the keys 0 .. L-1; or the file of either, made by
            `torch.save` and read with `weights_only=True`, which runs no code of the file.
        rule_probs (`dict` or `list`, *optional*, defaults to uniform): likewise, `(symbols, rules per symbol)`.
        root_probs (tensor or array, *optional*, defaults to uniform): `(classes,)`.
        vocab_size (`int`, *optional*): leaf symbols; by default as many as the level above them has or, where there
            is one level only, the largest token + 1.

    Raises:
        `FileNotFoundError`: if there is no such file.
        `ValueError`: for a file that holds anything but tensors, missing or unknown keys, and whatever
            [`Grammar.from_rules`] refuses.
    """
    if isinstance(rules, str | Path):
        rules = _loaded(Path(rules))
    levels = _levels("rules", rules)
    probs = None if rule_probs is None else _levels("rule_probs", rule_probs)
    if vocab_size is None and len(levels) > 1 and levels[-1].ndim == 3 and levels[-1].size:
        vocab_size = max(len(levels[-1]), int(levels[-1].max()) + 1)
    return Grammar.from_rules(levels, probs, None if root_probs is None else as_array(root_probs), vocab_size)


def _loaded(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"rules={str(path)!r} is no file: give one that torch.save made, or the tensors")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of whatever kind: what is no such file stumbles over anything
        raise ValueError(
            f"rules={str(path)!r} cannot be read as tensors alone ({type(error).__name__}): save the dictionary "
            "of rules by itself, torch.save({0: .., 1: ..}, path)"
        ) from None


def _levels(name: str, values: Any) -> list[np.ndarray]:
    """Root first, from a sequence or from a mapping with the keys 0 .. L-1."""
    if isinstance(values, Mapping):
        by_key = {str(key): value for key, value in values.items()}  # JSON, for one, turns numbers into strings
        if sorted(by_key) != sorted(map(str, range(len(values)))):
            raise ValueError(
                f"{name} has the keys {list(values)}: it must have 0 to L-1, root first, one for each level of rules"
            )
        values = [by_key[str(generation)] for generation in range(len(values))]
    elif isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(
            f"{name} is a {type(values).__name__}: pass a dictionary {{0: tensor, 1: tensor, ..}} or a list"
        )
    return [as_array(value) for value in values]
