"""Card of the metric `synonym_sensitivity`: its example is measured here, on a model of known values."""

import inspect

import numpy as np
from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from hub_cards.parsing_model import ParsingForSequenceClassification
from rhm_hf.data import facts
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity


NAME = "v8-m2-s2-L3"
NUM_SENTENCES = 4096


def synonym_sensitivity_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="synonym_sensitivity",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2307.02129"],
        short_description="Which synonyms a model's layers can tell apart",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _exact(grammar, height: int, level: int) -> float:
    """The sensitivity of one-hot level-`height` symbols, from all sentences: unexplained variance over variance."""
    tokens, probs = enumerate_sentences(grammar)
    symbols = grammar.parse(tokens)
    features = np.eye(grammar.num_symbols_at(height))[symbols[height]].reshape(len(tokens), -1)
    _, groups = np.unique(symbols[level], axis=0, return_inverse=True)
    members = np.eye(groups.max() + 1)[groups.ravel()].T * probs  # (groups, sentences)
    means = members @ features / members.sum(1, keepdims=True)
    second = probs @ (features**2).sum(1)
    return (second - members.sum(1) @ (means**2).sum(1)) / (second - ((probs @ features) ** 2).sum())


def _examples(grammar) -> list[list[str]]:
    model = ParsingForSequenceClassification.from_grammar(grammar)
    result = synonym_sensitivity(model, grammar, num_sentences=NUM_SENTENCES)
    rows = []
    for name, values, errors in zip(result["layers"], result["sensitivity"], result["stderr"], strict=True):
        height = min(len(rows), grammar.depth)
        found = zip(values, errors, result["levels"], strict=True)
        rows.append(
            [
                f"`{name}`",
                *(f"{v:.3f} +- {e:.3f} ({abs(_exact(grammar, height, level)):.3f})" for v, e, level in found),
            ]
        )
    return rows


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(NAME)
    parameters = inspect.signature(synonym_sensitivity).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    header = ["layer", *(f"level {level}" for level in range(1, grammar.depth + 1))]
    return f"""# synonym_sensitivity

How sensitive every layer of a model is to the exchange of synonyms at every level of a Random Hierarchy Model:
S_(k,l) = <|f_k(x) - f_k(P_l x)|^2> / <|f_k(x) - f_k(y)|^2>, with f_k the activations of layer k, x and y independent
sentences, and P_l x the sentence x with all rules below its level-l symbols drawn anew. For any Hugging Face model
that returns hidden states: causal and masked language models, sequence classifiers.

```python
import evaluate
import rhm_hf

grammar = rhm_hf.Grammar.from_name("{NAME}")
metric = evaluate.load("synonym_sensitivity")  # or rhm_hf.load_metric("synonym_sensitivity"); both work offline
metric.compute(model="path-or-hub-id-or-model", grammar=grammar)
```

## What comes out

- `sensitivity`: of every layer (rows) and level (columns). x and P_l x are independent draws given the level-l
  symbols, so S is the share of the layer's variance that these symbols do not explain: 0 where the layer depends on
  nothing else, 1 where it is blind to them.
- `stderr`: of each, over independent pairs of sentences.
- `layers`: `hidden_states[0]` (embeddings), .., `logits`; `levels`: 1..L; `num_sentences`.

A layer that does not vary with the sentence has None.

## Example

A model that parses, its layer k holding the level-k symbols, on `{grammar.name}`; {NUM_SENTENCES} sentences, in
brackets the exact value from all {grammar.num_sentences} sentences:

{facts.markdown_table(header, _examples(grammar))}

## Arguments

`model` (an instance, a directory or a Hub id) and `grammar` (a `Grammar`, a directory, a Hub id or a dataset; by
default what lies beside the model), and, with their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

`positions`: all positions of a layer together, the `"last"`, or their `"mean"`. `hide_last=True` for models trained on
the last token: causal ones read the tokens before it, others see MASK in its place. The position of BOS is left out.

## Limits

The rule drawn anew may be the old one, as in the authors' code. Layers of a model with residual connections keep the
tokens they have read at their positions, and so stay sensitive to level 1 however much they have learnt: look at
`positions="last"` of a causal model, or at its logits.

## Citation

```bibtex
{facts.CITATION}
```
"""
