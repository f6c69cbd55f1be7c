"""What is asked of a trained model: which truncated oracle it is closest to, and how it does on longer input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..grammar import Source
from ..inference import next_token_probs
from ..judging import ModelIds, Sentences, Targets, compare, compare_tokens
from ..judging.sentences import fresh_sentences, judged_sentences, pad_id
from ..judging.splits import Split
from ..tasks import NextToken


DRAWN = 2**14  # sentences among which long ones are looked for, at a time
DRAWS = 8  # times at most
LONG = 256  # sentences beyond the training ones that are enough
ORACLE_SENTENCES = 512  # at which next tokens are compared with every truncated oracle
LEVEL = "kl_level_"


def nearest_oracle(row: dict[str, Any], model: Callable[[], Any], source: Source, task: str) -> int | str:
    """The level of the truncated oracle from which the KL to the model is lowest, the whole truth being level L.

    Args:
        row (`dict`): that the run kept; of last and of masked tokens it has the KL from every oracle.
        model (`Callable`): gives the trained model, where it is asked.
        source (`Source`): of its sentences.
        task (`str`): it was trained for.

    Returns:
        `int` or `str`: empty where there are no levels: of classes, and where lengths vary.
    """
    if task == "classification" or not source.has_blocks:
        return ""
    if task == "next_token":
        row = oracle_distances(model(), source)
    distances = {
        int(name.removeprefix(LEVEL)): row[name] for name in row if name.startswith(LEVEL) and row[name] != ""
    }
    distances[source.depth] = row["kl"]
    return min(sorted(distances, reverse=True), key=distances.get)


def oracle_distances(model: Any, source: Source) -> dict[str, float]:
    """The KL of a causal model from the truth, `kl`, and from the law that knows one's own block, `kl_level_l`.

    Nats per token, over 512 fresh sentences.
    """
    sentences = judged_sentences(source, ORACLE_SENTENCES, limit=0)
    levels = range(source.depth)

    def exact(rows: slice) -> torch.Tensor:
        tokens = sentences.tokens[rows]
        laws = [next_token_probs(source, tokens, context_level=level) for level in levels]
        return torch.stack([*laws, next_token_probs(source, tokens)])

    counted = torch.ones(sentences.tokens.shape, dtype=torch.bool)
    targets = Targets(sentences, exact, tuple(f"{LEVEL}{level}" for level in levels), counted)
    task = NextToken(source.vocab_size, source.sentence_length, source)

    def log_probs(rows: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        return task.logits(model, task.collate(rows)).double().log_softmax(-1)[..., : source.vocab_size]

    return compare(model, targets, log_probs)


def beyond_training(model: Any, source: Source, longest: int, context: int) -> dict[str, float | int]:
    """The exact KL at tokens further on than any that the model was trained on.

    Args:
        model: causal.
        source (`Source`): whose lengths vary.
        longest (`int`): tokens of the longest training sentence.
        context (`int`): tokens that the model can read.

    Returns:
        `dict`: `beyond_kl`, nats per token (END is one) at places after the `longest` first, `within_kl` at the others
        of the same sentences, and `beyond_sentences`, how many there were; none where there is no such sentence.
    """
    found = _long_sentences(source, longest, context)
    if not len(found):
        return {"beyond_sentences": 0}

    def split(tokens: torch.Tensor) -> torch.Tensor:
        further = torch.arange(tokens.shape[1] + 1) > longest
        return torch.stack([~further, further], -1).expand(len(tokens), -1, -1)

    ids = ModelIds.of(model, source, masked=False)
    result = compare_tokens(model, source, found, ids, split=Split(split))
    added, share = result["kl_split"], result["split_share"]
    means = [value / part if part else 0.0 for value, part in zip(added, share, strict=True)]
    return {"within_kl": means[0], "beyond_kl": means[1], "beyond_sentences": len(found)}


def _long_sentences(source: Source, longest: int, context: int) -> Sentences:
    """Fresh sentences of more than `longest` and at most `context` tokens, up to `LONG` of them."""
    rows, lengths = [], []
    for draw in range(DRAWS):
        fresh = fresh_sentences(source, DRAWN, seed=1, start=draw * DRAWN)
        fits = (fresh.lengths > longest) & (fresh.lengths <= context)
        rows += [row[:length] for row, length in zip(fresh.tokens[fits], fresh.lengths[fits], strict=True)]
        if len(rows) >= LONG:
            break
    rows = rows[:LONG]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    width = int(lengths.max()) if rows else 0
    tokens = torch.full((len(rows), width), pad_id(source), dtype=torch.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return Sentences(tokens, lengths, torch.from_numpy(np.ones(len(rows))))
