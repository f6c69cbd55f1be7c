"""The metric card of `rhm_kl`: its example figures are measured here, on models whose divergence can be checked."""

import inspect

import torch
from huggingface_hub import SpaceCard, SpaceCardData
from transformers import GPT2Config, GPT2LMHeadModel

import rhm_hf
from rhm_hf.data import facts
from rhm_hf.data.config import DEFAULT_NAME
from rhm_hf.inference import plateau
from rhm_hf.metrics.rhm_kl import kl_divergence


def metric_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="rhm_kl",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2307.02129"],
        short_description="Exact KL of a language model to a grammar's law",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _uniform_model(grammar) -> GPT2LMHeadModel:
    """A GPT-2 whose weights are all 0: the same probability for every id, those that are no symbols included."""
    v = grammar.vocab_size
    ids = {"bos_token_id": v, "eos_token_id": v, "pad_token_id": v + 1}
    size = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": grammar.sentence_length + 1}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=v + 3, **size, **ids))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def _examples(grammar) -> list[list[str]]:
    """Rows of model, KL, standard error, parts, infinities, and the KL by another road."""
    other = rhm_hf.Grammar.from_name(grammar.name, rules_seed=grammar.parameters.rules_seed + 1)
    rate = grammar.entropy / grammar.sentence_length
    oracle = rhm_hf.RHMForCausalLM.from_grammar
    models = [("the exact law", oracle(grammar), 0.0)]
    for level in range(grammar.depth - 1, -1, -1):
        tokens = grammar.block_length(level)
        name = f"the exact law of aligned blocks of {tokens}" if tokens > 1 else "the exact law of each position"
        models.append((name, oracle(grammar, context_level=level), plateau(grammar, level) - rate))
    uniform = torch.log(torch.tensor(grammar.vocab_size + 3.0)).item() - rate
    models.append(("uniform over all ids", _uniform_model(grammar), uniform))
    models.append(("the exact law of another grammar", oracle(other), float("inf")))
    rows = []
    for name, model, expected in models:
        result = kl_divergence(model, grammar)
        figures = [result[key] for key in ("kl", "kl_stderr", "kl_within", "leak_cost", "leaked_mass")]
        rows.append([name, *map(_figure, figures), str(result["num_infinite"]), _figure(expected)])
    return rows


def _figure(value: float) -> str:
    return f"{0.0 if abs(value) < 5e-5 else value:.4f}"


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(DEFAULT_NAME)
    parameters = inspect.signature(kl_divergence).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    header = ["model", "kl", "kl_stderr", "kl_within", "leak_cost", "leaked_mass", "num_infinite", "closed form"]
    num_sentences = parameters["num_sentences"].default
    return f"""# rhm_kl

The Kullback-Leibler divergence, in nats per judged token, from the exact law of a Random Hierarchy Model (or of any
layered probabilistic grammar) to a causal or masked Hugging Face model. The true conditional probabilities are
computed, not estimated: the only statistical error is that of the mean over sentences, and it is reported.

```python
import evaluate
import rhm_hf

grammar = rhm_hf.Grammar.from_name("{DEFAULT_NAME}")
kl = evaluate.load("rhm_kl")  # or rhm_hf.load_metric("rhm_kl"); both work offline
kl.compute(model="path-or-hub-id-or-model", grammar=grammar)
```

## What comes out

At every judged token, p is the exact law of the symbols given the tokens that the model sees, q the model's law over
all its ids. `kl` = sum p log(p / q) = `kl_within` (p against q renormalised to the symbols) + `leak_cost`
(-log(1 - `leaked_mass`), the price of probability outside the symbols). Also: `kl_stderr` (sentences are independent,
their tokens are not; 0 where all sentences were judged), `kl_per_position` and
`kl_stderr_per_position` for the `positions` judged, `kl_sentence`,
`entropy` (of the exact law), `cross_entropy` = `entropy` + `kl`, `num_infinite` (sentences in which the model excludes
a possible token; `kl` is then infinite, never smoothed), `num_sentences`, and how the model was read: `read_as`,
`bos`. On a fixed tree `kl_by_level`: what the tokens that open a block of level 0, 1, .. L add to `kl`. Where
sentences differ in length END is judged like a token, and `kl_end` is the KL at the end of the sentences.

Where it sits, exactly: `split="levels"`, `"symbols"` or `"rules"` puts the KL of a causal model down to what each
token decides (the chain rule over the tree): the level, or the highest symbol, that begins with it; the rule that it
decides. `kl_split` are the parts, which sum to `kl`, `split_share` the shares of the tokens, `split_groups` the names.
A part of a rule may be negative: the model then gives its tokens more than they have.

## Examples

Measured on `{DEFAULT_NAME}`, `rules_seed=0`, with the defaults ({num_sentences} fresh sentences); the last column is
the divergence from a closed form:

{facts.markdown_table(header, _examples(grammar))}

## Arguments

`model` (an instance, a directory or a Hub id) and `grammar` (a `Grammar`, a directory, a Hub id or a dataset; by
default what lies beside the model), and, with their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

A causal model is judged at every token given those before it; a masked one (a class named `..ForMaskedLM`) at hidden
tokens given the visible ones. Where its vocabulary is larger than the symbols and three special ids, `token_ids=` says
which id stands for which symbol. `bos="auto"` takes the model's BOS where it is no symbol; without one, `bos=False`
leaves the first token out. `accelerator=` splits the sentences over processes.

## Limits

It needs the grammar: on natural text the true law is unknown and no such number exists. Sentences that are not in a
training set are not typical of the law once that set holds a large part of all sentences: judge on fresh independent
sentences, the default.

## Citation

```bibtex
{facts.CITATION}
```
"""
