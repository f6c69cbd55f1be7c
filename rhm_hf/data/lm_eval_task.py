"""A task folder of EleutherAI's lm-evaluation-harness whose score is the exact KL to a grammar.

The harness asks a model for the log probability of a continuation given a context. A document here is one judged
token: its context are the tokens before, its continuations all possible tokens. The law is in the document, so the
score is sum p (log p - log q), exactly, for every model whose tokenizer reads each symbol as one id. Neither the rows
nor the scoring need this package when the task is run.
"""

import json
from pathlib import Path
from typing import Any

from .. import files
from ..checks import PositiveInt, Seed, check_memory, checked
from ..grammar import Source
from .provenance import resolve_grammar
from .tokenizer import BOS_TOKEN


SCORING = '''"""The exact KL of one token, and its mean over all."""

import math


def kl(document, results):
    """results: (log probability, is the most probable one) of every possible token."""
    law, logs = document["law"], [result[0] for result in results]
    return {"kl": sum(p * (math.log(p) - log) for p, log in zip(law, logs) if p > 0), "entropy": document["entropy"]}


def mean(values):
    """Without a standard error: tokens of one sentence are not independent, as the harness would take them to be."""
    return sum(values) / len(values)
'''


BYTES_PER_LOGIT = 32  # of a choice of a document, as text


@checked
def lm_eval_task(grammar: Any, folder: str | Path, num_sentences: PositiveInt = 256, seed: Seed = 0) -> Path:
    """Writes the task: `lm_eval run --include_path <folder> --tasks rhm_kl_<name> --model_args pretrained=..`.

    Args:
        grammar: the true law: a [`~rhm_hf.grammar.Source`], its directory or Hub id, or a dataset of this package.
        folder (`str` or `Path`): is made; must not exist, or be empty.
        num_sentences (`int`, *optional*, defaults to 256): fresh independent sentences that are judged.
        seed (`int`, *optional*, defaults to 0): of the sentences.

    Returns:
        `Path`: the folder, with `<task>.yaml`, `scoring.py` and `documents.jsonl`.

    Raises:
        `FileExistsError`: if the folder holds anything.
        `ValueError`: where `grammar` stands for none.
    """
    source = resolve_grammar(grammar)
    num_bytes = BYTES_PER_LOGIT * num_sentences * (source.max_length or 1) * source.num_outcomes
    check_memory(f"num_sentences={num_sentences} of {source.name}, written out", num_bytes, "take fewer")
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"folder={str(folder)!r} is not empty: choose another one, or remove it first")
    folder.mkdir(parents=True, exist_ok=True)
    task = f"rhm_kl_{source.name}"
    settings = {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "documents.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": 0,
        "metadata": {"version": 1, "grammar": source.name, "fingerprint": source.fingerprint},
    }
    scoring = "process_results: !function scoring.kl\nmetric_list:\n"
    for name in ("kl", "entropy"):
        scoring += f"  - metric: {name}\n    aggregation: !function scoring.mean\n    higher_is_better: false\n"
    lines = [json.dumps(document) for document in _documents(source, num_sentences, seed)]
    files.write_atomically(folder / "documents.jsonl", "\n".join(lines) + "\n")
    files.write_atomically(folder / "scoring.py", SCORING)
    head = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())  # JSON is YAML
    files.write_atomically(folder / f"{task}.yaml", head + scoring)
    return folder


def _documents(source: Source, num: int, seed: int) -> list[dict[str, Any]]:
    """One for every judged token: what is before it, what may follow, and the law of that."""
    import torch

    from ..inference import next_token_probs, prefix_probs

    tokens, lengths = source.sample(num, seed=seed, split="test", sampling="iid", return_lengths=True)
    laws = (prefix_probs(source, tokens)[0] if source.lengths_vary else next_token_probs(source, tokens)).double()
    choices = [*map(str, range(source.vocab_size)), *([BOS_TOKEN] if source.lengths_vary else [])]
    found = []
    for row, length, law in zip(tokens.tolist(), lengths.tolist(), laws, strict=True):
        for i in range(length + source.lengths_vary):
            context = " ".join([BOS_TOKEN, *map(str, row[:i])])
            entropy = float(-torch.special.xlogy(law[i], law[i]).sum())
            found.append({"context": context, "choices": choices, "law": law[i].tolist(), "entropy": entropy})
    return found
