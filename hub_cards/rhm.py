"""The dataset card of `rhm`: every figure is computed from datasets that are loaded here."""

import json
import tempfile
from dataclasses import fields

import datasets
from huggingface_hub import DatasetCard, DatasetCardData

import rhm_hf
from rhm_hf.data import RHMDatasetBuilder, RHMDatasetConfig, checksum, facts
from rhm_hf.data.config import DEFAULT_NAME, SPLIT_SIZES


# A demo, the sizes of the papers' figures, and long sentences.
NAMES = (DEFAULT_NAME, "v16-m4-s2-L6", "v32-m8-s2-L4", "v64-m8-s4-L3")
# One of each family: name -> what it is, in the words of docs/families.md.
FAMILIES = {
    "v16-m4-s2-L3-zipf1.0@1": "rule k of a symbol has a probability ∝ k^-(1+a), a = 1.0, at level 1 (all without @1)",
    "v8-m8-s2-L3-uncorrelated": "no tuple of tokens tells the class; m must be a multiple of v",
    "layered-c4-v8.16-m2.4-s3.2": "v, m and s differ by level, root first",
    "v16-m4-s2-L3-cut1": "correlations above level 1 are cut: its symbols are independent given the class",
    "v16-m4-s2-L3-sparse1": "every child in one of 2 slots of its own, the other uninformative (-sparse1b: anywhere)",
    "hmm-v16-h8-m4-d8-p0.5": "a hidden Markov source: correlations decay as 0.5^t instead of a power law",
    "trees-v8-s2m2-s3m8-L2": "trees of every shape: rules of 2 and 3 children on every level, lengths vary",
    "pcfg-toy_english": "a general grammar, of the gallery; a file of rules, `./mine.cfg`, stands for one of your own",
    "ising-rho0.8-s2-L3": "a broadcast process: children are independent given their parent, a symbol kept or not",
}
FAMILY_HEADER = ["name", "meaning", "distinct sentences P_max", "entropy per token"]


def dataset_card() -> DatasetCard:
    """Builds the card."""
    with tempfile.TemporaryDirectory() as cache:
        loaded = {name: _load(name, cache) for name in NAMES}
        default = loaded[DEFAULT_NAME]
        with_levels = _load(DEFAULT_NAME, cache, levels=True)["train"]
        infos = {name: _info(dataset) for name, dataset in loaded.items()}
        body = _body(loaded, with_levels, default)
    data = DatasetCardData(
        pretty_name="Random Hierarchy Model",
        license="mit",
        task_categories=["text-generation", "text-classification", "fill-mask"],
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        source_datasets=["original"],
        size_categories=[facts.size_category(sum(map(len, default.values())))],
        tags=["random-hierarchy-model", "synthetic", "probabilistic-grammar", "arxiv:2307.02129"],
    )
    datasets.info.DatasetInfosDict(infos).to_dataset_card_data(data)
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _load(name: str, cache: str, **keywords) -> datasets.DatasetDict:
    builder = RHMDatasetBuilder(config_name=name, cache_dir=cache, **keywords)
    builder.download_and_prepare()
    return builder.as_dataset()


def _info(dataset: datasets.DatasetDict) -> datasets.DatasetInfo:
    splits = datasets.SplitDict()
    for name, split in dataset.items():
        splits.add(datasets.SplitInfo(name, num_bytes=facts.split_bytes(split), num_examples=len(split)))
    size = sum(split.num_bytes for split in splits.values())
    return datasets.DatasetInfo(features=dataset["train"].features, splits=splits, dataset_size=size, download_size=0)


def _family_rows() -> list[list[str]]:
    rows = []
    for name, meaning in FAMILIES.items():
        figures = facts.grammar_facts(rhm_hf.Grammar.from_name(name))
        rows.append([f"`{name}`", meaning, *(figures[what] for what in FAMILY_HEADER[2:])])
    return rows


