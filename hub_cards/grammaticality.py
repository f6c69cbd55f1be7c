"""Card of the metric `grammaticality`: its example is measured here, on samplers whose loss is known exactly."""

import inspect

import torch
from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from rhm_hf.data import facts
from rhm_hf.diffusion import MaskedDiffusion, revealing_law, sample_revealing
from rhm_hf.metrics.grammaticality import grammaticality


NAME = "v8-m2-s2-L3"  # 1024 sentences: the law of a sampler over all of them is exact
NUM_SAMPLES = 4096


def grammaticality_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="grammaticality",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2502.12089"],
        short_description="Correct rules of generated sentences by level",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _rows(grammar) -> list[list[str]]:
    """For k tokens at a time: fractions of correct nodes, of valid sentences, and the exact one of those."""
    process, rows = MaskedDiffusion(grammar.vocab_size), []
    for k in (1, 2, 4, 8):
        generator = torch.Generator().manual_seed(k)
        options = {"tokens_per_step": k, "order": "left_to_right"}
        samples = sample_revealing(
            grammar, process, NUM_SAMPLES, grammar.sentence_length, generator=generator, **options
        )
        found = grammaticality(samples, grammar)
        exact = revealing_law(grammar, grammar, process, **options)["fraction_grammatical"]
        values = [*found["correct"], found["valid"], found["valid_stderr"], exact]
        rows.append([str(k), *(f"{value:.4f}" for value in values)])
    rows.append(["random tokens", *(f"{value:.4f}" for value in found["chance"]), "", "", ""])
    return rows


def _body() -> str:
    grammar = rhm_hf.Grammar.from_name(NAME)
    parameters = inspect.signature(grammaticality).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    levels = [f"level {level}" for level in range(1, grammar.depth + 1)]
    header = ["tokens at a time", *levels, "`valid`", "`valid_stderr`", "exact"]
    return f"""# grammaticality

Which rules of a grammar do generated sentences obey? A node is correct if its children form a rule of its level, and a
failed child fails its ancestors: the metric gives the fraction of correct nodes of every level, beside that of random
tokens, and the fraction of grammatical sentences. For samples of any model: autoregressive, masked, diffusion.

```python
import evaluate
import rhm_hf

metric = evaluate.load("grammaticality")  # or rhm_hf.load_metric("grammaticality"); both work offline
metric.compute(input_ids=samples, grammar=rhm_hf.Grammar.from_name("{NAME}"))
```

## What comes out

`valid` and `valid_stderr`: sentences of positive probability. For every one of `levels`, 1 to L: `correct` and
`correct_stderr` (sentences are independent, the nodes of one are not), `chance`, which is exact and for the Random
Hierarchy Model f^((s^l - 1) / (s - 1)) with f = m / v^(s-1), and `rule_given_children`, the fraction of correct nodes
among those whose children are correct. `log_prob`: the mean log probability of the valid sentences, minus the entropy
for a perfect model. `per_position=True` adds every node by itself.

## Example

{NUM_SAMPLES} samples of the exact denoiser of `{NAME}`, `rules_seed=0`, k tokens at a time from left to right.
Tokens that are drawn together do not know of each other; what that costs is known exactly (last column), and these
samples are drawn to be compared with it.

{facts.markdown_table(header, _rows(grammar))}

## Arguments

`input_ids`: sentences `(n, d)`, symbols only; ids that are no symbols make their sentence wrong. `grammar`: a
`Grammar`, a directory or Hub id, or a dataset made by `rhm_hf`. With its default:

{facts.markdown_table(["argument", "default"], defaults)}

## Limits

A model that says the same correct sentence again and again has `valid` = 1: look at `memorisation` too, and at
`rhm_kl` for models whose probabilities are at hand.

## Citation

```bibtex
{facts.CITATION}
```
"""
