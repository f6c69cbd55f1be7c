"""Linear probes: every latent symbol of a sentence predicted from every layer of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import SEED_LIMIT, NonNegativeInt, PositiveInt, Seed, TokenIds, check_integer, check_number, checked
from rhm_hf.grammar import Source
from rhm_hf.inference import node_marginals
from rhm_hf.judging import given_sentences
from rhm_hf.judging.activations import Activations, Standardiser
from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.sentences import derivations_of, refuse_varying
from rhm_hf.statistics import Accumulator


@checked
def latent_probe(
    model: torch.nn.Module,
    grammar: Source,
    input_ids: TokenIds | None = None,
    *,
    num_train: PositiveInt = 4096,
    num_sentences: PositiveInt = 1024,
    seed: Seed = 0,
    regularisation: float = 1e-3,
    batch_size: PositiveInt = 256,
    positions: str = "all",
    hide_last: bool = False,
    bos: str | int | bool = "auto",
    token_ids: Sequence[int] | None = None,
    mask_token_id: NonNegativeInt | None = None,
) -> dict[str, Any]:
    """Accuracy of linear probes for the symbol of every node of the derivation, from every layer of a model.

    The activations of a layer, standardised feature by feature over the training sentences, are mapped to the symbol
    of a node by ridge regression to one-hot vectors with an intercept ([`ridge`]); the largest entry is the guess.
    Probes are fitted on fresh sentences and judged on others. All features of a layer are held in memory as float32:
    sentences x positions x channels.

    Args:
        model (`PreTrainedModel`): a causal or masked language model or a sequence classifier, on any device, that
            returns hidden states.
        grammar ([`~rhm_hf.grammar.Source`]): a fixed tree of any family. Hidden symbols that tokens do not
            determine (the states of chains) are drawn from their exact posterior.
        input_ids (*optional*): the sentences to judge on, symbols only, `(n, sentence_length)`; by default fresh iid
            ones. Those to fit on are always fresh; in a small grammar some are the same.
        num_train (`int`, *optional*, defaults to 4096): sentences to fit on.
        num_sentences (`int`, *optional*, defaults to 1024): fresh sentences to judge on.
        seed (`int`, *optional*, defaults to 0): of the fresh sentences.
        regularisation (`float`, *optional*, defaults to 1e-3): of the ridge, in units of a feature's variance.
        batch_size, positions, hide_last, bos, token_ids, mask_token_id: as for
            [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`]. With `hide_last` the symbols above the hidden
            token are guessed from the others, as far as those determine them.

    Returns:
        `dict`: `accuracy` and `stderr` (lists over layers of lists over levels 0..L, means over nodes; errors over
        sentences), `accuracy_per_node` (layers x levels x nodes), `chance` (levels) and `chance_per_node`
        (levels x nodes): the exact accuracy of guessing each node's most likely symbol; `layers`, `levels`,
        `num_train`, `num_sentences`, and how the model was read: `read_as`, `bos`, `positions`.

    Raises:
        `ValueError`: as for [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`], and for a `regularisation`
            that is not positive.
    """
    if not check_number("regularisation", regularisation, 0) > 0:
        raise ValueError(f"regularisation={regularisation} must be a positive number, such as 1e-3")
    num_train, num_sentences = (
        check_integer("num_train", num_train, 2),
        check_integer("num_sentences", num_sentences, 2),
    )
    seed, batch_size = check_integer("seed", seed, 0, SEED_LIMIT), check_integer("batch_size", batch_size, 1)
    refuse_varying(grammar, "latent_probe", "its probes read nodes of levels")
    options = {"positions": positions, "hide_last": hide_last, "bos": bos}
    reader = Activations.of(model, grammar, **options, token_ids=token_ids, mask_token_id=mask_token_id)
    judged = _derivations(grammar, input_ids, num_sentences, seed)
    start = len(judged[0])  # beyond the fresh sentences that are judged
    train = grammar.derivations(num_train, seed=seed, split="evaluation", sampling="iid", start=start)
    with evaluating(reader.model):
        train_features = reader.collect(train[0], batch_size)
        features = reader.collect(judged[0], batch_size)
    targets = torch.from_numpy(np.concatenate([_one_hot(grammar, level, s) for level, s in enumerate(train)], 1))
    accuracy, stderr, per_node = [], [], []
    for name, train_layer in train_features.items():
        standardise = Standardiser.of(train_layer)
        weights, intercept = ridge(standardise(train_layer), targets, regularisation)
        scores = standardise(features[name]) @ weights + intercept
        means, errors, nodes = zip(*_judge(grammar, scores, judged), strict=True)
        accuracy.append(list(means))
        stderr.append(list(errors))
        per_node.append(list(nodes))
    chance = [node_marginals(grammar, level).amax(1) for level in range(grammar.depth + 1)]
    return {
        "accuracy": accuracy,
        "stderr": stderr,
        "accuracy_per_node": per_node,
        "chance": [law.mean().item() for law in chance],
        "chance_per_node": [law.tolist() for law in chance],
        "layers": list(features),
        "levels": list(range(grammar.depth + 1)),
        "num_train": num_train,
        "num_sentences": len(judged[0]),
        **reader.description,
    }


def _derivations(grammar: Source, input_ids, num_sentences: PositiveInt, seed: Seed) -> list[np.ndarray]:
    """Derivations of the sentences given, or of fresh independent ones."""
    if input_ids is None:
        return grammar.derivations(num_sentences, seed=seed, split="evaluation", sampling="iid")
    given = given_sentences(grammar, input_ids)
    if len(given) < 2:
        raise ValueError(f"input_ids holds {len(given)} sentence: give at least two, for a standard error")
    return derivations_of(grammar, given, seed)


def ridge(features: torch.Tensor, targets: torch.Tensor, regularisation: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The minimum of mean_i |x_i W + b - y_i|^2 + regularisation |W|^2, in closed form; b is not penalised.

    Args:
        features (`torch.Tensor`): x, float64 `(n, features)`.
        targets (`torch.Tensor`): y, `(n, outputs)`.
        regularisation (`float`): above 0.

    Returns:
        W `(features, outputs)` and b `(outputs,)`. The system solved is as large as the smaller of n and features.
    """
    mean, centre = features.mean(0), targets.to(features).mean(0)
    x, y = features - mean, targets.to(features) - centre
    num, width = x.shape
    if width <= num:
        system = x.T @ x
        system.diagonal().add_(num * regularisation)
        weights = torch.linalg.solve(system, x.T @ y)
    else:
        system = x @ x.T
        system.diagonal().add_(num * regularisation)
        weights = x.T @ torch.linalg.solve(system, y)
    return weights, centre - mean @ weights


def _one_hot(grammar: Source, level: int, symbols: np.ndarray) -> np.ndarray:
    """Float64 `(n, nodes * symbols)`."""
    return np.eye(grammar.num_symbols_at(level))[symbols].reshape(len(symbols), -1)


def _judge(grammar: Source, scores: torch.Tensor, levels: list[np.ndarray]):
    """For every level: accuracy over all nodes, its standard error, accuracies of the nodes."""
    sizes = [symbols.shape[1] * grammar.num_symbols_at(level) for level, symbols in enumerate(levels)]
    for level, (part, symbols) in enumerate(zip(scores.split(sizes, 1), levels, strict=True)):
        guesses = part.reshape(*symbols.shape, grammar.num_symbols_at(level)).argmax(-1)
        right = (guesses == torch.from_numpy(symbols.astype(np.int64))).double()
        accumulator = Accumulator()
        accumulator.add(right.mean(1))
        yield accumulator.mean.item(), accumulator.stderr.item(), right.mean(0).tolist()
