"""S_{k,ℓ} of a model's layers: how sensitive layer k is to the exchange of synonyms at level ℓ."""

from collections.abc import Sequence
from typing import Any

import torch

from rhm_hf.checks import NonNegativeInt, PositiveInt, Seed, TokenIds, checked
from rhm_hf.grammar import Source, exchange_synonyms
from rhm_hf.judging.activations import Activations, batches, known, sentences
from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.sentences import refuse_varying
from rhm_hf.statistics import Accumulator


@checked
def synonym_sensitivity(
    model: torch.nn.Module,
    grammar: Source,
    input_ids: TokenIds | None = None,
    *,
    num_sentences: PositiveInt = 1024,
    seed: Seed = 0,
    batch_size: PositiveInt = 256,
    positions: str = "all",
    hide_last: bool = False,
    bos: str | int | bool = "auto",
    token_ids: Sequence[int] | None = None,
    mask_token_id: NonNegativeInt | None = None,
) -> dict[str, Any]:
    """Sensitivity of every layer to synonyms of every level (Cagnetta et al., arXiv 2307.02129):

        S_{k,ℓ} = <|f_k(x) - f_k(P_ℓ x)|^2> / <|f_k(x) - f_k(y)|^2>

    with f_k the activations of layer k, x and y independent sentences, and P_ℓ the exchange of synonyms at level ℓ:
    all rules that expand level-ℓ symbols, and those below, are drawn anew
    ([`~rhm_hf.grammar.exchange_synonyms`]). So x and P_ℓ x are two independent draws given the level-ℓ symbols z_ℓ,
    and S_{k,ℓ} = E Var(f_k | z_ℓ) / Var(f_k): the share of the layer's variance that the level-ℓ symbols do not
    explain. It lies between 0 (the layer depends on level-ℓ symbols only) and 1 (it is blind to them), and does not
    fall with ℓ, but for sampling noise.

    Args:
        model (`PreTrainedModel`): a causal or masked language model or a sequence classifier, on any device, that
            returns hidden states.
        grammar ([`Grammar`]): the grammar, of any rule probabilities.
        input_ids (*optional*): the sentences x, symbols only, `(n, sentence_length)`; by default fresh iid ones. The
            sentences y are always fresh.
        num_sentences (`int`, *optional*, defaults to 1024): how many fresh sentences x.
        seed (`int`, *optional*, defaults to 0): of the fresh sentences and of the exchanges.
        batch_size (`int`, *optional*, defaults to 256): sentences a call of the model.
        positions (`str`, *optional*, defaults to `"all"`): what of a layer `(batch, positions, channels)` is compared:
            `"all"` positions together, the `"last"`, or their `"mean"`. The position of BOS is left out.
        hide_last (`bool`, *optional*, defaults to `False`): for models trained to predict the last token: causal ones
            read the d - 1 tokens before it, others see MASK in its place; logits are those of its prediction.
        bos (`"auto"`, `False` or `int`, *optional*): the id put before every sentence. `"auto"`: a causal model's BOS,
            and a masked one's where it has room; none for sequence classifiers.
        token_ids (`Sequence[int]`, *optional*): the model's id of every symbol; by default symbol k has id k, and the
            model must have v to v + 3 ids.
        mask_token_id (`int`, *optional*): MASK, for `hide_last`; by default the configuration's, or v + 2 where the
            model has v + 3 ids.

    Returns:
        `dict`: `sensitivity` and `stderr` (lists over layers of lists over levels; None where a layer does not depend
        on the sentence), `layers` (their names: `hidden_states[0]`, .., `logits`), `levels` (1..L), `num_sentences`;
        how the model was read: `read_as` (`"causal"`, `"masked"` or `"classifier"`), `bos` (an id, or None) and
        `positions`. Errors are the delta method's for a ratio of means over independent pairs of sentences.

    Raises:
        `ValueError`: for vocabularies that do not match, ungrammatical sentences, sentences longer than the model's
            context, and models without hidden states.
    """
    refuse_varying(grammar, "synonym_sensitivity", "it redraws the rules of levels")
    reader = Activations.of(
        model,
        grammar,
        positions=positions,
        hide_last=hide_last,
        bos=bos,
        token_ids=token_ids,
        mask_token_id=mask_token_id,
    )
    originals = sentences(grammar, input_ids, num_sentences, seed)
    count, levels = len(originals[0]), range(1, grammar.depth + 1)
    # Beyond the fresh sentences x, so that none is used twice.
    others = grammar.sample(count, seed=seed, split="evaluation", sampling="iid", start=count)
    changed = [exchange_synonyms(grammar, originals, level, seed)[0] for level in levels]
    ratio = None
    with evaluating(reader.model):
        for rows in batches(count, batch_size):
            here = reader(originals[0][rows])
            apart = _squares(here, reader(others[rows]))  # (n, layers)
            moved = torch.stack([_squares(here, reader(tokens[rows])) for tokens in changed], -1)
            if ratio is None:
                ratio = Accumulator(tuple(moved.shape[1:]), moved.device)
            ratio.add(moved, apart[..., None])
    return {
        "sensitivity": known(ratio.mean),
        "stderr": known(ratio.stderr),
        "layers": list(here),
        "levels": list(levels),
        "num_sentences": count,
        **reader.description,
    }


def _squares(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> torch.Tensor:
    """Squared distances, `(n, layers)`."""
    return torch.stack([(one[name].double() - other[name].double()).square().sum(1) for name in one], 1)
