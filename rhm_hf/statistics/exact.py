"""Exact statistics of a grammar, the values that counts converge to: laws of two tokens, correlations, entropies."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..checks import PositiveInt, Seed, check_integer, checked
from ..grammar import Source
from ..inference import next_token_probs
from ..judging.sentences import fresh_sentences, judged_sentences
from .accumulator import Accumulator
from .pairs.checked_ids import checked_distances
from .pairs.pair_laws import PairLaw


NUM_SENTENCES = 1024  # by default, where there are too many to visit all
CHUNK_ENTRIES = 2**22


@checked
def joint_law(grammar: Source, i: int, j: int) -> np.ndarray:
    """P(x_i = a, x_j = b), exact.

    The law of the lowest common ancestor's rule at its place, times the laws of the two tokens given the children that
    they descend from: products of child matrices along their paths.

    Args:
        grammar ([`~rhm_hf.Grammar`]): any.
        i, j (`int`): two different positions, 0 .. d-1.

    Returns:
        `np.ndarray`: float64 `(v, v)`, sums to 1.
    """
    i, j = (check_integer(name, at, 0, grammar.sentence_length) for name, at in (("i", i), ("j", j)))
    if i == j:
        raise ValueError(f"i={i} is j={j}: positions are two different ones of 0 to {grammar.sentence_length - 1}")
    return grammar.laws.pair_law(i, j)


@checked
def tuple_joint_law(grammar: Source, node: int, position: int, level: int = 1) -> np.ndarray:
    """P(node `node` of level `level` uses rule r, x_position = b), exact.

    Args:
        grammar ([`~rhm_hf.Grammar`]): any.
        node (`int`): 0 .. nodes of the level - 1; its rule stands for the tuple below it.
        position (`int`): of a token outside the node's span.
        level (`int`, *optional*, defaults to 1): of the node; of a level with rules.

    Returns:
        `np.ndarray`: float64 `(rules, v)`, rule r = symbol * rules per symbol + rule, as [`tuple_ids`] counts them.
    """
    level = check_integer("level", level, 1, grammar.parsed_depth + 1)
    node = check_integer("node", node, 0, grammar.num_nodes_at(level))
    position = check_integer("position", position, 0, grammar.sentence_length)
    if position // grammar.block_length(level) == node:
        raise ValueError(f"position={position} lies below node={node} of level {level}: take one outside its span")
    return grammar.laws.tuple_law(node, position, level)


@checked
def exact_correlation(
    grammar: Source,
    distances: Iterable[int] | None = None,
    anchor: str = "last",
    center: str = "pooled",
    tuples: bool = False,
) -> np.ndarray:
    """C~(t) of the law itself: what [`token_correlations`] converges to for many sentences, noise-free.

    Args:
        grammar ([`~rhm_hf.Grammar`]): any.
        distances (`Iterable[int]`, *optional*, defaults to all): t from 1 to d-1.
        anchor (`str`, *optional*, defaults to `"last"`): `"last"`, the pair (x_(d-1-t), x_(d-1)), or `"all"`, the mean
            over all pairs at distance t.
        center (`str`, *optional*, defaults to `"pooled"`): with `"all"`, `"position"` subtracts mean_i(p_i q_(i+t)).
        tuples (`bool`, *optional*, defaults to `False`): of level-1 tuples with the last token instead, root mean
            square over all rules and tokens; t counts from the tuple's last token, so it is a multiple of s.

    Returns:
        `np.ndarray`: float64, one entry a distance.
    """
    d = grammar.sentence_length
    step = grammar.tuple_size_at(1) if tuples else 1
    distances = checked_distances(range(step, d, step) if distances is None else distances)
    if max(distances) >= d or any(t % step for t in distances):
        raise ValueError(f"distances={list(distances)} must be multiples of {step} below the sentence length {d}")
    if anchor not in ("last", "all") or center not in ("pooled", "position") or (tuples and anchor != "last"):
        raise ValueError(
            f"anchor={anchor!r}, center={center!r}: anchor is 'last' or, for tokens, 'all', center 'pooled' or "
            "'position'"
        )
    found = []
    for t in distances:
        if tuples:
            laws = [tuple_joint_law(grammar, (d - t) // step - 1, d - 1)]
        else:
            laws = [joint_law(grammar, i, i + t) for i in (range(d - t) if anchor == "all" else [d - 1 - t])]
        marginals = None
        if center == "position":
            marginals = np.array([law.sum(1) for law in laws]), np.array([law.sum(0) for law in laws])
        found.append(PairLaw.of(np.mean(laws, 0), marginals=marginals).correlation)
    return np.array(found)


@dataclass(frozen=True)
class ConditionalEntropies:
    """H_n, nats.

    Attributes:
        lengths (`np.ndarray`): n, tokens of context.
        entropies, stderr (`np.ndarray`): `(lengths, d)`: H(x_i | the min(n, i) tokens before it), at a known position;
            standard errors are 0 where all sentences were visited.
        last, last_stderr (`np.ndarray`): of the last token, `(lengths,)`: its steps at n = s^ℓ - 1 are the plateaus of
            last-token prediction.
        mean, mean_stderr (`np.ndarray`): over positions.
        num_sentences (`int`): how many were visited.
        exact (`bool`): whether these were all.
    """

    lengths: np.ndarray
    entropies: np.ndarray
    stderr: np.ndarray
    mean: np.ndarray
    mean_stderr: np.ndarray
    num_sentences: int
    exact: bool

    @property
    def last(self) -> np.ndarray:
        return self.entropies[:, -1]

    @property
    def last_stderr(self) -> np.ndarray:
        return self.stderr[:, -1]


@checked
def conditional_entropies(
    grammar: Source, lengths: Iterable[int] | None = None, num_sentences: PositiveInt | None = None, seed: Seed = 0
) -> ConditionalEntropies:
    """Entropies of a token given the n tokens before it, for every context length n.

    Args:
        grammar ([`~rhm_hf.Grammar`]): any.
        lengths (`Iterable[int]`, *optional*, defaults to 0 .. d-1): n.
        num_sentences (`int`, *optional*): independent sentences to average the entropies of exact laws over; by
            default all sentences, weighted, where there are at most 2^16, and 1024 elsewhere.
        seed (`int`, *optional*, defaults to 0): of the sentences, which are of the split "evaluation".

    Returns:
        [`ConditionalEntropies`].
    """
    d = grammar.sentence_length
    lengths = np.arange(d) if lengths is None else np.array(sorted(set(lengths)))
    if not len(lengths) or lengths.dtype.kind != "i" or lengths[0] < 0 or lengths[-1] >= d:
        raise ValueError(f"lengths={lengths.tolist()} must be one or more integers from 0 to {d - 1}")
    if num_sentences is None:
        sentences = judged_sentences(grammar, NUM_SENTENCES, seed)
    else:
        sentences = fresh_sentences(grammar, check_integer("num_sentences", num_sentences, 2), seed)
    tokens, weights, exact = sentences.tokens, sentences.weights, sentences.exhaustive
    accumulators = [(Accumulator((d,)), Accumulator()) for _ in lengths]
    step = max(1, CHUNK_ENTRIES // (d * grammar.vocab_size))
    for at in range(0, len(tokens), step):
        for n, (positions, means) in zip(lengths.tolist(), accumulators, strict=True):
            laws = next_token_probs(grammar, tokens[at : at + step], context_length=n)
            terms = torch.special.entr(laws).sum(-1)
            positions.add(terms, weights=weights[at : at + step])
            means.add(terms.mean(1), weights=weights[at : at + step])
    stderr = [[0.0 * a.mean if exact else a.stderr for a in pair] for pair in accumulators]
    return ConditionalEntropies(
        lengths,
        np.array([positions.mean.numpy() for positions, _ in accumulators]),
        np.array([errors.numpy() for errors, _ in stderr]),
        np.array([float(means.mean) for _, means in accumulators]),
        np.array([float(error) for _, error in stderr]),
        len(tokens),
        exact,
    )
