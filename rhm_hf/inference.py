"""Exact probabilities under a grammar of any family, in torch.

Tensors come out on the input's device; arrays and lists are welcome, and then results are on the CPU. Laws are float64
by default, float32 on request. Tables are built once for every grammar, device and dtype. Where sentences differ in
length, rows are lists of lists, or padded with PAD = v + 1, and laws have one more column, that of END. What a family
cannot say is refused with [`~rhm_hf.grammar.NotSupported`]. The algorithms are the families' own: see `grammar.laws`.
"""

from collections.abc import Iterable, Sized
from typing import Any

import torch

from .checks import check_integer, check_memory, checked, naming
from .grammar import Source
from .grammar.laws.inputs import checked_dtype


__all__ = [
    "block_posteriors",
    "causal_posteriors",
    "last_token_plateaus",
    "log_prob",
    "most_probable_parse",
    "next_token_log_probs",
    "next_token_probs",
    "node_marginals",
    "num_derivations",
    "parse",
    "plateau",
    "position_entropies",
    "posteriors",
    "prefix_probs",
    "sample_posterior",
]


@checked
def next_token_probs(
    grammar: Source,
    tokens: Any,
    *,
    context_level: int | None = None,
    context_length: int | None = None,
    dtype: torch.dtype | None = None,
    return_valid: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The exact law of every token given the tokens before it, or given a truncated context.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): of any family.
        tokens (tensor, array or list): integers of shape `(n, t)`, t <= d: sentences or their prefixes.
        context_level (`int`, *optional*): 0..L, on fixed trees. Condition only on the tokens to the left in the
            token's own aligned block of this level; nothing else is known but the position (level L: all of it).
        context_length (`int`, *optional*): condition only on this many tokens before, at a known position (0: position
            marginals; d-1: the full context).
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation, or `torch.float32` (then
            subject to `torch.set_float32_matmul_precision`).
        return_valid (`bool`, *optional*, defaults to `False`): also return where the context is possible.

    Returns:
        `torch.Tensor` of shape `(n, t, v)` on the tokens' device: entry `[b, i]` is P(x_i = . | context of i), a
        function of the tokens before i only. After an impossible context the law does not exist, and the row is
        uniform. Where lengths vary, `(n, t, v + 1)`, the last column END. With `return_valid`, also bool `(n, t)`:
        whether the context has positive probability.

    Raises:
        `ValueError`: for tokens or contexts out of range, or both kinds of context at once.
    """
    tokens = grammar.laws.checked(tokens, whole=False)
    _check_size(grammar, *tokens.shape)
    arguments = (tokens.shape[1], context_level, context_length, checked_dtype(dtype))
    probs, valid = grammar.laws.token_laws(tokens, *arguments)
    return (probs, valid) if return_valid else probs


@checked
def next_token_log_probs(
    grammar: Source, tokens: Any, **kwargs: Any
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The logarithms of [`next_token_probs`], with the same arguments: nats, -inf where a token is impossible."""
    result = next_token_probs(grammar, tokens, **kwargs)
    return (result[0].log_(), result[1]) if isinstance(result, tuple) else result.log_()


