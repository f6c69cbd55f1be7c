"""How similar a layer finds a sentence after its level-ℓ symbol changed, and after only its rule did."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from rhm_hf.checks import SEED_LIMIT, NonNegativeInt, PositiveInt, Seed, TokenIds, check_integer, checked
from rhm_hf.grammar import NotSupported, Source, redraw_rule, replace_symbol
from rhm_hf.judging.activations import Activations, Standardiser, batches, known, sentences
from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.sentences import refuse_varying
from rhm_hf.statistics import Accumulator


NODES = ("nearest", "all")


@checked
def representation_probe(
    model: torch.nn.Module,
    grammar: Source,
    input_ids: TokenIds | None = None,
    *,
    num_sentences: PositiveInt = 1024,
    num_whitening: PositiveInt | None = None,
    seed: Seed = 0,
    batch_size: PositiveInt = 256,
    nodes: str = "nearest",
    positions: str = "all",
    hide_last: bool = True,
    bos: str | int | bool = "auto",
    token_ids: Sequence[int] | None = None,
    mask_token_id: NonNegativeInt | None = None,
) -> dict[str, Any]:
    """The representation probe of models that predict the last token (Cagnetta and Wyart, arXiv 2406.00048).

    Two changes of a sentence x at one node of level ℓ:

    - S x: the symbol is replaced by another one, uniformly chosen, and its subtree drawn anew
      ([`~rhm_hf.grammar.replace_symbol`]);
    - R x: the symbol stays, its rule is replaced by another one, and what is below is drawn anew
      ([`~rhm_hf.grammar.redraw_rule`]).

    Layer k is compared before and after by the cosine similarity of batch-whitened activations: sim_S =
    <cos(w_k(x), w_k(S x))>, sim_R likewise, where w_k centres every feature of the layer and divides it by its
    standard deviation (no rotation; features that do not vary are left out), both measured on sentences of their own:
    over the sentences x themselves the ratio of 64 would be 4 % too large and its error too small. The ratio

        (1 - sim_R) / (1 - sim_S)

    is 0 where the layer depends on the level-ℓ symbol only, and drops from about 1 when the layer comes to represent
    it: for the last token at P_ℓ sentences, in layers above ℓ. Averages are over sentences whose symbol has another
    rule; S and R are judged on the same ones.

    Args:
        model (`PreTrainedModel`): a causal or masked language model or a sequence classifier, on any device, that
            returns hidden states.
        grammar ([`Grammar`]): the grammar, of any rule probabilities, with L >= 2.
        input_ids (*optional*): the sentences x, symbols only, `(n, sentence_length)`; by default fresh iid ones.
        num_sentences (`int`, *optional*, defaults to 1024): how many fresh sentences.
        num_whitening (`int`, *optional*): other fresh sentences, to whiten by; by default four times as many as are
            judged, and 2048 at least, so that their noise adds little to the errors.
        seed (`int`, *optional*, defaults to 0): of the fresh sentences and of the changes.
        batch_size (`int`, *optional*, defaults to 256): sentences a call of the model.
        nodes (`str`, *optional*, defaults to `"nearest"`): which node is changed. `"nearest"`: the last of its level
            that is no ancestor of the last token, the one to its left. `"all"`: the mean over all nodes of the level
            that are no ancestors of the last token, each changed in turn.
        positions (`str`, *optional*, defaults to `"all"`): what of a layer `(batch, positions, channels)` is compared:
            `"all"` positions together, the `"last"`, or their `"mean"`. The position of BOS is left out. In a model
            with residual connections every position keeps its own token, so look at the `"last"`.
        hide_last (`bool`, *optional*, defaults to `True`): causal models read the d - 1 tokens before the last, others
            see MASK in its place; logits are those of its prediction.
        bos, token_ids, mask_token_id: as for [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`].

    Returns:
        `dict`: `ratio`, `similarity_replaced` (sim_S), `similarity_redrawn` (sim_R), each with a `.._stderr`: lists
        over layers of lists over levels, None where a layer does not depend on the sentence (or, for the ratio, on the
        change); `layers`, `levels` (1..L-1, without those that have no synonyms), `num_sentences`, and how the
        model was read: `read_as`, `bos`, `positions`. Errors are over
        sentences, that of the ratio by the delta method.

    Raises:
        `ValueError`: as for [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`], and where no level below the
            root has synonyms.
    """
    refuse_varying(grammar, "representation_probe", "it replaces nodes of levels")
    if nodes not in NODES:
        raise ValueError(f"nodes={nodes!r} is unknown: use one of {', '.join(NODES)}")
    below_root = range(1, min(grammar.depth - 1, grammar.parsed_depth) + 1)
    levels = [level for level in below_root if _has_synonyms(grammar, level)]
    if not levels:
        raise NotSupported(
            "representation_probe",
            grammar,
            f"it has no level below its root with synonyms (depth {grammar.depth}), nothing to redraw",
            "take a deeper grammar, or more rules per symbol",
        )
    options = {"positions": positions, "hide_last": hide_last, "bos": bos}
    reader = Activations.of(model, grammar, **options, token_ids=token_ids, mask_token_id=mask_token_id)
    originals = sentences(grammar, input_ids, num_sentences, seed)
    with evaluating(reader.model):
        before = reader.collect(originals[0], batch_size)
        if num_whitening is None:
            num_whitening = max(2048, 4 * len(originals[0]))
        num_whitening = check_integer("num_whitening", num_whitening, 2)
        others = sentences(grammar, None, num_whitening, whitening_seed(seed))
        whiten = {name: Standardiser.of(features) for name, features in reader.collect(others[0], batch_size).items()}
        found = [
            _compare(reader, grammar, originals, level, nodes, seed, batch_size, before, whiten) for level in levels
        ]
    columns = {name: [list(rows) for rows in zip(*(f[name] for f in found), strict=True)] for name in found[0]}
    return {
        **columns,
        "layers": list(before),
        "levels": levels,
        "num_sentences": len(originals[0]),
        **reader.description,
    }


def whitening_seed(seed: Seed) -> int:
    """Of the sentences that are whitened by: another than that of the sentences judged."""
    return (check_integer("seed", seed, 0, SEED_LIMIT) + SEED_LIMIT // 2) % SEED_LIMIT


def _has_synonyms(grammar: Source, level: int) -> bool:
    """Whether a node beside the last token's ancestor can be redrawn and replaced."""
    has_rules = bool(((grammar.rule_probs_at(level) > 0).sum(1) > 1).any())
    return has_rules and grammar.num_symbols_at(level) > 1 and grammar.num_nodes_at(level) > 1


