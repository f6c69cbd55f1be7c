"""A dataset as a folder of Parquet files with its card and its grammar: what can be uploaded to the Hub as it is."""

import os
import shutil
from pathlib import Path
from typing import Any

import datasets
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from ..checks import checked
from ..grammar import Source
from . import facts
from .provenance import describe, grammar_of, parsed, resolve_grammar


MAX_LINE_BYTES = 2**20  # of the line in the card that says which grammar it is; beyond, `grammar/` alone says it
MAX_FILE_BYTES = 500 * 10**6  # of Arrow data; Hub repositories are read best in files of this order


@checked
def export_parquet(dataset: datasets.DatasetDict | datasets.Dataset, folder: str | Path, grammar: Any = None) -> Path:
    """Writes `data/<split>-00000-of-0000N.parquet`, `grammar/` and `README.md`, the card with its YAML, into a folder.

    `load_dataset(folder)` gives the same rows, and [`grammar_of`] of what it gives the grammar: the card holds the
    line that says it, the one text that `datasets` reads from such a folder. `Grammar.from_pretrained(folder)` and
    `grammar=folder` read the folder `grammar/`.

    A new folder is written beside its place and renamed, so that it is complete or absent. A folder that is there, and
    empty, is kept, as somebody may stand in it: files are written inside and renamed, the card last.

    Args:
        dataset (`DatasetDict` or `Dataset`): made by `load_dataset("rhm", ..)`; a single split keeps its name.
        folder (`str` or `Path`): must not exist, or be empty.
        grammar (*optional*): where the dataset does not know its own, or the same one; see [`resolve_grammar`].

    Returns:
        `Path`: the folder.

    Raises:
        `FileExistsError`: if the folder holds anything.
        `ValueError`: if there is no row to write, the grammar is not known, or is not the one that made the dataset.
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
    grammar = _grammar(dataset, grammar)
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"folder={str(folder)!r} is not empty: choose another one, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    kept = folder.exists()
    place = folder if kept else folder.parent
    partial = place / f".{folder.name}.{os.getpid()}.partial"
    try:
        _write(dataset, grammar, partial)
        if kept:
            for name in ("data", "grammar", "README.md"):
                (partial / name).rename(folder / name)  # refuses where somebody has written one meanwhile
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _grammar(dataset: datasets.DatasetDict, grammar: Any) -> Source:
    """The grammar that made the dataset; one that is given must be it, where the dataset knows its own."""
    if grammar is None:
        return resolve_grammar(dataset)
    grammar = resolve_grammar(grammar)
    try:
        own = grammar_of(dataset)
    except ValueError:  # it does not say, or mixes several
        return grammar
    if own != grammar:
        raise ValueError(
            f"grammar={grammar.name} (fingerprint {grammar.fingerprint[:12]}) did not make this dataset, {own.name} "
            f"({own.fingerprint[:12]}) did: leave grammar= out"
        )
    return grammar


def _write(dataset: datasets.DatasetDict, grammar: Source, folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    grammar.save_pretrained(folder / "grammar")
    for name, split in dataset.items():
        num_files = -(-facts.split_bytes(split) // MAX_FILE_BYTES)
        for i in range(num_files):
            part = split.shard(num_files, i, contiguous=True)
            part.to_parquet(folder / "data" / f"{name}-{i:05d}-of-{num_files:05d}.parquet")
    (folder / "README.md").write_text(str(_card(dataset, grammar, folder)), encoding="utf-8")


def _line(dataset: datasets.DatasetDict, grammar: Source) -> str:
    """The line that says which grammar it is: the dataset's own, with how it was sampled, where it has one."""
    lines = {split.info.description for split in dataset.values()}
    line = lines.pop() if len(lines) == 1 else ""
    own = parsed(line or "")
    return line if own and own["fingerprint"] == grammar.fingerprint else describe(grammar)


def _tasks(features: datasets.Features, grammar: Source) -> list[str]:
    """What the Hub calls the things that the rows can be used for."""
    classes = ["text-classification"] if "label" in features and grammar.num_classes > 1 else []
    return ["text-generation", "fill-mask", *classes]


def _card(dataset: datasets.DatasetDict, grammar: Source, folder: Path) -> DatasetCard:
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
        pretty_name=f"Sentences of {grammar.name}",
        license=facts.LICENSE,
        task_categories=_tasks(first.features, grammar),
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        source_datasets=["original"],
        size_categories=[facts.size_category(sum(map(len, dataset.values())))],
        tags=["random-hierarchy-model", "synthetic", "probabilistic-grammar"],
    )
    datasets.info.DatasetInfosDict({grammar.name: info}).to_dataset_card_data(data)
    line = _line(dataset, grammar)
    if len(line.encode()) <= MAX_LINE_BYTES:
        data.dataset_info["description"] = line  # datasets reads it from here, and writes it nowhere itself
    files = [{"split": name, "path": f"data/{name}-*"} for name in dataset]
    MetadataConfigs({grammar.name: {"data_files": files}}).to_dataset_card_data(data)
    return DatasetCard(
        f"""---
{data.to_yaml()}
---

# Sentences of the grammar `{grammar.name}`

Rows of integers, drawn from a probabilistic grammar whose law is known exactly: its rules are in `grammar/`. Symbol k
is the integer k. The rows need nothing but `datasets`:

```python
from datasets import load_dataset

dataset = load_dataset("path/or/id/of/this/folder")
print(dataset["{next(iter(dataset))}"][0]["input_ids"])
```

With [rhm_hf](https://pypi.org/project/rhm-hf/) the exact law is there, too: any model can be compared with it.

```python
from rhm_hf import grammar_of, load_metric

grammar = grammar_of(dataset)
load_metric("rhm_kl").compute(model="path/or/id/of/a/model", grammar=grammar)["kl"]  # nats per token; 0 is the truth
```

{facts.markdown_table(["grammar", ""], [list(fact) for fact in facts.grammar_facts(grammar).items()])}

{facts.markdown_table(facts.FEATURE_HEADER, facts.feature_rows(first.features))}

{facts.markdown_table(facts.SPLIT_HEADER, facts.split_rows(dataset, grammar.lengths_vary))}

```bibtex
{facts.CITATION}
```
"""
    )