@checked
def prefix_probs(
    grammar: Source,
    prefix: Any,
    *,
    context_level: int | None = None,
    context_length: int | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The laws of all tokens of a prefix and of the one that follows: what a causal language model computes.

    Args: as [`next_token_probs`], with `prefix` of shape `(n, t)`, 0 <= t <= d.

    Returns:
        `(probs, valid)` of shapes `(n, min(t + 1, d), v)` and `(n, min(t + 1, d))`; where lengths vary
        `(n, t + 1, v + 1)` and `(n, t + 1)`: after a complete sentence of the longest length END is certain.
    """
    with naming("tokens", "prefix"):
        prefix = grammar.laws.checked(prefix, whole=False)
    positions = prefix.shape[1] + 1
    _check_size(grammar, len(prefix), positions)
    if not grammar.lengths_vary:
        positions = min(positions, grammar.sentence_length)
    return grammar.laws.token_laws(prefix, positions, context_level, context_length, checked_dtype(dtype))


@checked
def log_prob(grammar: Source, tokens: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Log probability of whole sentences in nats, that of their END included where lengths vary.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): of any family.
        tokens (tensor, array or list): integers of shape `(n, d)`.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the result; sums are always float64.

    Returns:
        `torch.Tensor` of shape `(n,)`, -inf where a sentence is ungrammatical.
    """
    return grammar.laws.log_prob(grammar.laws.checked(tokens), checked_dtype(dtype))


@checked
def parse(grammar: Source, tokens: Any) -> list[torch.Tensor]:
    """The levels that tokens determine, on a fixed tree.

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): the source.
        tokens (tensor, array or list): integers of shape `(n, d)`.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 .. `grammar.parsed_depth`, int64 of shape `(n, nodes at level ℓ)`, the
        symbols of that level; -1 where no rule of positive probability derives a node's children, and at every node
        above such a node.
    """
    return grammar.laws.parse(grammar.laws.checked(tokens))


@checked
def most_probable_parse(grammar: Source, tokens: Any) -> Any:
    """The likeliest derivation of every sentence: the parse where there is one only.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): of any family that has hidden symbols.
        tokens (tensor, array or list): integers of shape `(n, d)`.

    Returns:
        On fixed trees as [`parse`], with all levels 0..L; elsewhere one tree a sentence.
    """
    return grammar.laws.most_probable_parse(grammar.laws.checked(tokens))


@checked
def num_derivations(grammar: Source, tokens: Any) -> list[int | float]:
    """How many derivations of positive probability every sentence has, states of chains and placements included.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): of any family that has hidden symbols.
        tokens (tensor, array or list): integers of shape `(n, d)`.

    Returns:
        `list[int]` of length n, exact: 0 where a row is no sentence; infinity where a general grammar has loops.

    Raises:
        `ValueError`: for trees of varying shape, beyond 2^53.
    """
    found = grammar.laws.num_derivations(grammar.laws.checked(tokens))
    return found.tolist() if isinstance(found, torch.Tensor) else found


@checked
def posteriors(
    grammar: Source,
    tokens: Any = None,
    mask: Any = None,
    evidence: Any = None,
    dtype: torch.dtype | None = None,
    return_log_evidence: bool = False,
) -> list[torch.Tensor] | tuple[list[torch.Tensor], torch.Tensor]:
    """The law of every node of the derivation given evidence on the tokens (Cagnetta et al., arXiv 2307.02129).

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): the source.
        tokens (tensor, array or list, *optional*): integers of shape `(n, d)`; hidden entries may hold anything.
        mask (tensor, array or list, *optional*): bool `(n, d)`, True where a token is hidden; without it, none is.
        evidence (tensor, array or list, *optional*): instead of tokens, likelihoods >= 0 of all symbols at all leaves,
            `(n, d, v)`: a one-hot row is an observed token, a constant row a hidden one. Masking, uniform and Gaussian
            diffusion noise all take this form.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation, or `torch.float32`. Symbols
            whose likelihood is below 1e-230 of that of a node's likeliest (1e-28 in float32) count as impossible.
        return_log_evidence (`bool`, *optional*, defaults to `False`): also return the log probability of the evidence.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 (leaves) .. L (root), of shape `(n, nodes at level ℓ, symbols of level ℓ)`.
        With `return_log_evidence`, also float64 `(n,)`, nats: the logarithm of the sum over sentences of P(sentence)
        times the product of its likelihoods; -inf where the evidence is impossible, and there all laws are uniform.

    Raises:
        `ValueError`: for bad input, and for impossible evidence unless `return_log_evidence` is set.
    """
    if isinstance(tokens, Sized):  # what is none is refused below
        _check_size(grammar, len(tokens), grammar.max_length or 1)
    return grammar.laws.posteriors(tokens, mask, evidence, dtype, return_log_evidence)


@checked
def block_posteriors(
    grammar: Source,
    tokens: Any,
    mask: Any,
    levels: Iterable[int] | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """P(x_i | the visible tokens of its own block), for the blocks of several levels.

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): the source.
        tokens (tensor, array or list): sentences `(n, d)`; hidden entries may hold anything.
        mask (tensor, array or list): bool `(n, d)`, True where a token is hidden.
        levels (`Iterable[int]`, *optional*, defaults to 0 .. L): of the blocks. 0: nothing but the position is known,
            for a visible token too; L: all visible tokens of the sentence.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation, or `torch.float32`.

    Returns:
        `torch.Tensor` of shape `(levels, n, d, v)`. From level 1 on a visible token has a law of one symbol.

    Raises:
        `ValueError`: for bad input, and where no sentence has the visible tokens; [`~rhm_hf.grammar.NotSupported`]
            without blocks.
    """
    levels = range(grammar.depth + 1) if levels is None else levels
    levels = [_level(grammar, level) for level in levels]
    return grammar.laws.block_posteriors(tokens, mask, levels, checked_dtype(dtype))


@checked
def sample_posterior(
    grammar: Source,
    tokens: Any = None,
    mask: Any = None,
    evidence: Any = None,
    generator: torch.Generator | None = None,
) -> list[torch.Tensor]:
    """One derivation for every row of evidence, drawn from its exact posterior from the root down.

    Args: as [`posteriors`]; `generator` (`torch.Generator`, *optional*) belongs to the evidence's device.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 (tokens) .. L (root), int64 of shape `(n, nodes at level ℓ)`.
    """
    return grammar.laws.sample_posterior(tokens, mask, evidence, generator)


@checked
def causal_posteriors(grammar: Source, tokens: Any, dtype: torch.dtype | None = None) -> Any:
    """The laws of all open ancestors of every token given the tokens up to it, in one pass.

    These are what a Bayes-optimal predictor has to know: they and the tokens already read in the open tuples give the
    law of the next token.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): the source.
        tokens (tensor, array or list): integers of shape `(n, t)`.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation.

    Returns:
        On fixed trees a `list[torch.Tensor]`: entry ℓ - 1, ℓ = 1..L, of shape `(n, t, symbols of level ℓ)`:
        P(the level-ℓ ancestor of token i = . | x_0 .. x_i).
    """
    tokens = grammar.laws.checked(tokens, whole=False)
    _check_size(grammar, *tokens.shape)
    return grammar.laws.causal_posteriors(tokens, checked_dtype(dtype))


@checked
def node_marginals(grammar: Source, level: int) -> torch.Tensor:
    """The law of every node of a level given nothing.

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): the source.
        level (`int`): 0 (tokens) .. L (root).

    Returns:
        `torch.Tensor`: float64 `(nodes at the level, symbols)`, on the CPU. Nodes of one level differ in their laws.
    """
    return grammar.laws.node_marginals(_level(grammar, level))


@checked
def plateau(grammar: Source, level: int) -> float:
    """Entropy per token when each token is predicted from the tokens to its left in its own level-`level` block.

    By the chain rule this is the mean entropy of a block over its length; as rules are unambiguous, a block's entropy
    is that of its root plus the expected entropies of the rules below. Level 0: the mean entropy of a token; level L:
    the entropy of a sentence over d. These are the plateaus of a model that learns level after level and predicts all
    positions; those of last-token training are [`last_token_plateaus`].

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): any; root law, rule probabilities and marginal laws need not be
            uniform.
        level (`int`): 0..L.

    Returns:
        `float`: nats per token, exact (at the root of a chain `grammar.entropy` over d, which may be an estimate).
    """
    return grammar.laws.plateau(_level(grammar, level))


@checked
def position_entropies(grammar: Source, level: int) -> torch.Tensor:
    """H(x_i | the tokens to its left in its own level-`level` block) for every position i; see [`plateau`].

    The left context of a token matters through its ancestors' parsed left siblings only; those are enumerated with
    their probabilities.

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): the source.
        level (`int`): 0..L.

    Returns:
        `torch.Tensor`: float64 `(d,)` on the CPU, nats, exact (at the root a mean over sampled prefixes where
        `grammar.entropy` is one); its mean is `plateau(grammar, level)`.

    Raises:
        `ValueError`: where the contexts are too many to enumerate.
    """
    return grammar.laws.position_entropies(_level(grammar, level))


@checked
def last_token_plateaus(grammar: Source) -> list[float]:
    """H(x_d | the tokens to its left in its own level-l block), l = 0..L, nats; see [`position_entropies`]."""
    return [float(position_entropies(grammar, level)[-1]) for level in range(grammar.depth + 1)]


def _level(grammar: Source, level: Any) -> int:
    level = check_integer("level", level, 0, grammar.depth + 1)
    _check_size(grammar, 1, grammar.max_length)
    return level


def _check_size(grammar: Source, rows: int, length: int) -> None:
    """Refuses laws of all tokens of all rows that would not fit."""
    what = f"laws of {rows} rows of {length} tokens with num_outcomes={grammar.num_outcomes}"
    check_memory(what, 8 * rows * length * grammar.num_outcomes, "take fewer rows at a time, or a smaller grammar")