def _compare(reader, grammar, originals, level, nodes, seed, batch_size, before, whiten) -> dict[str, list]:
    """Every result at one level, as a list over layers."""
    last = grammar.num_nodes_at(level) - 1  # the ancestor of the last token
    shape = (len(originals[0]), len(before))
    # Of every sentence the sum over nodes: nodes of one sentence are not independent.
    replaced, redrawn, count = torch.zeros(shape).double(), torch.zeros(shape).double(), torch.zeros(shape).double()
    for node in range(last) if nodes == "all" else [last - 1]:
        new_rule = redraw_rule(grammar, originals, level, node, seed)
        new_symbol = replace_symbol(grammar, originals, level, node, seed)[0]
        changed = torch.from_numpy((new_rule[level - 1] != originals[level - 1]).any(1))
        for rows in batches(len(changed), batch_size):
            here, judged = {name: features[rows] for name, features in before.items()}, changed[rows, None]
            replaced[rows] += judged * _similarity(whiten, here, reader(new_symbol[rows]))
            redrawn[rows] += judged * _similarity(whiten, here, reader(new_rule[0][rows]))
            count[rows] += judged
    sums = {name: Accumulator((len(before),)) for name in ("ratio", "replaced", "redrawn")}
    sums["ratio"].add(count - redrawn, count - replaced)
    sums["replaced"].add(replaced, count)
    sums["redrawn"].add(redrawn, count)
    constant = [layer.is_constant for layer in whiten.values()]
    result = {}
    for name, prefix in (("ratio", ""), ("replaced", "similarity_"), ("redrawn", "similarity_")):
        for key, values in ((name, sums[name].mean), (f"{name}_stderr", sums[name].stderr)):
            result[prefix + key] = [None if c else v for c, v in zip(constant, known(values), strict=True)]
    return result


def _similarity(whiten, one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cosines of whitened activations, `(n, layers)`, on the CPU; exactly 1 where they are the same."""
    cosines = []
    for name, layer in whiten.items():
        a, b = layer(one[name]), layer(other[name])
        same = (a == b).all(1)
        cosines.append(torch.where(same, 1.0, F.cosine_similarity(a, b, dim=1)))
    return torch.stack(cosines, 1)
