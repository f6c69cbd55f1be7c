"""What `benchmarks/scaling.py` measures: for every piece of work one axis at a time, everything else held.

A study is a call for every size of its axis. `units` is what the time of a call is divided by where a size changes the
amount of work that is asked for (tokens, mostly), so that an exponent of 0 means a constant cost per token.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.inference import next_token_probs, posteriors, prefix_probs
from rhm_hf.statistics import PairCounts


HIDDEN = 0.15  # of the tokens, for posteriors
SENTENCES = 64  # of a call, of general grammars


@dataclass(frozen=True)
class Call:
    """One size of a study.

    Args:
        run (`Callable`): what is timed.
        units (`float`): tokens (steps, sentences) of a call.
        bytes (`float`): that a call reads and writes at the least: its input and its result.
    """

    run: Callable[[], Any]
    units: float
    bytes: float


@dataclass(frozen=True)
class Study:
    """Time against one axis.

    Args:
        work (`str`): what is done.
        axis (`str`): what varies, and what is held.
        unit (`str`): of the time: a token, a step.
        sizes (`tuple[int, ...]`): of the axis, ascending.
        make (`Callable`): the call of a size; `num` tokens, about.
    """

    work: str
    axis: str
    unit: str
    sizes: tuple[int, ...]
    make: Callable[[int], Call]


AXES: dict[str, tuple[tuple[int, ...], Callable[[int], str]]] = {
    "v; m = 4, s = 2, L = 6": ((8, 16, 32, 64, 128, 256), lambda v: f"v{v}-m4-s2-L6"),
    "m; v = 64, s = 2, L = 6": ((2, 4, 8, 16, 32, 64), lambda m: f"v64-m{m}-s2-L6"),
    "s; v = 16, m = 4, d = 4096": ((2, 4, 8, 16), lambda s: f"v16-m4-s{s}-L{round(math.log(4096, s))}"),
    "d = 2^L; v = 16, m = 4, s = 2": ((16, 64, 256, 1024, 4096), lambda d: f"v16-m4-s2-L{d.bit_length() - 1}"),
}
LAWS = {"sampling": 2**23, "next-token laws": 2**16, "posteriors, 15 % hidden": 2**15}  # tokens of a call
CHARTS = {
    "pcfg-dyck2": (32, 64, 128, 256),
    "pcfg-arithmetic": (32, 64, 128, 256),
    "pcfg-palindromes": (16, 32, 64),
    "pcfg-v3-m2-s2.3-L6": (150, 225, 300, 375),
}


def sampled(name: str, tokens: int) -> Call:
    grammar = Grammar.from_name(name)
    num = max(1, tokens // grammar.sentence_length)
    units = num * grammar.sentence_length
    return Call(lambda: grammar.sample(num, sampling="iid"), units, units * grammar.token_dtype.itemsize)


def _sentences(name: str, tokens: int) -> tuple[Grammar, torch.Tensor]:
    grammar = Grammar.from_name(name)
    rows = grammar.sample(max(1, tokens // grammar.sentence_length), sampling="iid")
    return grammar, torch.from_numpy(rows.astype(np.int64))


def next_tokens(name: str, tokens: int) -> Call:
    grammar, rows = _sentences(name, tokens)
    size = rows.numel() * (8 + 4 * grammar.vocab_size)
    return Call(lambda: next_token_probs(grammar, rows, dtype=torch.float32), rows.numel(), size)


def hidden(name: str, tokens: int) -> Call:
    grammar, rows = _sentences(name, tokens)
    mask = torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) < HIDDEN
    nodes = sum(grammar.num_symbols_at(level) / grammar.block_length(level) for level in range(grammar.depth + 1))
    size = rows.numel() * (9 + 4 * nodes)
    return Call(lambda: posteriors(grammar, rows, mask, dtype=torch.float32), rows.numel(), size)


def charted(name: str, length: int) -> Call:
    """Sentences of a general grammar whose lengths are nearest to one."""
    grammar = Grammar.from_name(name)
    rows, lengths = grammar.sample(4000, sampling="iid", return_lengths=True)
    nearest = np.argsort(np.abs(lengths - length), kind="stable")[:SENTENCES]
    kept = [rows[i, : lengths[i]].tolist() for i in nearest]
    tokens = sum(map(len, kept))
    return Call(lambda: prefix_probs(grammar, kept), tokens, tokens * 8 * (2 + grammar.vocab_size))


def counted(length: int, vocab_size: int = 64, distances: int = 8) -> Call:
    tokens = np.random.default_rng(0).integers(0, vocab_size, length).astype(np.int32)
    block = max(1, length // 32)

    def run() -> PairCounts:
        return PairCounts(range(1, distances + 1), vocab_size, block_length=block).add(tokens)

    return Call(run, length, tokens.nbytes * distances)


def trained(grammar: str, folder: str, **others: Any) -> Call:
    """Steps of the package's loop: GPT-2 of width 64 and three layers."""
    from rhm_hf.training import Arguments
    from rhm_hf.training.run.loop import Run

    model = {"model_type": "gpt2", "config_overrides": {"n_embd": 64, "n_layer": 3, "n_head": 4}}
    values = {"grammar": grammar, "num_threads": 1, "output_dir": folder, "max_steps": 10**6} | others
    run = Run(Arguments.from_dict(model | values))
    run.model.train()
    weights = sum(p.numel() for p in run.model.parameters())
    return Call(run.train_step, 1, 7 * 4 * weights)  # weights, gradients and two moments read, three of them written


