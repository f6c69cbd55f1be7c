"""The card of the measurement `token_correlations`: its figures are measured here, beside the exact ones."""

import inspect

from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from rhm_hf.data import facts
from rhm_hf.data.config import DEFAULT_NAME
from rhm_hf.metrics.token_correlations import measure_correlations
from rhm_hf.statistics import exact_correlation


NUM_SENTENCES = 2**17


def measurement_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="token_correlations",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "measurement", "random-hierarchy-model", "arxiv:2406.00048"],
        short_description="Token correlations and effective context of any text",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _rows(grammar, result: dict) -> list[list[str]]:
    """Distance, C~, its error, floor, sqrt(U), and the exact C~."""
    exact = exact_correlation(grammar, result["distances"])
    names = ("correlation", "correlation_stderr", "noise_floor", "signal")
    columns = zip(result["distances"], *(result[name] for name in names), exact, strict=True)
    return [
        [str(t), *(f"{1e4 * x:.3f}" for x in (correlation, stderr, floor, max(signal, 0) ** 0.5, true))]
        for t, correlation, stderr, floor, signal, true in columns
    ]


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(DEFAULT_NAME)
    result = measure_correlations(grammar.sample(NUM_SENTENCES, sampling="iid"))
    parameters = inspect.signature(measure_correlations).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    header = ["t", "correlation", "correlation_stderr", "noise_floor", "square root of signal", "exact"]
    return f"""# token_correlations

How much the tokens of a text say about each other at a distance t. J is the law of two tokens at that distance, p and
q its left and right marginals, C = J - p q^T; the correlation function C~(t) is the root mean square of C over all v^2
pairs of symbols. n pairs of independent tokens would give C~ = floor, floor^2 = (1 - S_p)(1 - S_q) / (v^2 n), S = sum
p^2; the effective context t* is the range up to which the correlation, noise subtracted, exceeds that floor.

```python
import evaluate
import rhm_hf

measure = evaluate.load("token_correlations")  # or rhm_hf.load_metric("token_correlations"); both work offline
measure.compute(data="a long text", distances=range(1, 8))  # characters; tokenizer="path-or-hub-id" for others
measure.compute(data=rhm_hf.Grammar.from_name("{DEFAULT_NAME}").sample(8192))  # or a dataset with input_ids
```

## What comes out

For every distance: `correlation` C~(t), `correlation_stderr`, `noise_floor`, `signal` (U_t, an unbiased estimate of
C~^2 from two interleaved halves of the text; it may be negative), `signal_stderr`, `signal_interval` (95 %, of C~^2
without noise; where the signal is about the noise, the signal with two errors around it is not one), `operator_norm`
(the largest singular value of C), `num_pairs`. Errors are a jackknife over blocks of the text: its pairs are not
independent. Then `effective_context` with `effective_context_is_bound` (True where no measured distance falls below
the floor), `exponent`, the β of C~ ~ t^-β fitted to the signal over `fit_range`, its `exponent_interval` (95 %,
jackknife over blocks), `vocab_size`, `num_tokens`.

## Example

{NUM_SENTENCES:,} independent sentences of `{DEFAULT_NAME}`, `rules_seed=0`, pairs that end with the last token; all
figures times 10^4, the last column from the grammar itself:

{facts.markdown_table(header, _rows(grammar, result))}

## Arguments

`data` (a text, a list of documents, or token ids: rows, a text, documents, a `datasets.Dataset`) and, with their
defaults:

{facts.markdown_table(["argument", "default"], defaults)}

Rows of equal length are taken for sentences and pairs end with their last token (`anchor="last"`, the definition for
the Random Hierarchy Model); texts and documents give all pairs at a distance, never across documents.

## Limits

C~ is averaged over all v^2 pairs of symbols, so texts with different vocabularies are not comparable by it. The floor
assumes independent pairs; real text has more noise, which the error bars show. Pooling all positions of sentences
whose positions differ in their laws (`anchor="all"`) adds a false plateau, which `center="position"` removes.

## Citation

```bibtex
@article{{cagnetta2024towards,
  title={{Towards a theory of how the structure of language is acquired by deep neural networks}},
  author={{Cagnetta, Francesco and Wyart, Matthieu}},
  journal={{arXiv:2406.00048}},
  year={{2024}}
}}
```
"""
