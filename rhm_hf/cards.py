"""What cards of grammars and models say: computed here, nothing typed by hand. Data sets are in `data/facts.py`."""

import math
from typing import Any


LICENSE = "mit"  # of what this package generates, as of the package itself
CITATION = """@article{cagnetta2024how,
  title = {How Deep Neural Networks Learn Compositional Data: The Random Hierarchy Model},
  author = {Cagnetta, Francesco and Petrini, Leonardo and Tomasini, Umberto M. and Favero, Alessandro and Wyart, Matthieu},
  journal = {Physical Review X},
  volume = {14},
  pages = {031001},
  year = {2024},
  eprint = {2307.02129},
  archivePrefix = {arXiv}
}"""  # noqa: E501


def big_integer(number: int | float) -> str:
    """A count as people read it: exact up to a million, as a power of ten beyond, infinite where nobody counted."""
    if number == math.inf:
        return "too many to count"
    return f"{number:,}" if number <= 10**6 else f"10^{math.log10(number):.2f}"


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows, such as `10K<n<100K`."""
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    decade = max(0, len(str(rows)) - 3)
    if decade == 0:
        return f"n<{bounds[0]}"
    return f"{bounds[decade - 1]}<n<{bounds[decade]}" if decade < len(bounds) else f"n>{bounds[-1]}"


def grammar_facts(grammar: Any) -> dict[str, str]:
    """The figures of a grammar that a card shows, by what they are called."""
    exact = grammar.entropy_stderr == 0
    per_sentence, per_token = grammar.entropy, grammar.entropy / (grammar.mean_length + grammar.lengths_vary)
    return {
        "grammar": f"`{grammar.name}`",
        "rules seed": "rules given by hand" if grammar.parameters is None else str(grammar.parameters.rules_seed),
        "leaf symbols v": str(grammar.vocab_size),
        **grammar.shape(),
        "classes n_c": str(grammar.num_classes),
        "tokens per sentence d": _lengths(grammar),
        "distinct sentences P_max": "infinitely many"
        if grammar.max_length is None
        else big_integer(grammar.num_sentences),
        "entropy of a sentence": f"{per_sentence:.4f} nats" if exact else f"about {per_sentence:.2f} nats",
        "entropy per token": f"{per_token:.4f} nats" if exact else f"about {per_token:.3f} nats",
        "fingerprint": f"`{grammar.fingerprint[:16]}`",
    }


def _lengths(grammar: Any) -> str:
    if not grammar.lengths_vary:
        return str(grammar.sentence_length)
    longest = "without bound" if grammar.max_length is None else f"at most {grammar.max_length}"
    return f"{grammar.mean_length:.4g} on average, {longest}; END counts as a token of the entropy"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grammar_card(grammar: Any, oracle: str | None = None) -> str:
    """The card of a repository that holds a grammar, or the exact law of one as a model.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): of any family.
        oracle (`str`, *optional*): the class of the model that lies in the repository.

    Returns:
        `str`: Markdown with its YAML.
    """
    from huggingface_hub import ModelCardData

    words = {"library_name": "rhm_hf"} if oracle is None else {"library_name": "transformers", "pipeline_tag": None}
    tasks = {"RHMForCausalLM": "text-generation", "RHMForMaskedLM": "fill-mask"}
    if oracle is not None:
        words["pipeline_tag"] = tasks.get(oracle, "text-classification")
    data = ModelCardData(
        license=LICENSE, tags=["random-hierarchy-model", "synthetic", "probabilistic-grammar"], **words
    )
    table = markdown_table(["grammar", ""], [list(fact) for fact in grammar_facts(grammar).items()])
    return f"""---
{data.to_yaml()}
---

{_GRAMMAR_TEXT.format(name=grammar.name) if oracle is None else _ORACLE_TEXT.format(name=grammar.name, oracle=oracle)}

{table}

```bibtex
{CITATION}
```
"""


_GRAMMAR_TEXT = """# The grammar `{name}`

Production rules whose law of sentences is known exactly. `grammar.safetensors` holds the numbers, `grammar.json` says
the same for people.

```python
from rhm_hf import Grammar

grammar = Grammar.from_pretrained("path/or/id/of/this/folder")
tokens = grammar.sample(1000, seed=1)
```

Its numbers can be read without rhm_hf:

```python
from safetensors.numpy import load_file

numbers = load_file("path/of/this/folder/grammar.safetensors")
```"""

_ORACLE_TEXT = """# The exact law of `{name}` as a model

`{oracle}`: its logits are exact log probabilities, computed from the production rules in `grammar/`; nothing was
trained. The rules are read as numbers (safetensors), no code of this repository is run.

```python
import rhm_hf  # makes the model known to transformers
from rhm_hf import {oracle}

oracle = {oracle}.from_pretrained("path/or/id/of/this/folder")
```"""
