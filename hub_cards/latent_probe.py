"""Card of the metric `latent_probe`: its example is measured here, on a model whose layers are known."""

import inspect

from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from hub_cards.parsing_model import ParsingForSequenceClassification
from rhm_hf.data import facts
from rhm_hf.data.config import DEFAULT_NAME
from rhm_hf.metrics.latent_probe import latent_probe


def latent_probe_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="latent_probe",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2307.02129"],
        short_description="Linear probes for the latent symbols of sentences",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _examples(grammar) -> list[list[str]]:
    result = latent_probe(ParsingForSequenceClassification.from_grammar(grammar), grammar)
    rows = [
        [f"`{name}`", *(f"{value:.2f}" for value in values)]
        for name, values in zip(result["layers"], result["accuracy"], strict=True)
    ]
    return [*rows, ["`chance`", *(f"{value:.2f}" for value in result["chance"])]]


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(DEFAULT_NAME)
    parameters = inspect.signature(latent_probe).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    header = ["layer", *(f"level {level}" for level in range(grammar.depth + 1))]
    return f"""# latent_probe

Which latent symbols of a Random Hierarchy Model a linear map reads off each layer of a model. Activations are
standardised; ridge regression to one-hot vectors, in closed form, is fitted on fresh sentences, one map for every node
of the derivation, and judged by its accuracy on others. For any Hugging Face model that returns hidden states.

```python
import evaluate
import rhm_hf

grammar = rhm_hf.Grammar.from_name("{DEFAULT_NAME}")
metric = evaluate.load("latent_probe")  # or rhm_hf.load_metric("latent_probe"); both work offline
metric.compute(model="path-or-hub-id-or-model", grammar=grammar)
```

## What comes out

- `accuracy` and `stderr`: of every layer (rows) and level 0 (tokens) .. L (class), means over the level's nodes;
  errors over sentences. `accuracy_per_node`: of every node, left to right.
- `chance`, `chance_per_node`: the exact accuracy of guessing the most likely symbol of each node.
- `layers`: `hidden_states[0]` (embeddings), .., `logits`; `levels`; `num_train`; `num_sentences`.

## Example

A model that parses, its layer k holding the level-k symbols one-hot, on `{grammar.name}`:

{facts.markdown_table(header, _examples(grammar))}

Symbols of higher levels are functions of the lower ones, but in general no linear ones; those of lower levels are not
determined by the higher ones.

## Arguments

`model` (an instance, a directory or a Hub id) and `grammar` (a `Grammar`, a directory, a Hub id or a dataset; by
default what lies beside the model), and, with their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

`positions`: all positions of a layer together, the `"last"`, or their `"mean"`. `hide_last=True` for models trained on
the last token: causal ones read the tokens before it, others see MASK in its place. The position of BOS is left out.

## Limits

What a probe finds need not be what the model uses. A layer with many features (positions x channels) needs as many
training sentences, or a larger `regularisation`, to be judged fairly; all its features are held in memory. Where the
grammar has few sentences, those that are judged are among those fitted on.

## Citation

```bibtex
{facts.CITATION}
```
"""
