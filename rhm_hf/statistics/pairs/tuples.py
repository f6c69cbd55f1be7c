"""Ids of tuples, to be correlated with tokens: `token_correlations(tokens, .., left=ids)`."""

import numpy as np

from ...checks import check_integer, checked
from ...grammar import Source
from .checked_ids import checked_array


@checked
def tuple_ids(grammar: Source, tokens: np.ndarray, level: int = 1) -> np.ndarray:
    """The production rule of every level-`level` node, at the place of the node's last token.

    The pair at distance t of a tuple and a token thus has t - 1 tokens between them, and only multiples of the block
    length occur with `anchor="last"`. There are symbols x synonyms of the level, to be given as `num_left`.

    Args:
        grammar ([`~rhm_hf.Grammar`]): the grammar.
        tokens (`np.ndarray`): integers `(n, d)`; they need not be grammatical.
        level (`int`, *optional*, defaults to 1): 1..L.

    Returns:
        `np.ndarray`: int32 `(n, d)`, `symbol * rules per symbol + rule`, and -1 at all other places and where the
        tokens below derive from no rule.
    """
    tokens = np.asarray(checked_array("tokens", tokens))
    level = check_integer("level", level, 1, grammar.depth + 1)
    if tokens.ndim != 2 or tokens.shape[1] != grammar.sentence_length:
        raise ValueError(f"tokens has shape {tokens.shape}: {grammar.name} asks for (n, {grammar.sentence_length})")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= grammar.vocab_size):
        raise ValueError(f"tokens holds ids out of range: symbols are 0 to {grammar.vocab_size - 1}")
    block = grammar.block_length(level)
    symbols = tokens.astype(np.int64)
    for lower in range(1, level + 1):
        children = symbols.reshape(len(tokens), grammar.num_nodes_at(lower), grammar.tuple_size_at(lower))
        tree = grammar.prefix_tree(lower)
        rules = np.where((children < 0).any(-1), -1, tree.find(np.maximum(children, 0)))
        symbols = rules // tree.rules_per_symbol  # -1 stays -1
    ids = np.full(tokens.shape, -1, dtype=np.int32)
    ids[:, block - 1 :: block] = rules
    return ids


@checked
def ngram_ids(tokens: np.ndarray, n: int, vocab_size: int) -> tuple[np.ndarray, int]:
    """An id for the n tokens that end at every place.

    Args:
        tokens (`np.ndarray`): integers `(length,)` or `(rows, length)`.
        n (`int`): 1 or more.
        vocab_size (`int`): v.

    Returns:
        int64 ids of the shape of `tokens`, -1 at the first n - 1 places, and how many ids there are: v^n, the ids
        being numbers in base v, or where that exceeds 2^31 the number of n-grams that occur, in their order.
    """
    tokens = np.asarray(checked_array("tokens", tokens), dtype=np.int64)
    if tokens.ndim not in (1, 2):
        raise ValueError(f"tokens has shape {tokens.shape}: it must be (length,) or (rows, length)")
    n = check_integer("n", n, 1)
    if n > tokens.shape[-1]:
        raise ValueError(f"n={n} must be from 1 to the length of the text, {tokens.shape[-1]}")
    vocab_size = check_integer("vocab_size", vocab_size, 1, 2**31)
    if tokens.size and (tokens.min() < 0 or tokens.max() >= vocab_size):
        raise ValueError(f"tokens holds ids out of range: vocab_size={vocab_size}")
    windows = np.lib.stride_tricks.sliding_window_view(tokens, n, axis=-1)
    codes, size = windows[..., 0], vocab_size
    for place in range(1, n):
        codes, size = codes * vocab_size + windows[..., place], size * vocab_size
        if vocab_size**n > 2**31:  # number what occurs, so that the next product fits
            found, codes = np.unique(codes, return_inverse=True)
            size = len(found)
    ids = np.full(tokens.shape, -1, dtype=np.int64)
    ids[..., n - 1 :] = codes.reshape(windows.shape[:-1])
    return ids, size