def _body(loaded: dict[str, datasets.DatasetDict], with_levels: datasets.Dataset, default) -> str:
    grammar = rhm_hf.grammar_of(default)
    first = json.dumps(with_levels[0])  # as the formatter of this repository writes it, too
    names = [f"`{name}`" for name in loaded]
    grammars = [facts.grammar_facts(rhm_hf.grammar_of(dataset)) for dataset in loaded.values()]
    figures = [[what, *(each[what] for each in grammars)] for what in grammars[0] if what != "grammar"]
    checksums = [
        [name, split, f"{len(rows):,}", f"`{checksum(rows)}`"]
        for name, dataset in zip(names, loaded.values(), strict=True)
        for split, rows in dataset.items()
    ]
    defaults = {field.name: field.default for field in fields(RHMDatasetConfig)}
    sizes = ", ".join(f"`{size}={defaults[size]}`" for size in SPLIT_SIZES.values())
    return f"""# Random Hierarchy Model

Sentences of a random layered grammar whose probability law is known exactly: every symbol of a level is expanded by
one of m production rules, drawn with equal probability, into s symbols of the level below, L times over. The rules are
drawn at random and unambiguous, so that every sentence has one derivation, and its probability, every next-token law
and every hidden symbol's posterior can be computed. Models trained on it can be judged against the truth.

There is nothing to download: the Python package `rhm_hf` makes the rows on your machine.

```python
import rhm_hf
from datasets import load_dataset

dataset = load_dataset("rhm", "{DEFAULT_NAME}", rules_seed=0)
```

`{DEFAULT_NAME}` stands for v = {grammar.vocab_size} symbols, m = {grammar.parameters.num_synonyms} rules per symbol, \
s = {grammar.parameters.tuple_size} children per rule and L = {grammar.depth} levels; `-c8` after it makes 8 classes \
instead of v. Any such name works, and so do keywords (`vocab_size=16, num_synonyms=4, ..`) and rules of your own \
(`grammar=`). `rules_seed` picks the grammar, `sample_seed` the sentences. Sizes default to {sizes}; a split of size \
0 is absent.

## Rows

{facts.markdown_table(facts.FEATURE_HEADER, facts.feature_rows(with_levels.features))}

The hidden levels are there with `levels=True`. Symbol k is the integer k. The first training row of `{DEFAULT_NAME}`:

```python
{first}
```

## Families

What departs from the uniform model is part of the name, and can be passed by keyword, too (`zipf_exponent=1.0`,
`zipf_level=1`, `uncorrelated=True`, `cut_level=1`, `sparsity=1`, `placement="B"`):

{facts.markdown_table(FAMILY_HEADER, _family_rows())}

```python
zipf = load_dataset("rhm", "v16-m4-s2-L3-zipf1.0@1", disjoint=True)
cut = load_dataset("rhm", "v16-m4-s2-L3-cut1")
sparse = load_dataset("rhm", "v16-m4-s2-L3-sparse1")
markov = load_dataset("rhm", "hmm-v16-h8-m4-d8-p0.5")
```

Rules and probabilities of your own are a `Grammar` or a directory of one: `load_dataset("rhm", grammar=grammar)`,
`load_dataset("rhm", "path/to/directory")`. Where sentences are not equally probable, distinct ones would follow
another law: `sampling="unique"` is refused, and `disjoint=True` keeps splits apart. In filtered (`-cut1`) and hidden
Markov sources tokens do not determine the class: `label` is drawn from its exact posterior. In sparse ones the
uninformative token is the last symbol, v.

## Which sentences

Rows are a pure function of the parameters, `rules_seed`, `sample_seed`, split and index: the same on every machine,
for any number of processes, streamed or not. With `sampling="unique"`, the default where all sentences are equally
probable, all sentences of all splits differ, a smaller training set is the beginning of a larger one, and the other
splits do not move with its size. Asking for more sentences than exist is an error. `sampling="iid"` draws with
replacement from the law itself: judge a model's divergence from it on such sentences, as sentences that are not in the
training set are not typical of the law once a large part of all sentences is in it.

## Figures of some configurations

{facts.markdown_table(["", *names], figures)}

Tokens of the default splits, `rules_seed=0`, `sample_seed=0`:

{facts.markdown_table(["configuration", "split", "sentences", "SHA-256"], checksums)}

## Limits

The grammars are context-free, of fixed topology and free of meaning: results on them are evidence about hierarchical
structure, not about natural language as such.

## Citation

```bibtex
{facts.CITATION}
```
"""