def studies(folder: str, tiny: bool = False) -> Iterator[Study]:
    """All of them; tiny ones have the two smallest sizes and few tokens."""

    def study(work: str, axis: str, sizes: tuple[int, ...], make: Callable[[int], Call], unit: str = "token") -> Study:
        return Study(work, axis, unit, sizes[:2] if tiny else sizes, make)

    few = 2**8 if tiny else None
    for work, function in (
        ("sampling", sampled),
        ("next-token laws", next_tokens),
        ("posteriors, 15 % hidden", hidden),
    ):
        tokens = few or LAWS[work]
        for axis, (sizes, name) in AXES.items():
            yield study(work, axis, sizes, lambda x, f=function, n=name, t=tokens: f(n(x), t))
        amounts = tuple(max(128, tokens >> k) for k in (6, 4, 2, 0))
        yield study(work, "tokens in all; (16, 4, 2, 6)", amounts, partial(function, "v16-m4-s2-L6"))
    for name, sizes in CHARTS.items():
        yield study("charts", f"text length; {name}", (8, 16) if tiny else sizes, partial(charted, name))
    yield study("charts", "L; (8, 2 pairs, 4 triples)", (2, 3, 4), lambda x: charted(f"trees-v8-s2m2-s3m4-L{x}", 3**x))
    pairs, amount = "pair counts", few or 2**20
    lengths = tuple(amount << k for k in (0, 2, 4))
    yield study(pairs, "text length; v = 64, 8 distances", lengths, lambda n: counted(n))
    yield study(pairs, "v; 8 distances", (16, 64, 256, 1024, 4096, 16384), lambda v: counted(amount, v))
    yield study(pairs, "distances; v = 64", (4, 16, 64, 256), lambda t: counted(amount, distances=t))
    size = 4 if tiny else 128  # of a batch
    others = {
        "batch_size": size,
        "num_train": 2 * size,
        "num_validation": size,
        "num_test": size,
        "kl_sentences": size,
    }

    def step(grammar: str, **more: Any) -> Call:
        return trained(grammar, f"{folder}/{grammar}-{more.get('num_train', '')}", **(others | more))

    work = "training step, 128 sentences"
    yield study(
        work,
        "d = 2^L; v = 16, m = 4, s = 2",
        (8, 16, 32, 64, 128),
        lambda d: step(AXES["d = 2^L; v = 16, m = 4, s = 2"][1](d)),
        "step",
    )
    yield study(work, "v; m = 4, s = 2, L = 3", (16, 64, 256, 1024), lambda v: step(f"v{v}-m4-s2-L3"), "step")
    yield study(work, "P; (32, 8, 2, 3)", (2**10, 2**14, 2**18), lambda p: step("v32-m8-s2-L3", num_train=p), "step")
