"""Card of the metric `context_loss`: its example figures are measured here, on a law that is known exactly."""

import inspect

from huggingface_hub import SpaceCard, SpaceCardData

import rhm_hf
from hub_cards import real_model
from rhm_hf.data import facts
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.metrics.context_loss import loss_by_context


NAME = "v8-m2-s2-L3"  # 1024 sentences of 8 tokens: all of them are judged


def context_loss_card() -> SpaceCard:
    """Builds the card."""
    data = SpaceCardData(
        title="context_loss",
        sdk="gradio",
        app_file="app.py",
        license="mit",
        tags=["evaluate", "metric", "random-hierarchy-model", "arxiv:2406.00048", "arxiv:2602.07488"],
        short_description="Loss of a language model by visible tokens",
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_body()}")


def _measured() -> dict:
    grammar = rhm_hf.Grammar.from_name(NAME)
    tokens, _ = enumerate_sentences(grammar)
    oracle = rhm_hf.RHMForMaskedLM.from_grammar(grammar)
    return loss_by_context(oracle, tokens, windows="rows", context_lengths=range(grammar.sentence_length))


def _real() -> str:
    found = real_model.measured("context_loss")
    columns, lengths = ("loss", "loss_stderr", "delta", "delta_stderr"), found["context_lengths"]
    rows = [[str(n), *(f"{found[column][i]:.4f}" for column in columns)] for i, n in enumerate(lengths)]
    gamma = "gamma: no power law can be fitted."
    if found["gamma"] is not None:
        low, high = found["gamma_interval"]
        gamma = f"gamma = {found['gamma']:.2f} [{low:.2f}, {high:.2f}], {found['gamma_status']}."
    return f"""{real_model.about(found)}.
{found["num_windows"]} windows of {found["num_documents"]} documents, the defaults; nats per token of
{found["characters_per_token"]:.2f} characters.

{facts.markdown_table(["n", *columns], rows)}

{real_model.saturation_table(found)}

{gamma}
"""


def _body() -> str:
    result = _measured()
    columns = ("loss", "loss_stderr", "delta", "delta_stderr")
    rows = [
        [str(n), *(f"{abs(result[column][i]):.4f}" for column in columns)]
        for i, n in enumerate(result["context_lengths"])
    ]
    parameters = inspect.signature(loss_by_context).parameters
    defaults = [[f"`{p.name}`", f"`{p.default!r}`"] for p in parameters.values() if p.default is not p.empty]
    return f"""# context_loss

The mean loss L_n of a causal or masked Hugging Face model, given n visible tokens, for n = 0, 1, 2, 3, 4, 6, 8, 11,
16, ..: how far back a model looks, on any text or token stream, in nats per token or per character.

```python
import evaluate
import rhm_hf

metric = evaluate.load("context_loss")  # or rhm_hf.load_metric("context_loss"); both work offline
metric.compute(texts=documents, model="path-or-hub-id-or-model")
metric.compute(texts=documents, model="path-or-hub-id-or-model", paired=False, per="character")  # one pass: fast
```

## What comes out

- `loss` and `loss_stderr` at every n of `context_lengths`; documents are independent in the standard errors, or their
  blocks where documents are few.
- `delta` = mean of l(n) - l(N), N the longest context, and its own `delta_stderr`.
- `n_sat`: the smallest n from which on the loss, fitted by one that never rises, stays within 0.01 nats of that at N.
  `n_sat_relative`: the same with 5 % of the whole fall. Each comes with `.._estimate`, `.._interval` (95 %, documents
  resampled), `.._status` and, where the text is known, `.._characters`. They are None where the data do not decide
  them: where the interval spans more than a factor of 2 (`"undecided"`; `.._windows`: about how many windows would
  decide) or reaches N (`"context"`: longer contexts are needed).
- `gamma` of L_n = `loss_inf` + A n^-gamma over `fit_range`. `gamma_interval` (95 %) holds what documents
  (`gamma_statistical_interval`) and the choice of range (`gamma_range`) leave open; `gamma_status` says whether an
  exponential fits better. With the exponent beta of the decay
  of correlations, the theory's learning exponent is gamma / (2 beta) (arXiv 2602.07488).
- How it was measured: `mode`, `windows`, `per`, `bos`, `num_windows`, `targets_per_window`, `num_documents`,
  `num_too_short`, `num_rows`, `characters_per_token`.

## Example

The exact law of `{NAME}` as a masked language model, judged with `windows="rows"` on all of its
{result["num_windows"]} sentences: the losses are the conditional entropies of the last token given the n before it.

{facts.markdown_table(["n", *columns], rows)}

`n_sat` = {result["n_sat"]} (`{result["n_sat_status"]}`, interval {result["n_sat_interval"]}), `n_sat_relative` =
{result["n_sat_relative"]}.

## A real model

{_real()}
## Two ways to measure

`paired=True`, the default for text, reads the same targets again for every n: differences between lengths are then
free of the targets' own spread. `paired=False`, the fast mode, reads windows that start at uniformly random places
once, the token at depth n having n visible ones before it; every n has targets of its own, and `n_sat` asks for many
more windows. Masked models predict the last token of a window and are always paired.

Before the visible tokens stands the model's BOS (or [CLS]): with n = 0 the model sees it alone, and every context
begins at the model's first positions. Contexts longer than the model's positions are refused. `windows="rows"` is for
sentences whose places matter, such as those of a grammar: rows are the windows, hidden tokens keep their places.

## Arguments

`model`: an instance, a directory or a Hub id; `tokenizer`: by default the one beside it. With their defaults:

{facts.markdown_table(["argument", "default"], defaults)}

## Limits

A model's loss is an upper bound of the entropy of the text at that context, not the entropy. A causal model from which
tokens were hidden in place was not trained so, and may do worse than it could. `n_sat` is no finer than the list of
lengths; documents that a context of N does not fit into are left out.

## Citation

```bibtex
{facts.CITATION}
```
"""
