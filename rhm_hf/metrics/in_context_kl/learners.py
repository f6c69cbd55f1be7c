"""Reference lines: what learners that count say of the next sentence after the same n sentences, and exact laws.

All prompts are counted at once: a context begins with the number of its prompt, so that no prompt knows of another.
Nothing but that is added to the n-gram models of `rhm_hf.models.ngram`: their counts, their smoothing. After so few
sentences the smoothing matters as much as the order: add-k is far better than Kneser-Ney at n = 2 to 8.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rhm_hf.grammar import Grammar, Source
from rhm_hf.inference import next_token_probs
from rhm_hf.models.ngram.counts import SmoothedLaws, count_contexts
from rhm_hf.models.ngram.modeling_hierarchical_ngram import context_columns
from rhm_hf.statistics.learner.latents import learn_latents


LEARNERS = ("ngram", "hierarchical_ngram", "correlation_learner")
SMOOTHINGS = ("kneser_ney", 0.5, 1.0, 2.0)  # a number is the k of add-k
ALL_ORDERS = 4  # n-grams up to this order are all tried, beyond it powers of two and the whole sentence


def ngram_orders(length: int) -> list[int]:
    """The orders of n-grams that are tried on sentences of d tokens: 1, 2, 3, 4, 8, 16, .. and d."""
    powers = [2**k for k in range(length.bit_length()) if 2**k <= length]
    return sorted({*range(1, min(length, ALL_ORDERS) + 1), *powers, length})


def ngram_law(
    seen: np.ndarray, sentences: np.ndarray, order: int, num_symbols: int, tied: bool, smoothings: Sequence[Any]
) -> torch.Tensor:
    """The laws of n-grams fitted to each prompt's n sentences, as [`~rhm_hf.models.ngram.modeling_ngram`] fits them.

    Args:
        seen (`np.ndarray`): int64 `(prompts, n, d)`; n may be 0, which gives the uniform law.
        sentences (`np.ndarray`): int64 `(prompts, d)`, the next ones.
        order (`int`): the token and order - 1 tokens before it.
        num_symbols (`int`): v.
        tied (`bool`): one table for all positions, in which the beginning of a sentence is a symbol; else one each.
        smoothings (`Sequence`): of [`SMOOTHINGS`].

    Returns:
        `torch.Tensor`: float64 `(smoothings, prompts, d, v)`: of every token of the next sentence, given those before.
    """
    beginning = num_symbols if tied else -1

    def chain(tokens: np.ndarray) -> list[np.ndarray]:
        lead = np.full((*tokens.shape[:-1], order), -1)
        lead[..., -1] = beginning
        longer = np.concatenate([lead, tokens], -1)
        return [longer[..., order - lag : -lag].ravel() for lag in range(1, order)]

    return _laws(seen, sentences, chain, num_symbols, num_symbols + 1, tied, smoothings)


def hierarchical_law(
    seen: list[np.ndarray],
    sentences: list[np.ndarray],
    columns: np.ndarray,
    num_symbols: int,
    base: int,
    smoothings: Sequence[Any],
) -> torch.Tensor:
    """The laws of hierarchical n-grams, from derivations.

    Args:
        seen (`list`): entry ℓ = 0, 1, ..: int64 `(prompts, n, nodes at level ℓ)`, -1 where nothing is known.
        sentences (`list`): likewise `(prompts, nodes at level ℓ)`.
        columns (`np.ndarray`): of [`~rhm_hf.models.ngram.modeling_hierarchical_ngram.context_columns`].
        num_symbols (`int`): v.
        base (`int`): above every symbol of every level.
        smoothings (`Sequence`): of [`SMOOTHINGS`].

    Returns:
        `torch.Tensor`: float64 `(smoothings, prompts, d, v)`.
    """

    def chain(levels: np.ndarray) -> list[np.ndarray]:
        return [np.where(column < 0, -1, levels[..., column]).ravel() for column in columns]

    together = [np.concatenate(levels, -1) for levels in (seen, sentences)]
    return _laws(*together, chain, num_symbols, base, False, smoothings, seen[0].shape[-1])


def _laws(
    seen: np.ndarray,
    sentences: np.ndarray,
    chain: Callable[[np.ndarray], list[np.ndarray]],
    num_symbols: int,
    base: int,
    tied: bool,
    smoothings: Sequence[Any],
    length: int | None = None,
) -> torch.Tensor:
    """Counts contexts in `seen`, whose first `length` columns are tokens, and looks those of `sentences` up."""
    prompts, length = len(sentences), length or sentences.shape[-1]
    place = np.zeros(length, dtype=np.int64) if tied else np.arange(length)
    groups = np.arange(prompts)[:, None] * (1 if tied else length) + place
    known = np.broadcast_to(groups[:, None], (prompts, seen.shape[1], length)).ravel()
    counts = count_contexts(known, seen[..., :length].ravel(), chain(seen), num_symbols, base)
    orders = [tuple(torch.from_numpy(part) for part in order) for order in counts]
    wanted = [torch.from_numpy(symbols) for symbols in chain(sentences)]
    found = []
    for smoothing in smoothings:
        named = ("kneser_ney", 0.5) if smoothing == "kneser_ney" else ("add_k", smoothing)
        smoothed = SmoothedLaws(orders, num_symbols, base, *named, None)
        found.append(smoothed(torch.from_numpy(groups.ravel()), wanted).view(prompts, length, num_symbols))
    return torch.stack(found)


def learner_laws(
    grammars: Sequence[Source],
    prompts: np.ndarray,
    counts: Sequence[int],
    learners: Sequence[str],
    smoothings: Sequence[Any] = SMOOTHINGS,
) -> dict[str, torch.Tensor]:
    """The laws of learners that saw the n sentences of a prompt.

    Args:
        grammars (`Sequence[Source]`): one a prompt.
        prompts (`np.ndarray`): int64 `(prompts, N + 1, d)`.
        counts (`Sequence[int]`): n.
        learners (`Sequence[str]`): of [`LEARNERS`]. Those that a grammar does not go with are left out: the
            hierarchical ones need a grammar of rules at every level, the correlation learner tuples of one size.
        smoothings (`Sequence`, *optional*): `"kneser_ney"`, or the k of add-k.

    Returns:
        `dict`: name -> float64 `(smoothings, prompts, counts, d, v)`.
    """
    v, found = grammars[0].vocab_size, {}
    if "ngram" in learners:
        for order in ngram_orders(prompts.shape[-1]):
            for tied in (False, True):
                name = f"{'tied_' if tied else ''}ngram_{order}"
                found[name] = torch.stack(
                    [ngram_law(prompts[:, :n], prompts[:, n], order, v, tied, smoothings) for n in counts], 2
                )
    if not all(isinstance(grammar, Grammar) for grammar in grammars):
        return found
    if "hierarchical_ngram" in learners:
        found["hierarchical_ngram"] = _told(grammars, prompts, counts, smoothings)
    if "correlation_learner" in learners and (size := _tuple_size(grammars[0])) is not None:
        found["correlation_learner"] = _correlating(grammars[0], prompts, counts, size, smoothings)
    return found


def _tuple_size(grammar: Grammar) -> int | None:
    """s > 1, where it is one at all of two levels or more."""
    sizes = {grammar.tuple_size_at(level) for level in range(1, grammar.depth + 1)}
    return max(sizes) if len(sizes) == 1 and max(sizes) > 1 and grammar.depth > 1 else None


def _told(
    grammars: Sequence[Grammar], prompts: np.ndarray, counts: Sequence[int], smoothings: Sequence[Any]
) -> torch.Tensor:
    """Hierarchical n-grams that are told the rules, and count how often what follows what."""
    parsed = [grammar.parse(rows) for grammar, rows in zip(grammars, prompts, strict=True)]
    levels = [np.stack(level).astype(np.int64) for level in zip(*parsed, strict=True)]
    columns, base = context_columns(grammars[0]), 1 + max(int(level.max()) for level in levels)
    laws = (
        hierarchical_law(
            [level[:, :n] for level in levels],
            [level[:, n] for level in levels],
            columns,
            grammars[0].vocab_size,
            base,
            smoothings,
        )
        for n in counts
    )
    return torch.stack(list(laws), 2)


def _correlating(
    grammar: Grammar, prompts: np.ndarray, counts: Sequence[int], size: int, smoothings: Sequence[Any]
) -> torch.Tensor:
    """Hierarchical n-grams on the symbols that the correlation learner infers from the n sentences."""
    v, columns = grammar.vocab_size, context_columns(grammar)
    latents = max(grammar.num_symbols_at(level) for level in range(1, grammar.depth))
    laws = []
    for n in counts:
        if n == 0:
            shape = (len(smoothings), len(prompts), prompts.shape[-1], v)
            laws.append(torch.full(shape, 1 / v, dtype=torch.float64))
            continue
        derived = []
        for rows in prompts[:, : n + 1]:
            learned = learn_latents(rows[:n], latents, size, targets="sibling_token", num_symbols=v)
            derived.append(learned.parse(rows))
        levels = [np.stack(level) for level in zip(*derived, strict=True)]
        # The learner's highest symbols lie below the root, which is no context.
        levels.append(np.zeros((*prompts[:, : n + 1].shape[:2], 1), dtype=np.int64))
        seen, following = [level[:, :n] for level in levels], [level[:, n] for level in levels]
        laws.append(hierarchical_law(seen, following, columns, v, max(v, latents), smoothings))
    return torch.stack(laws, 2)


def oracle_laws(grammar: Source, sentences: np.ndarray) -> dict[str, torch.Tensor]:
    """Exact laws of the grammar with shorter contexts: what remains where a model sees its neighbours only.

    Args:
        grammar (`Source`): known, which no model in context does.
        sentences (`np.ndarray`): int64 `(n, d)`.

    Returns:
        `dict`: `previous_token`, given one token before, and `block_<ℓ>`, ℓ = 1..L-1, given the tokens before in one's
        own block of level ℓ; float64 `(n, d, v)`.
    """
    rows = torch.from_numpy(sentences)
    found = {"previous_token": next_token_probs(grammar, rows, context_length=1)}
    for level in range(1, grammar.depth) if grammar.has_blocks else ():
        found[f"block_{level}"] = next_token_probs(grammar, rows, context_level=level)
    return found
