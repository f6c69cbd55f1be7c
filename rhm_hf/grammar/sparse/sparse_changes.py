"""Changes of sparse sentences that keep their class: what sensitivities are measured with (Tomasini and Wyart,
arXiv 2404.10727).

Replacing synonyms changes rules and keeps every placement; displacing redraws placements and keeps every symbol. A
representation is sensitive to a change where it differs between a sentence and its changed copy more than between
unrelated sentences. Random numbers are raw numbers of Philox keyed by seed and purpose: row i of a batch has its own.
"""

import numpy as np

from ...checks import SEED_LIMIT, check_integer, checked
from ..layered.interventions import pick
from .sparse_grammar import SparseGrammar


@checked
def displace(grammar: SparseGrammar, tokens: np.ndarray, level: int, seed: int = 0) -> np.ndarray:
    """Redraws where the children of all level-`level` nodes lie; symbols and placements of other levels stay.

    Args:
        grammar ([`SparseGrammar`]): the grammar.
        tokens (`np.ndarray`): sentences of shape `(num, sentence_length)`.
        level (`int`): 1..L, of the nodes; their children move with all that is below them.
        seed (`int`, *optional*, defaults to 0): picks the new placements, in `[0, 2^63)`.

    Returns:
        `np.ndarray`: sentences of the same class, shape `(num, sentence_length)`. Placements are uniform and
        independent of the old ones, so each is the old one with probability 1 / `placements_at(level).count`.

    Raises:
        `ValueError`: for a level or seed out of range, or ungrammatical sentences.
    """
    count = grammar.placements_at(level).count
    placements = grammar.placements(tokens)
    shape = placements[level - 1].shape
    placements[level - 1] = np.minimum((_uniform(seed, f"move{level}", shape) * count).astype(np.int64), count - 1)
    return grammar.place(grammar.informative(tokens), placements)


@checked
def replace_synonyms(grammar: SparseGrammar, tokens: np.ndarray, level: int, seed: int = 0) -> np.ndarray:
    """Writes all level-`level` nodes by another rule of the same symbol; all placements stay.

    The new rule is drawn by the rules' probabilities, the old one left out: one of the m - 1 synonyms, equally likely
    where rules are. Children whose symbol stays keep all that is below them, below others it is drawn by the grammar.
    A symbol with one rule of positive probability keeps it. (`exchange_synonyms` of a sparse grammar's derivations, as
    of any grammar's, draws everything below the nodes anew, placements too.)

    Args:
        grammar ([`SparseGrammar`]): the grammar.
        tokens (`np.ndarray`): sentences of shape `(num, sentence_length)`.
        level (`int`): 1..L, of the nodes whose rule is exchanged.
        seed (`int`, *optional*, defaults to 0): picks the new rules, in `[0, 2^63)`.

    Returns:
        `np.ndarray`: sentences of the same class and symbols from `level` up, shape `(num, sentence_length)`.

    Raises:
        `ValueError`: for a level or seed out of range, ungrammatical sentences, or a level without synonyms.
    """
    base = grammar.base
    if ((base.rule_probs_at(level) > 0).sum(1) == 1).all():
        raise ValueError(f"level={level} has no synonyms: every symbol has one rule; use another level or grammar")
    placements = grammar.placements(tokens)
    old = base.parse(grammar.informative(tokens))
    symbols = old[level].astype(np.int64)
    redrawn = np.ones(symbols.shape, dtype=bool)
    for below in range(level, 0, -1):
        tree, size = base.prefix_tree(below), base.tuple_size_at(below)
        old_children = old[below - 1].astype(np.int64).reshape(*symbols.shape, size)
        weights = base.rule_probs_at(below)[symbols]
        if below == level:
            old_rules = tree.find(old_children)[..., None] % tree.rules_per_symbol
            others = weights.copy()
            np.put_along_axis(others, old_rules, 0.0, axis=-1)
            weights = np.where(others.sum(-1, keepdims=True) > 0, others, weights)
        rules = pick(weights, _uniform(seed, f"swap{below}", symbols.shape))
        children = np.where(redrawn[..., None], base.rules_at(below)[symbols, rules], old_children)
        redrawn = (redrawn[..., None] & ((children != old_children) | (below < level))).reshape(old[below - 1].shape)
        symbols = children.reshape(redrawn.shape)
    return grammar.place(symbols, placements)


def _uniform(seed: int, purpose: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of [0, 1) in multiples of 2^-53."""
    from ..sentences.permutation import philox_key  # numba takes a moment to import

    numbers = np.random.Philox(key=philox_key(check_integer("seed", seed, 0, SEED_LIMIT), purpose))
    return (numbers.random_raw(int(np.prod(shape))) >> np.uint64(11)).reshape(shape) * 2.0**-53
