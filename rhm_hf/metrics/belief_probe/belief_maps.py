"""Belief probes: the exact posterior of hidden symbols given every prefix, predicted from every layer of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import SEED_LIMIT, PositiveInt, Seed, TokenIds, check_integer, check_number, checked
from rhm_hf.grammar import Source
from rhm_hf.inference import causal_posteriors, posteriors
from rhm_hf.judging import given_sentences
from rhm_hf.judging.activations import Activations, Standardiser, batches, known
from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.sentences import refuse_varying
from rhm_hf.metrics.latent_probe import ridge
from rhm_hf.statistics import Accumulator


POSITIONS = ("all", "last")
NODES = ("ancestors", "all")
CONSTANT = 1e-20  # beliefs whose mean squared distance from their mean is below this do not vary


@checked
def belief_probe(
    model: torch.nn.Module,
    grammar: Source,
    input_ids: TokenIds | None = None,
    *,
    num_train: PositiveInt = 4096,
    num_sentences: PositiveInt = 1024,
    seed: Seed = 0,
    regularisation: float = 1e-6,
    batch_size: PositiveInt = 256,
    positions: str = "all",
    hide_last: bool = False,
    nodes: str = "ancestors",
    bos: str | int | bool = "auto",
    token_ids: Sequence[int] | None = None,
) -> dict[str, Any]:
    """R^2 of affine maps from every layer of a causal model to the exact beliefs about hidden symbols.

    The belief of level ℓ at token i is the law of the token's level-ℓ ancestor given x_1 .. x_i
    ([`~rhm_hf.inference.causal_posteriors`]), a vector b of its symbols, or of all nodes of the level (`nodes`). The
    vector that a layer holds at token i is mapped to the beliefs of all levels by one affine map a layer, the same at
    all positions. It is fitted by ridge regression ([`~rhm_hf.metrics.latent_probe.ridge`]) on features standardised
    over the fitted sentences, and judged on others.
    With predictions b^,

        R^2 = 1 - sum |b - b^|^2 / sum |b - mean|^2

    over sentences, positions and symbols: components are weighted by their variance. `mean` is that of the beliefs
    of the fitted sentences, over positions too. 1: the beliefs are an affine image of the layer; 0: it says nothing;
    negative: the map fits noise. The **control** fits and judges the same with the beliefs of other sentences at the
    same position, drawn at random: what position alone gives, and what is overfitted.

    Args:
        model (`PreTrainedModel`): a causal language model that returns hidden states, a vector for every token.
        grammar ([`~rhm_hf.grammar.Source`]): a fixed tree of any family.
        input_ids (*optional*): the sentences to judge on, symbols only, `(n, sentence_length)`; by default fresh iid
            ones. Those to fit on are always fresh; in a small grammar some are the same.
        num_train (`int`, *optional*, defaults to 4096): sentences to fit on.
        num_sentences (`int`, *optional*, defaults to 1024): fresh sentences to judge on.
        seed (`int`, *optional*, defaults to 0): of the fresh sentences and of the control.
        regularisation (`float`, *optional*, defaults to 1e-6): of the ridge, in units of a feature's variance.
        batch_size (`int`, *optional*, defaults to 256): sentences read at a time.
        positions (`str`, *optional*, defaults to `"all"`): every token that is read; `"last"`: the last of them alone.
        hide_last (`bool`, *optional*, defaults to `False`): do not read the last token, which a model of the last
            token does not read.
        nodes (`str`, *optional*, defaults to `"ancestors"`): whose symbols the beliefs are about: at every token its
            own ancestors, a node a level, or `"all"` nodes of the tree, those read already and those to come, which
            takes a pass for every token. At the root both are the same.
        bos, token_ids: as for [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`].

    Returns:
        `dict`: `r2` and `stderr` (lists over layers of lists over levels 1..L; errors over sentences, of the ratio,
        for the fitted map as it is), `control` and `control_stderr` likewise, `r2_per_position` (layers x levels x
        tokens read: both sums restricted to a position), `variance` (levels: mean |b - mean|^2); `layers`
        (`hidden_states[0]`, the embeddings, .., `logits`), `levels`, `num_train`, `num_sentences`, and how the model
        was read: `read_as`, `bos`, `positions`. None where beliefs do not vary.

    Raises:
        `ValueError`: for a model that is not causal, or layers that hold no vector for every token, and for bad input;
            [`~rhm_hf.grammar.NotSupported`] for a source without blocks.
    """
    if not check_number("regularisation", regularisation, 0) > 0:
        raise ValueError(f"regularisation={regularisation} must be a positive number, such as 1e-6")
    if positions not in POSITIONS:
        raise ValueError(f"positions={positions!r} is unknown: use one of {', '.join(POSITIONS)}")
    if nodes not in NODES:
        raise ValueError(f"nodes={nodes!r} is unknown: use one of {', '.join(NODES)}")
    num_train = check_integer("num_train", num_train, 2)
    num_sentences = check_integer("num_sentences", num_sentences, 2)
    seed, batch_size = check_integer("seed", seed, 0, SEED_LIMIT), check_integer("batch_size", batch_size, 1)
    refuse_varying(grammar, "belief_probe", "its beliefs are about the nodes above a token")
    reader = Activations.of(model, grammar, hide_last=hide_last, bos=bos, token_ids=token_ids)
    if not reader.reader.is_causal:
        raise ValueError(
            f"the model, a {type(reader.model).__name__}, is read as {reader.reader.read_as}: what it holds at a "
            "token is no belief given the tokens up to it. Pass a causal model, or use latent_probe"
        )
    judged = _sentences(grammar, input_ids, num_sentences, seed)
    # The fitted ones lie beyond the fresh sentences that are judged.
    train = grammar.sample(num_train, seed=seed, split="evaluation", sampling="iid", start=len(judged))
    num_read = grammar.sentence_length - hide_last
    chosen = slice(-1, None) if positions == "last" else slice(None)
    beliefs = [_beliefs(grammar, rows, num_read, batch_size, nodes)[:, chosen] for rows in (train, judged)]
    with evaluating(reader.model):
        fitted, features = (_collect(reader, rows, batch_size, chosen) for rows in (train, judged))
    generator = torch.Generator().manual_seed(seed)
    # The control's beliefs beside the true ones: one system to solve.
    beliefs = [torch.cat([law, law[torch.randperm(len(law), generator=generator)]], -1) for law in beliefs]
    sizes = [grammar.num_symbols_at(level) for level in range(1, grammar.depth + 1)]
    if nodes == "all":
        sizes = [size * grammar.num_nodes_at(level) for level, size in enumerate(sizes, start=1)]
    columns: dict[str, list] = {}
    for name in features:
        errors, spread = _errors(fitted.pop(name), features[name], *beliefs, regularisation)
        for column, entry in _scores(errors, spread, sizes).items():
            columns.setdefault(column, []).append(entry)
    return {
        **columns,
        "variance": _by_level(spread, sizes)[: len(sizes)].mean((1, 2)).tolist(),
        "layers": list(features),
        "levels": list(range(1, grammar.depth + 1)),
        "num_train": num_train,
        "num_sentences": len(judged),
        **reader.description,
        "positions": positions,
        "nodes": nodes,
    }


def _sentences(grammar: Source, input_ids, num_sentences: int, seed: int) -> np.ndarray:
    """The sentences given, or fresh independent ones."""
    if input_ids is None:
        return grammar.sample(num_sentences, seed=seed, split="evaluation", sampling="iid")
    given = given_sentences(grammar, input_ids)
    if len(given) < 2:
        raise ValueError(f"input_ids holds {len(given)} sentence: give at least two, for a standard error")
    return given.tokens.numpy()


def _beliefs(grammar: Source, tokens: np.ndarray, num_read: int, batch_size: int, nodes: str) -> torch.Tensor:
    """Float64 `(n, tokens read, columns)`: symbols of level 1, .., of level L, of a node after the other."""
    of = _of_all_nodes if nodes == "all" else _of_ancestors
    parts = (of(grammar, tokens[rows].astype(np.int64), num_read) for rows in batches(len(tokens), batch_size))
    return torch.cat([part.cpu() for part in parts])


def _of_ancestors(grammar: Source, tokens: np.ndarray, num_read: int) -> torch.Tensor:
    return torch.cat(causal_posteriors(grammar, tokens[:, :num_read]), -1)


def _of_all_nodes(grammar: Source, tokens: np.ndarray, num_read: int) -> torch.Tensor:
    """One pass for every prefix: what follows it is hidden."""
    laws, place = [], np.arange(tokens.shape[1])
    for i in range(num_read):
        levels = posteriors(grammar, tokens, np.broadcast_to(place > i, tokens.shape))[1:]
        laws.append(torch.cat([law.flatten(1) for law in levels], -1))
    return torch.stack(laws, 1)


def _collect(reader: Activations, tokens: np.ndarray, batch_size: int, chosen: slice) -> dict[str, torch.Tensor]:
    """By layer `(n, positions, channels)`, on the CPU."""
    parts = [
        {name: values[:, chosen].cpu() for name, values in reader.by_position(tokens[rows]).items()}
        for rows in batches(len(tokens), batch_size)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _errors(
    fitted: torch.Tensor, features: torch.Tensor, targets: torch.Tensor, wanted: torch.Tensor, regularisation: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares, `(n, positions, columns)`: errors of the map fitted to `targets`, and distances from their mean."""
    fitted, targets = fitted.flatten(0, 1), targets.flatten(0, 1)
    standardise = Standardiser.of(fitted)
    weights, intercept = ridge(standardise(fitted), targets, regularisation)
    predicted = standardise(features) @ weights + intercept
    return (wanted - predicted).square(), (wanted - targets.mean(0)).square()


def _by_level(values: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Sums over symbols, `(levels, n, positions)`: the levels of the beliefs, then those of the control."""
    return torch.stack([part.sum(-1) for part in values.split([*sizes, *sizes], -1)])


def _scores(errors: torch.Tensor, spread: torch.Tensor, sizes: list[int]) -> dict[str, list]:
    """One layer's part of the result."""
    errors, spread = _by_level(errors, sizes), _by_level(spread, sizes)
    ratio = Accumulator((len(errors),))
    ratio.add(errors.sum(2).T, spread.sum(2).T)
    varies = spread.sum((1, 2)) > CONSTANT * spread.shape[1] * spread.shape[2]
    r2 = torch.where(varies, 1 - ratio.mean, torch.nan)
    stderr = torch.where(varies, ratio.stderr, torch.nan)
    at = spread.sum(1) > CONSTANT * spread.shape[1]
    per_position = torch.where(at, 1 - errors.sum(1) / torch.where(at, spread.sum(1), 1.0), torch.nan)
    half = len(sizes)
    return {
        "r2": known(r2[:half]),
        "stderr": known(stderr[:half]),
        "control": known(r2[half:]),
        "control_stderr": known(stderr[half:]),
        "r2_per_position": known(per_position[:half]),
    }
