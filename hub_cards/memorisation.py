"""Card of the metric `memorisation`: its examples are measured here, on samples whose origin is known."""

import inspect

import numpy as np
from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from rhm_hf.data import facts
from rhm_hf.data.config import DEFAULT_NAME
from rhm_hf.metrics.memorisation import memorisation


NUM_TRAIN, NUM_SAMPLES = 1024, 512


def memorisation_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="memorisation",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2502.12089"],
        short_description="Copies of the training set in generated sentences",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _paraphrased(grammar, sentences: np.ndarray) -> np.ndarray:
    """The same level-1 symbols, each written by another rule than the one that was used."""
    symbols, rules = grammar.parse(sentences)[1], grammar.rules_at(1)
    pairs = sentences.reshape(*symbols.shape, -1)
    used = (rules[symbols] == pairs[:, :, None]).all(-1).argmax(-1)
    return rules[symbols, (used + 1) % rules.shape[1]].reshape(sentences.shape)


def _rows(grammar) -> list[list[str]]:
    train = grammar.sample(NUM_TRAIN)
    samples = {
        "fresh sentences": grammar.sample(NUM_SAMPLES, seed=1, sampling="iid"),
        "copies": train[:NUM_SAMPLES],
        "training sentences, every pair replaced by a synonym": _paraphrased(grammar, train[:NUM_SAMPLES]),
        "random tokens": np.random.default_rng(0).integers(0, grammar.vocab_size, (NUM_SAMPLES, train.shape[1])),
    }
    rows = []
    for name, tokens in samples.items():
        found = memorisation(tokens, train, grammar)
        overlaps = ["-" if value is None else f"{value:.3f}" for value in found["overlap"]]
        values = [found[key] for key in ("copied", "chance_of_copy", "valid", "novel")]
        rows.append([name, *(f"{value:.3f}" for value in values), *overlaps])
    return rows


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(DEFAULT_NAME)
    parameters = inspect.signature(memorisation).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    overlaps = [f"overlap at level {level}" for level in range(grammar.depth)]
    header = ["samples", "`copied`", "`chance_of_copy`", "`valid`", "`novel`", *overlaps]
    return f"""# memorisation

How much of what a model generates is copied from its training set? The fraction of verbatim copies beside the chance
of one, and the overlap with the nearest training sentence, token by token and at every level of latent symbols,
beside that of fresh sentences of the grammar: what a model would give that learnt the law and memorised nothing.

```python
import evaluate
import rhm_hf

metric = evaluate.load("memorisation")  # or rhm_hf.load_metric("memorisation"); both work offline
metric.compute(input_ids=samples, train=dataset["train"], grammar=dataset)  # grammar= may be left out
```

## What comes out

- `copied` and `copied_stderr`: samples that are training sentences. `chance_of_copy`: probability of the training set
  under the law, P / P_max where sentences are equiprobable.
- `distinct` and `distinct_fresh`: the fraction of different sentences among the samples, and among as many fresh ones.
- `valid` and `novel`: samples that are grammatical; that are grammatical and not copied.
- For every one of `levels`, 0 being the tokens: `overlap` and `overlap_fresh`, the mean over samples of the largest
  fraction of symbols that agree with any one training sentence, over the `num_judged` that parse up to there.
- `num_samples`, `num_train`, `num_distinct_train`.

Without a grammar: copies, distinct sentences and the overlap of tokens.

## Example

`{DEFAULT_NAME}`, `rules_seed=0`, {NUM_TRAIN} training sentences of {grammar.num_sentences:,} and {NUM_SAMPLES} samples
of each kind:

{facts.markdown_table(header, _rows(grammar))}

Sentences whose pairs were replaced by synonyms are new as strings, and copies one level up.

## Arguments

`input_ids` and `train`: sentences `(n, d)` or datasets with that column. With their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

## Limits

Copies are found in all samples, nearest sentences for the first `num_nearest` only: every pair is compared. Where the
training set holds a large part of all sentences, copies are no sign of memory; compare with `chance_of_copy`.

## Citation

```bibtex
{facts.CITATION}
```
"""
