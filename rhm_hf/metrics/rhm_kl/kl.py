"""KL of a model to the exact law of a grammar, token by token over sentences of the grammar.

At every judged token, in a context x_<i (or the visible tokens), p is the exact law over the v symbols and q the
model's law over all its ids. KL = sum p log(p / q) = kl_within + leak_cost, where kl_within compares p with q
renormalised to the symbols and leak_cost = -log(1 - leaked mass) is the price of probability outside them. Terms with
p = 0 are 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rhm_hf.checks import SEED_LIMIT, NonNegativeInt, PositiveInt, Seed, TokenIds, check_integer, check_number, checked
from rhm_hf.grammar import Source
from rhm_hf.judging import ModelIds, Sentences, compare_tokens, given_sentences, judged_sentences, read_model
from rhm_hf.judging.splits import split_of


@checked
def kl_divergence(
    model: torch.nn.Module,
    grammar: Source,
    input_ids: TokenIds | None = None,
    *,
    num_sentences: PositiveInt = 4096,
    seed: Seed = 0,
    batch_size: PositiveInt | None = None,
    bos: str | int | bool = "auto",
    token_ids: Sequence[int] | None = None,
    mask_probability: float = 0.15,
    mask_seed: Seed = 0,
    mask_token_id: NonNegativeInt | None = None,
    accelerator: Any = None,
    split: str | Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, Any]:
    """The exact KL divergence, in nats per judged token, from a grammar's law to a model.

    Args:
        model (`PreTrainedModel`): causal or masked, on any device; see [`~rhm_hf.judging.read_model`].
        grammar ([`~rhm_hf.grammar.Source`]): the true law, of any family.
        input_ids (*optional*): sentences to judge, symbols only, `(n, sentence_length)`; where lengths vary a list of
            lists, or rows padded with PAD = v + 1. By default all sentences, weighted by their probability, where
            there are at most 2^16; fresh iid ones elsewhere.
        num_sentences (`int`, *optional*, defaults to 4096): how many fresh sentences.
        seed (`int`, *optional*, defaults to 0): seed of the fresh sentences.
        batch_size (`int`, *optional*): sentences a call of the model; by default what keeps the logits under 128 MB.
        bos (`"auto"`, `False` or `int`, *optional*): the id put before every sentence. `"auto"` takes the model's BOS
            if it is one of its ids and no symbol's. With `False` the first token is not judged by a causal model.
        token_ids (`Sequence[int]`, *optional*): the model's id of every symbol; by default symbol k has id k, and the
            model must have v to v + 3 ids. Where lengths vary END is a judged outcome: its id is the model's EOS, BOS
            or v, or one more entry here.
        mask_probability (`float`, *optional*, defaults to 0.15): of a token to be hidden from a masked model; every
            sentence has at least one hidden token (the one with the smallest random number).
        mask_seed (`int`, *optional*, defaults to 0): seed of the masks.
        mask_token_id (`int`, *optional*): the masked model's MASK; by default its configuration's, or v + 2 where the
            model has v + 3 ids.
        accelerator (`accelerate.Accelerator`, *optional*): splits the sentences over its processes; every process
            gets the whole result.
        split (`"levels"`, `"symbols"`, `"rules"` or `Callable`, *optional*): puts the KL of a causal model's tokens
            down to groups, of any grammar with rules. `"symbols"`: to the highest symbol that the derivation begins
            with a token, whose expansion the token decides; `"levels"`: to its level, where symbols have one.
            `"rules"`: to the rule that the token decides, the one that expands that symbol, or inside of a rule this
            rule; log(p / q) of every possible token goes to the rules that it may decide, so that parts may be
            negative. A function gives, for tokens `(rows, width)`, weights `(rows, positions, groups)` that sum to one
            over the groups at every judged position.

    Returns:
        `dict`: `kl` (nats per judged token, `inf` where the model excludes a possible token), `kl_within`,
        `leak_cost`, `leaked_mass`, `kl_stderr` (over sentences; 0 where all were judged), `kl_per_position` and
        `kl_stderr_per_position` (None where no token was judged), `positions` (the judged positions, from 1),
        `kl_sentence` (nats per sentence), `cross_entropy` and `entropy` (of the exact law, nats per judged token;
        cross_entropy = entropy + kl), `num_infinite` (sentences with infinite KL), `num_sentences`; `read_as`
        (`"causal"` or `"masked"`) and `bos` (the id put first, or None).

        On a fixed tree also `kl_by_level`: entry ℓ = 0..L, what the positions that open a block of level ℓ, and of no
        higher one, add to `kl`; they sum to it. Where lengths vary END counts as a token, position i is judged in the
        sentences of i - 1 tokens and more, and `kl_end` and `kl_end_stderr` are those at the end of the sentences.

        With `split` also `kl_split`, what every group adds to `kl`, and `split_share`, its share of the judged tokens:
        they sum to `kl` and to 1. Named splits add `split_groups`: levels from 0 (tokens that begin no symbol), the
        symbols of the grammar and `(in a rule)`, of tokens that begin none, or its rules; then `(END)`, which has
        nothing where sentences have one length. Symbol a of level l is `l.a`.

    Raises:
        `ValueError`: for vocabularies that do not match, ungrammatical sentences, a BOS that is a symbol, sentences
            longer than the model's context, and logits that are NaN or infinite.
    """
    reader = read_model(model, read_as="tokens", length=_length(grammar))
    options = {"token_ids": token_ids, "bos": bos, "mask_token_id": mask_token_id}
    ids = ModelIds.of(reader.model, grammar, masked=reader.is_masked, **options)
    num_sentences, seed = check_integer("num_sentences", num_sentences, 1), check_integer("seed", seed, 0, SEED_LIMIT)
    if input_ids is None:
        sentences = judged_sentences(grammar, num_sentences, seed)
    else:
        sentences = given_sentences(grammar, input_ids)
    hidden = _masks(sentences, mask_probability, mask_seed) if reader.is_masked else None
    if split is None:
        return compare_tokens(reader, grammar, sentences, ids, hidden, batch_size, accelerator)
    if reader.is_masked:
        raise ValueError(f"split={split!r}: a masked model has no order of tokens; leave it out")
    parts = split_of(split, grammar)
    found = compare_tokens(reader, grammar, sentences, ids, hidden, batch_size, accelerator, parts)
    return found if parts.names is None else found | {"split_groups": parts.names}


def _length(grammar: Source) -> int | None:
    """Ids that a model is going to read, BOS included, where all sentences have one length."""
    return None if grammar.lengths_vary else grammar.sentence_length + 1


def _masks(sentences: Sentences, probability: float, seed: Seed) -> torch.Tensor:
    """Which tokens are hidden: each with the given probability, at least one a sentence; a function of the seed."""
    if not check_number("mask_probability", probability, 0, 1) > 0:
        raise ValueError(f"mask_probability={probability} must be above 0 and at most 1")
    generator = torch.Generator().manual_seed(check_integer("mask_seed", seed, 0, SEED_LIMIT))
    numbers = torch.rand(sentences.tokens.shape, generator=generator, dtype=torch.float64)
    place = torch.arange(sentences.tokens.shape[1])
    numbers = torch.where(place < sentences.lengths[:, None], numbers, 2.0)  # padding is never hidden
    return (numbers < probability) | ((numbers == numbers.amin(1, keepdim=True)) & (numbers < 1))
