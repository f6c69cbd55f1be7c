"""Dry runs: a sweep at toy size, which goes the whole way from its YAML to the picture in seconds.

Its numbers mean nothing; that every step is taken means that the real one will not end in an error after its compute
is spent. What tells runs apart (variants, models, values of m, sizes in their order) stays apart.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from .arguments import TrainingArguments, field_names


SIZES = {  # fields of configurations: their value in a toy model
    "hidden_size": 16,
    "n_embd": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_head": 2,
}
DEPTHS = ("num_hidden_layers", "n_layer")
FIXED: dict[str, Any] = {
    "num_validation": 16,
    "num_test": 16,
    "batch_size": 16,
    "gradient_accumulation_steps": 1,
    "num_evaluations": 2,
    "warmup_steps": 1,
    "kl_sentences": 16,
    "eval_batch_size": 64,
    "save_steps": 1000,
    "num_threads": 1,
    "mixed_precision": "no",
    "train_characters": None,
}
SMALLEST = {False: 16, True: 1600}  # training sentences and characters of the smallest run
STEP = {False: 4, True: 200}
RHM = re.compile(r"v(\d+)-m(\d+)-(.*)")
WORDS = ["hierarchy", "model", "random", "language", "token", "data", "rule", "level", "tree", "symbol"]


def shrunk(values: dict[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of a sweep at toy size.

    Args:
        values (`dict`): arguments of a sweep, any of them a list, with or without `variants`.
        keep (`Collection[str]`, *optional*): arguments that stay as they are.

    Returns:
        `dict`: the same with at most two values of what is listed, few sentences, steps and units, one worker and no
        GPU. `output_dir` ends with `_tiny`, and a text is one of its own there.
    """
    names, resources = field_names(), ("variants", "runs_per_gpu", "num_workers")
    common = {name: value for name, value in values.items() if name in names}
    beside = {name: value for name, value in values.items() if name not in names and name not in resources}
    resolved = {name: common | own for name, own in values.get("variants", {"": {}}).items()}
    folder = values.get("output_dir", TrainingArguments.output_dir)
    folder = str(folder) if "output_dir" in keep else f"{folder}_tiny"
    grammars, sizes = _tiny_grammars(resolved.values()), _tiny_sizes(resolved.values())
    small = {}
    for name, own in resolved.items():
        small[name] = own | _shrunk_run(own, grammars, sizes, folder) | {key: own[key] for key in keep if key in own}
        small[name].pop("output_dir", None)
    found = beside | {"output_dir": folder, "num_workers": 1}
    return found | ({"variants": small} if "variants" in values else small[""])


def _listed(value) -> list:
    return value if isinstance(value, list) else [value]


def _few(value, change=lambda entry: entry):
    """The first and the last of what is listed."""
    if not isinstance(value, list):
        return change(value)
    return list(dict.fromkeys(change(entry) for entry in (value[0], value[-1])))


def _shrunk_run(own: dict, grammars: dict, sizes: dict, folder: str) -> dict:
    text = own.get("text") is not None
    changed = dict(FIXED) | {"num_train": _few(own.get("num_train", 8192), lambda size: sizes[text, size])}
    for name in ("rules_seed", "sample_seed", "model_seed", "visible_tokens"):
        if isinstance(own.get(name), list):
            changed[name] = _few(own[name])
    steps = sorted(_listed(own.get("max_steps", 2000)), reverse=True)
    changed["max_steps"] = [6, 3] if len(steps) > 1 else 3
    if own.get("diffusion_steps"):
        changed["diffusion_steps"] = 3
    if text:
        length = {entry: min(entry, 11) for entry in _listed(own.get("context_length", 64))}
        changed |= {"context_length": _few(own.get("context_length", 64), length.get), "stride": 1}
        changed["text"] = str(_toy_text(Path(folder), str(own["text"])))
    elif "grammar" in own:
        changed["grammar"] = _few(own["grammar"], grammars.get)
    return changed | _shrunk_model(own)


def _shrunk_model(own: dict) -> dict:
    """Its widths, and the learning rate of SGD, which in the mean-field scaling goes with the width."""
    overrides, model_type = dict(own.get("config_overrides") or {}), own.get("model_type", "gpt2")
    if isinstance(model_type, list):
        raise ValueError(f"model_type={model_type}: name several models under variants, each with its configuration")
    known = AutoConfig.for_model(model_type).to_dict()
    width = overrides.get("hidden_size")
    overrides |= {name: size for name, size in SIZES.items() if name in known}
    for name in DEPTHS:
        if name in known and "filter_size" not in known:  # a layer a level otherwise
            overrides[name] = min(overrides.get(name, 2), 2)
    found = {"config_overrides": overrides}
    if own.get("optimizer") == "sgd" and width:
        found["learning_rate"] = own["learning_rate"] * SIZES["hidden_size"] / width
    return found


def _tiny_sizes(runs) -> dict:
    """Every num_train to a small one in the same order, sentences and characters apart."""
    found = {}
    for text in (False, True):
        mine = [own for own in runs if (own.get("text") is not None) == text]
        sizes = sorted({size for own in mine for size in _listed(own.get("num_train", 8192))})
        found |= {(text, size): SMALLEST[text] + STEP[text] * rank for rank, size in enumerate(sizes)}
    return found


def _tiny_grammars(runs) -> dict[str, str]:
    """Names of small grammars: v and m shrink, different m stay different, all else stays."""
    names = {name for own in runs for name in _listed(own.get("grammar", "v16-m4-s2-L3"))}
    found, parts = {name: name for name in names}, {name: RHM.fullmatch(name) for name in names}
    square = sorted({int(p[2]) for p in parts.values() if p and p[1] == p[2]})
    others = sorted({int(p[2]) for p in parts.values() if p and p[1] != p[2]})
    for name, p in parts.items():
        if p and p[1] == p[2]:
            small = 4 + square.index(int(p[2]))
            found[name] = f"v{small}-m{small}-{p[3]}"
        elif p:
            found[name] = f"v{max(8, 2 * len(others) + 4)}-m{2 + others.index(int(p[2]))}-{p[3]}"
    return found


def _toy_text(folder: Path, name: str) -> Path:
    """Random words, so that letters have correlations; the file is called like the text it stands for."""
    path = folder / f"{Path(name).stem}.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        chosen = np.random.default_rng(0).integers(0, len(WORDS), 3000)
        path.write_text(" ".join(WORDS[i] for i in chosen))
    return path
