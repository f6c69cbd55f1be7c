"""Card of the metric `belief_probe`: its example is measured here, on a model whose layers are known."""

import inspect

from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from hub_cards.believing_model import BelievingForCausalLM
from rhm_hf.data import facts
from rhm_hf.data.config import DEFAULT_NAME
from rhm_hf.metrics.belief_probe import belief_probe


def belief_probe_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="belief_probe",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2406.00048"],
        short_description="Linear probes for exact beliefs given the prefix",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _examples(grammar) -> list[list[str]]:
    result = belief_probe(BelievingForCausalLM.from_grammar(grammar), grammar, num_train=1024, num_sentences=512)
    rows = [
        [f"`{name}`", *(f"{value:.2f} ({other:.2f})" for value, other in zip(values, control, strict=True))]
        for name, values, control in zip(result["layers"], result["r2"], result["control"], strict=True)
    ]
    return rows


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(DEFAULT_NAME)
    parameters = inspect.signature(belief_probe).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    header = ["layer", *(f"level {level}" for level in range(1, grammar.depth + 1))]
    return f"""# belief_probe

What does a model believe about the hidden symbols of the sentence it is reading? The exact laws of all ancestors of a
token, given the tokens up to it, are what a Bayes-optimal predictor has to know: the law of the next token follows
from these and the tokens. One affine map a layer, the same at all positions, is fitted to them in closed form on fresh
sentences and judged on others. For any causal Hugging Face model that returns hidden states, on any grammar with a
fixed tree.

```python
import evaluate
import rhm_hf

grammar = rhm_hf.Grammar.from_name("{DEFAULT_NAME}")
metric = evaluate.load("belief_probe")  # or rhm_hf.load_metric("belief_probe"); both work offline
metric.compute(model="path-or-hub-id-or-model", grammar=grammar)
```

## What comes out

- `r2` and `stderr`: of every layer (rows) and level 1 .. L (class). R^2 = 1 - sum |b - b^|^2 / sum |b - mean|^2 over
  sentences, positions and symbols, b the belief, b^ the prediction: weighted by variance. 1: the beliefs are an affine
  image of the layer; 0: it says nothing; negative: the map fits noise. Errors over sentences, for the fitted map.
- `control`, `control_stderr`: the same with the beliefs of other sentences at the same position, drawn at random: what
  position alone gives.
- `r2_per_position` (layers x levels x tokens read), `variance` (of the beliefs, by level).
- `layers`: `hidden_states[0]` (embeddings), .., `logits`; `levels`; `num_train`; `num_sentences`.

## Example

A model whose last hidden layer is its beliefs, and whose logits are the exact law of the next token, on
`{grammar.name}`; R^2, in brackets the control:

{facts.markdown_table(header, _examples(grammar))}

The token alone says a part; log probabilities of the next token are not linear in the beliefs.

## Arguments

`model` (an instance, a directory or a Hub id) and `grammar` (a `Grammar`, a directory, a Hub id or a dataset; by
default what lies beside the model), and, with their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

`nodes`: at every token the beliefs about its own ancestors, or about `"all"` nodes of the tree, read or to come.
`positions`: all tokens, or the `"last"` that is read alone. `hide_last=True` for models trained on the last token,
which do not read it. The position of BOS is left out.

## Limits

What a probe finds need not be what the model uses, and a belief that is held in another form than a linear one is
not found. A model that reads both ways has no prefix: `latent_probe` is for those. Sources whose sentences differ in
length have no nodes of levels above a token, and are refused. Where the grammar has few sentences, those that are
judged are among those fitted on.

## Citation

```bibtex
{facts.CITATION}
```
"""
