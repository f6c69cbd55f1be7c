"""A dataset as a folder of Parquet files with its card and its grammar: what can be uploaded to the Hub as it is."""

import os
import shutil
from pathlib import Path
from typing import Any

import datasets
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from ..grammar import Grammar
from . import facts
from .provenance import resolve_grammar


MAX_FILE_BYTES = 500 * 10**6  # of Arrow data; Hub repositories are read best in files of this order


def export_parquet(dataset: datasets.DatasetDict | datasets.Dataset, folder: str | Path, grammar: Any = None) -> Path:
    """Writes `data/<split>-00000-of-0000N.parquet`, `grammar/` and `README.md`, the card with its YAML, into a folder.

    `load_dataset(folder)` gives the same rows, `Grammar.from_pretrained(folder)` and `grammar=folder` the grammar. All
    is written beside the folder and renamed, so that the folder is complete or absent.

    Args:
        dataset (`DatasetDict` or `Dataset`): made by `load_dataset("rhm", ..)`; a single split keeps its name.
        folder (`str` or `Path`): must not exist, or be empty.
        grammar (*optional*): where the dataset does not know its own; see [`resolve_grammar`].

    Returns:
        `Path`: the folder.

    Raises:
        `FileExistsError`: if the folder holds anything.
        `ValueError`: if there is no row to write, or the grammar is not known.
    """
    if isinstance(dataset, datasets.Dataset):
        dataset = datasets.DatasetDict({str(dataset.split or "train"): dataset})
    if not isinstance(dataset, datasets.DatasetDict):
        raise ValueError(f"dataset is a {type(dataset).__name__}: pass a Dataset or a DatasetDict (not streaming)")
    if not dataset:
        raise ValueError("dataset has no splits: there is nothing to write")
    if empty := [name for name, split in dataset.items() if not len(split)]:
        raise ValueError(
            f"dataset has no rows in {', '.join(empty) or 'any split'}: Parquet readers refuse such files"
        )
    grammar = resolve_grammar(dataset if grammar is None else grammar)
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"folder={str(folder)!r} is not empty: choose another one, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    try:
        _write(dataset, grammar, partial)
        if folder.exists():
            folder.rmdir()  # refuses, as it must, where somebody has written into it meanwhile
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write(dataset: datasets.DatasetDict, grammar: Grammar, folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    grammar.save_pretrained(folder / "grammar")
    for name, split in dataset.items():
        num_files = -(-facts.split_bytes(split) // MAX_FILE_BYTES)
        for i in range(num_files):
            part = split.shard(num_files, i, contiguous=True)
            part.to_parquet(folder / "data" / f"{name}-{i:05d}-of-{num_files:05d}.parquet")
    (folder / "README.md").write_text(str(_card(dataset, grammar, folder)), encoding="utf-8")


def _card(dataset: datasets.DatasetDict, grammar: Grammar, folder: Path) -> DatasetCard:
    splits = datasets.SplitDict()
    for name, split in dataset.items():
        splits.add(datasets.SplitInfo(name, num_bytes=facts.split_bytes(split), num_examples=len(split)))
    first = next(iter(dataset.values()))
    info = datasets.DatasetInfo(
        features=first.features,
        splits=splits,
        download_size=sum(file.stat().st_size for file in (folder / "data").iterdir()),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )
    data = DatasetCardData(
        pretty_name=f"Random Hierarchy Model {grammar.name}",
        size_categories=[facts.size_category(sum(map(len, dataset.values())))],
        tags=["random-hierarchy-model"],
    )
    datasets.info.DatasetInfosDict({grammar.name: info}).to_dataset_card_data(data)
    files = [{"split": name, "path": f"data/{name}-*"} for name in dataset]
    MetadataConfigs({grammar.name: {"data_files": files}}).to_dataset_card_data(data)
    return DatasetCard(
        f"""---
{data.to_yaml()}
---

# Sentences of the Random Hierarchy Model `{grammar.name}`

Rows of integers whose probability law is known exactly: its rules are in `grammar/`.

```python
from datasets import load_dataset
from rhm_hf import Grammar

dataset = load_dataset("path/or/id/of/this/folder")
grammar = Grammar.from_pretrained("path/or/id/of/this/folder")  # on the Hub also repo_type="dataset"
```

{facts.markdown_table(["grammar", ""], [list(fact) for fact in facts.grammar_facts(grammar).items()])}

{facts.markdown_table(facts.FEATURE_HEADER, facts.feature_rows(first.features))}

{facts.markdown_table(facts.SPLIT_HEADER, facts.split_rows(dataset, grammar.lengths_vary))}

```bibtex
{facts.CITATION}
```
"""
    )
