"""Grammars of others: the JSON of PhysicsLM4 and the tensors of Mixed_RHM.

- PhysicsLM4 (Allen-Zhu and Li, arXiv 2305.13673) keeps `{"all": [[{"id", "name", "children"}, ..], ..]}`, root first:
  `children` lists the right sides of a node, as places in the next level; tokens have `null`. Rules are equiprobable.
- Mixed_RHM (Parley et al., arXiv 2602.06065) keeps `rules[level][kind]`, root first, integer tensors
  `(symbols, rules, children)`: kind 0 the binary rules, kind 1 the ternary ones. A node takes either kind with
  probability 1/2 and then one of its rules. A padded variant keeps one tensor `(symbols + 1, rules, 3)` a level, where
  the last symbol is a filler. The class is the symbol below the start.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import as_array
from .production_rules import Rules, make_rules


def rules_from_physics(source: str | Path | dict[str, Any]) -> Rules:
    """Reads PhysicsLM4's JSON.

    Args:
        source (`str`, `Path` or `dict`): the file, or what it holds. A token's string is its `id`.

    Raises:
        `ValueError`: naming the level and the node where it is no such grammar.
    """
    values = json.loads(Path(source).read_text(encoding="utf-8")) if isinstance(source, str | Path) else source
    levels = values.get("all") if isinstance(values, Mapping) else None
    if not isinstance(levels, list) or len(levels) < 2 or not all(isinstance(nodes, list) for nodes in levels):
        raise ValueError("this is no PhysicsLM4 grammar: it must have 'all', two or more lists of nodes, root first")
    if len(levels[0]) != 1:
        raise ValueError(f"all[0] has {len(levels[0])} nodes: it must have one, the start symbol")
    names = _names(levels)
    rules = []
    for depth, nodes in enumerate(levels[:-1]):
        for place, node in enumerate(nodes):
            children = node.get("children")
            if not isinstance(children, list) or not children:
                raise ValueError(f"all[{depth}][{place}] has no children: only the last level holds tokens")
            for right in children:
                bad = [c for c in right if not isinstance(c, int) or not 0 <= c < len(levels[depth + 1])]
                if bad:
                    raise ValueError(
                        f"all[{depth}][{place}].children holds {bad[0]!r}: level {depth + 1} has the nodes 0 to "
                        f"{len(levels[depth + 1]) - 1}"
                    )
                is_token = depth + 2 == len(levels)
                rules.append((names[depth][place], [(names[depth + 1][c], is_token) for c in right], None))
    return make_rules(rules, names[0][0], drop_unreachable=True, terminals=names[-1])


def _names(levels: list) -> list[list[str]]:
    """Of every node, its name where names differ; of a token, its id."""
    names = [[str(node.get("name", "")) for node in nodes] for nodes in levels[:-1]]
    flat = [name for level in names for name in level]
    if "" in flat or len(set(flat)) < len(flat):
        names = [[f"{depth}.{place}" for place in range(len(level))] for depth, level in enumerate(names)]
    tokens = [str(node.get("id", place)) for place, node in enumerate(levels[-1])]
    return [*names, tokens]


def rules_from_mixed(
    rules: Mapping[str, Any] | Sequence[Any], kind_probs: Sequence[float] | None = None, vocab_size: int | None = None
) -> Rules:
    """Takes the rules of Mixed_RHM.

    Args:
        rules (`dict` or `list`): root first, either form of the module.
        kind_probs (`Sequence[float]`, *optional*, defaults to equal): the probability of each kind of rule, in the
            order of a level's tensors; of the padded form, binary before ternary.
        vocab_size (`int`, *optional*): the number of symbols of a level; needed for the padded form of one level only.

    Returns:
        [`Rules`] with the start symbol `S`, which is one of the classes with equal probability, and symbols such as
        `2.13` (level, counted from the leaves, and number). Tokens that no rule writes are left out.

    Raises:
        `ValueError`: for tensors of other shapes and symbols out of range.
    """
    levels = [rules[g] for g in range(len(rules))]
    kinds = [_kinds(g, level, vocab_size) for g, level in enumerate(levels)]
    depth, made = len(levels), []
    for a in range(len(kinds[0][0])):
        made.append(("S", [(f"{depth}.{a}", False)], None))
    for g, tensors in enumerate(kinds):
        probs = np.full(len(tensors), 1 / len(tensors)) if kind_probs is None else np.asarray(kind_probs, float)
        if len(probs) != len(tensors):
            raise ValueError(f"kind_probs has {len(probs)} entries: level {g} has {len(tensors)} kinds of rules")
        for a in range(len(tensors[0])):
            for p, tensor in zip(probs, tensors, strict=True):
                for right in tensor[a].tolist():
                    is_token = g + 1 == depth
                    if not is_token and max(right) >= len(kinds[g + 1][0]):
                        raise ValueError(f"rules[{g}] holds {max(right)}, a symbol without rules at rules[{g + 1}]")
                    children = [(str(c) if is_token else f"{depth - g - 1}.{c}", is_token) for c in right]
                    made.append((f"{depth - g}.{a}", children, float(p) / tensor.shape[1]))
    last = max(int(t.max()) for t in kinds[-1]) + 1
    return make_rules(made, "S", drop_unreachable=True, terminals=[str(k) for k in range(last)])


def _kinds(generation: int, level: Any, vocab_size: int | None) -> list[np.ndarray]:
    if isinstance(level, Mapping) or (isinstance(level, Sequence) and not hasattr(level, "shape")):
        tensors = [as_array(level[k]) for k in range(len(level))]
        if any(t.ndim != 3 for t in tensors) or len({len(t) for t in tensors}) != 1:
            raise ValueError(f"rules[{generation}] must hold tensors (symbols, rules, children) of the same symbols")
        return tensors
    padded = as_array(level)
    if padded.ndim != 3:
        raise ValueError(f"rules[{generation}] has shape {padded.shape}: it must be (symbols + 1, rules, children)")
    filler = int(padded.max()) if vocab_size is None else vocab_size
    if not (padded[-1] == filler).all():
        raise ValueError(f"rules[{generation}] is not padded: its last symbol must have {filler} alone on its right")
    sizes = (padded[:-1] != filler).sum(-1)
    if (sizes != sizes[:1]).any():
        raise ValueError(f"rules[{generation}] has rules of different lengths at one place of different symbols")
    return [padded[:-1][:, sizes[0] == size][:, :, :size] for size in sorted(set(sizes[0].tolist()))]
