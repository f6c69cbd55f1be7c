"""Card of the metric `representation_probe`: its example is measured here, on a model whose layers are known."""

import inspect

from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from hub_cards.parsing_model import ParsingForSequenceClassification
from rhm_hf.data import facts
from rhm_hf.metrics.representation_probe import representation_probe


NAME = "v8-m2-s2-L3"


def representation_probe_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="representation_probe",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2406.00048"],
        short_description="Whether layers hold symbols or their spelling",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _examples(grammar) -> list[list[str]]:
    model = ParsingForSequenceClassification.from_grammar(grammar)
    result = representation_probe(model, grammar, nodes="all", hide_last=False)
    columns = [result[key] for key in ("similarity_replaced", "similarity_redrawn", "ratio", "ratio_stderr")]
    rows = []
    for name, *values in zip(result["layers"], *columns, strict=True):
        for level, *figures in zip(result["levels"], *values, strict=True):
            rows.append([f"`{name}`", str(level), *(f"{round(figure, 2) + 0.0:.2f}" for figure in figures)])
    return rows


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(NAME)
    parameters = inspect.signature(representation_probe).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    header = ["layer", "level", "similarity_replaced", "similarity_redrawn", "ratio", "ratio_stderr"]
    return f"""# representation_probe

Whether a layer holds the symbols of a level of a Random Hierarchy Model, or only the way they are written. One node of
a sentence is changed in two ways: S replaces its symbol by another one and draws the subtree below anew; R keeps the
symbol and replaces its rule, that is, spells it in another way. If a layer represents the symbol, R changes little.
For models that predict the last token, and any other Hugging Face model that returns hidden states.

```python
import evaluate
import rhm_hf

grammar = rhm_hf.Grammar.from_name("{NAME}")
metric = evaluate.load("representation_probe")  # or rhm_hf.load_metric("representation_probe"); both work offline
metric.compute(model="path-or-hub-id-or-model", grammar=grammar)
```

## What comes out

- `similarity_replaced`, `similarity_redrawn`: cosine of a layer's activations before and after S and R, of every layer
  (rows) and level 1..L-1 (columns). Features are centred and divided by their standard deviation over the sentences.
- `ratio`: (1 - `similarity_redrawn`) / (1 - `similarity_replaced`). About 1 where the layer knows tokens only, 0 where
  it depends on the symbol alone. Each with its `.._stderr`, over sentences.
- `layers`: `hidden_states[0]` (embeddings), .., `logits`; `levels`; `num_sentences`.

## Example

A model that parses, its layer k holding the level-k symbols one-hot, on `{grammar.name}` with `nodes="all"` and
`hide_last=False`: layer k does not see a redrawn rule of level k or below.

{facts.markdown_table(header, _examples(grammar))}

## Arguments

`model` (an instance, a directory or a Hub id) and `grammar` (a `Grammar`, a directory, a Hub id or a dataset; by
default what lies beside the model), and, with their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

`nodes`: the node to the left of the last token's ancestor (`"nearest"`), or the mean over all that are no ancestor of
the last token (`"all"`). `hide_last`: causal models read the tokens before the last, others see MASK in its place.

## Limits

A replaced symbol is drawn uniformly, so that the sentence after S need not be grammatical above it. In a model with
residual connections every position keeps its own token: look at `positions="last"`.

## Citation

```bibtex
{facts.CITATION}
```
"""
