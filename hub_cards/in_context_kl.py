"""Card of the metric `in_context_kl`: its example is measured here."""

import inspect

import torch
from huggingface_hub import SpaceCard, SpaceCardData
from transformers import GPT2Config, GPT2LMHeadModel

import rhm_hf
from rhm_hf.data import facts
from rhm_hf.metrics.in_context_kl import in_context_kl


NAME = "v4-m2-s2-L2"
SHOWN = ("uniform", "ngram", "hierarchical_ngram", "correlation_learner", "previous_token")


def in_context_kl_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="in_context_kl",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "in-context-learning", "arxiv:2406.00048"],
        short_description="Exact KL after n sentences of a new grammar",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _example() -> dict:
    """An untrained model, whose context holds 64 sentences; it is the lines that are of interest."""
    torch.manual_seed(0)
    sizes = {"n_positions": 400, "n_embd": 8, "n_layer": 1, "n_head": 1}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=7, bos_token_id=4, eos_token_id=4, **sizes))
    return in_context_kl(model, rhm_hf.Grammar.from_name(NAME), num_grammars=32, num_prompts=8, num_mappings=1)


def _table() -> str:
    found = _example()
    rows = [["the untrained model", *(f"{value:.2f}" for value in found["kl_within"])]]
    rows += [[f"`{name}`", *(f"{value:.2f}" for value in found["lines"][name]["kl"])] for name in SHOWN]
    return facts.markdown_table(["n", *map(str, found["num_examples"])], rows)


def _body() -> str:
    parameters = inspect.signature(in_context_kl).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    return f"""# in_context_kl

Does a language model learn a grammar from its prompt, and does it use more than neighbours? n sentences of a freshly
drawn grammar stand in the prompt. The model is judged at every token of the next one, against the exact law of that
grammar. Beside it: learners that count and saw the same n sentences. For any causal Hugging Face model, trained on
whatever.

```python
import evaluate
import rhm_hf

grammar = rhm_hf.Grammar.from_name("{NAME}")  # says which ensemble fresh grammars are drawn from
metric = evaluate.load("in_context_kl")  # or rhm_hf.load_metric("in_context_kl"); both work offline
metric.compute(model="path-or-hub-id-or-model", grammar=grammar)
```

One pass over a prompt gives all n = 0, 1, 2, 4, ..: the laws of the tokens of sentence n + 1 are read where it stands.

## How the law of a model is judged

It is over all ids of the model, and the grammar's over v symbols. Both parts are reported:

- `kl_within`: KL to the model's law renormalised to the ids of the symbols: what it knows of the grammar.
- `leaked_mass`: its probability outside of these; `leak_cost` = -log(1 - that), and `kl` = `kl_within` + `leak_cost`.

## What comes out

Lists over `num_examples`: the above, `kl_interval` and `kl_within_interval`, `kl_per_position`, `mapping_std` (between
mappings of one grammar and its sentences). Intervals are Student's t, and what is resampled is grammars (`unit`):
their means over mappings and prompts are independent. Where rules are given by hand there is one grammar, and prompts
are the units.

`lines` holds, by name, `kl`, `interval`, `per_position`, and `gain` = line - `kl_within` on the same prompts with
`gain_interval`:

- `uniform`; `ngram_<k>` and `tied_ngram_<k>` (a table for every position, one for all; Kneser-Ney); `ngram`, at each n
  the best of these, chosen on the judged sentences.
- `hierarchical_ngram`, told the rules; `correlation_learner`, which infers latent symbols from the n sentences.
- `previous_token`, `block_<l>`: exact laws that see one token before, or their block of level l. Who uses neighbours
  only, stays above `previous_token` at every n. The truth is 0.

Grammars tell more than one number: `{NAME}-cut1` keeps the blocks and makes them independent given the root,
`hmm-v4-h4-m2-d4-p0.5` is a chain without blocks.

## Example

`{NAME}`, KL in nats per token after n sentences:

{_table()}

## Arguments

`model` (an instance, a directory or a Hub id) and `grammar` (a `Grammar`, a directory, a Hub id or a dataset; by
default what lies beside the model), and, with their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

`symbols`: `"own"` ids 0 .. v-1 in random order, for a model with v to v + 3 ids; `"words"` of the tokenizer, random
ones that are one token each; random `"ids"`. `"auto"`: own where it fits, else words. `separator`: text or id between
sentences.

## Limits

At small n the KL is above 0 whatever a model does: nobody knows the grammar yet. What the best possible learner, which
knows the ensemble, would reach is not computed. Sentences that differ in length are refused, and contexts without room
for one sentence and the next. A model may do worse on words than on ids that it has seen in any order.

## Citation

```bibtex
{facts.CITATION}
```
"""
