"""Rules, sentences and derivations, on one thread, against the same work level by level in torch."""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.timing import Row, compare
from rhm_hf.grammar import Grammar, GrammarParameters


def plain_sample(grammar: Grammar, num: int) -> torch.Tensor:
    """A random rule for every node of a level, then one look-up: shape `(num, sentence_length)`."""
    symbols = torch.randint(0, grammar.num_classes, (num, 1))
    for rules in grammar.rules:
        rules = torch.tensor(rules, dtype=torch.int64)
        choices = torch.randint(0, rules.shape[1], symbols.shape)
        symbols = rules[symbols, choices].reshape(num, -1)
    return symbols


def plain_parse(grammar: Grammar, tokens: torch.Tensor, tables: list[torch.Tensor]) -> list[torch.Tensor]:
    """Pairs to parents through one table a level."""
    levels = [tokens]
    for level, table in enumerate(tables, start=1):
        pairs = levels[-1].reshape(len(tokens), -1, 2)
        levels.append(table[pairs[..., 0] * grammar.num_symbols_at(level - 1) + pairs[..., 1]])
    return levels


def pair_tables(grammar: Grammar) -> list[torch.Tensor]:
    tables = []
    for level in range(1, grammar.depth + 1):
        rules, below = grammar.rules_at(level), grammar.num_symbols_at(level - 1)
        table = torch.full((below**2,), -1)
        parents = np.repeat(np.arange(len(rules)), rules.shape[1])
        table[torch.tensor(rules[..., 0] * below + rules[..., 1]).ravel().long()] = torch.tensor(parents)
        tables.append(table)
    return tables


def plain_rules(p: GrammarParameters) -> list[torch.Tensor]:
    """Lists all tuples and takes a random choice of them."""
    tuples = torch.cartesian_prod(*[torch.arange(p.vocab_size)] * p.tuple_size)
    shape = (p.vocab_size, p.num_synonyms, p.tuple_size)
    return [tuples[torch.randperm(len(tuples))[: shape[0] * shape[1]]].reshape(shape) for _ in range(p.depth)]


def peak_bytes(function: Callable[[], object]) -> int:
    """Peak of what numpy allocates during one call."""
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def sampling_row(name: str, num: int, goal: str, **arguments) -> Row:
    grammar = Grammar.from_name(name)
    what = arguments["sampling"] + (", disjoint splits" if "disjoint" in arguments else "")
    row = compare(
        f"{num} sentences of {name}, {what}",
        lambda: grammar.sample(num, **arguments),
        lambda: plain_sample(grammar, num),
        goal,
    )
    tokens = num * grammar.sentence_length
    peak = peak_bytes(lambda: grammar.sample(num, **arguments)) / (tokens * grammar.token_dtype.itemsize)
    note = (
        f"{tokens / row.ours / 1e6:.0f} M tokens/s (plain {tokens / row.plain / 1e6:.0f}), memory {peak:.2f}x output"
    )
    return Row(row.name, row.ours, row.plain, row.ratio, goal, note)


def family_row(name: str, uniform: str, num: int, goal: str) -> Row:
    """Seconds a token of a family, both drawn with replacement; plain is the uniform model of the same size."""
    ours, plain = Grammar.from_name(name), Grammar.from_name(uniform)
    row = compare(
        f"{num} sentences of {name}, iid, vs {uniform}",
        lambda: ours.sample(num, sampling="iid"),
        lambda: plain.sample(num, sampling="iid"),
        goal,
    )
    tokens, plain_tokens = num * ours.sentence_length, num * plain.sentence_length
    ratio = row.ratio * tokens / plain_tokens
    peak = peak_bytes(lambda: ours.sample(num, sampling="iid")) / (tokens * ours.token_dtype.itemsize)
    return Row(
        row.name,
        row.ours,
        row.plain,
        ratio,
        goal,
        f"{tokens / row.ours / 1e6:.0f} M tokens/s, ratio per token, memory {peak:.2f}x output",
    )


def disjoint_row(name: str, num: int) -> Row:
    """Splits that share no sentence against splits that may; plain is the latter."""
    grammar = Grammar.from_name(name)
    return compare(
        f"{num} sentences of {name}, iid, disjoint splits, vs iid",
        lambda: grammar.sample(num, sampling="iid", disjoint=True),
        lambda: grammar.sample(num, sampling="iid"),
        ">= 0.5",
    )


def parsing_row(name: str, num: int) -> Row:
    grammar = Grammar.from_name(name)
    tokens, tables = grammar.sample(num), pair_tables(grammar)
    wide = torch.tensor(tokens, dtype=torch.int64)
    row = compare(
        f"derivations of {num} sentences of {name}",
        lambda: grammar.parse(tokens),
        lambda: plain_parse(grammar, wide, tables),
        ">= 20 M tokens/s",
    )
    return Row(row.name, row.ours, row.plain, row.ratio, row.goal, f"{tokens.size / row.ours / 1e6:.0f} M tokens/s")


def rules_row(name: str, goal: str, repeats: int) -> Row:
    p = GrammarParameters.from_name(name)
    row = compare(f"rules of {name}", lambda: p.draw_rules(), lambda: plain_rules(p), goal, repeats)
    note = f"memory {peak_bytes(lambda: p.draw_rules()) / 1e6:.1f} MB"
    return Row(row.name, row.ours, row.plain, row.ratio, goal, note)


def rows() -> Iterator[Row]:
    """The table of this module."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield sampling_row("v32-m8-s2-L4", 10**6, ">= 15, aim 25", sampling="iid")
        yield sampling_row("v32-m8-s2-L4", 10**6, ">= 10, aim 25", sampling="unique")
        for name, num in (
            ("v32-m11-s2-L4", 10**6),
            ("v16-m4-s2-L6", 200_000),
            ("v32-m8-s2-L10", 20_000),
            ("v64-m8-s4-L4", 50_000),
        ):
            for sampling in ("iid", "unique"):
                yield sampling_row(name, num, "-", sampling=sampling)
        yield sampling_row("v32-m8-s2-L4", 10**6, "-", sampling="iid", disjoint=True)
        yield disjoint_row("v32-m8-s2-L4", 10**6)
        for name, uniform, num, goal in (
            ("v32-m8-s2-L4-zipf1.0@1", "v32-m8-s2-L4", 10**6, ">= 0.33"),
            ("v32-m8-s2-L4-zipf1.0", "v32-m8-s2-L4", 10**6, ">= 0.33"),
            ("v16-m4-s2-L6-zipf1.0", "v16-m4-s2-L6", 200_000, ">= 0.33"),
            ("v64-m8-s4-L4-zipf1.0", "v64-m8-s4-L4", 50_000, ">= 0.33"),
            ("v8-m4-s2-L3-sparse1", "v8-m4-s2-L6", 200_000, ">= 0.33"),
            ("v32-m8-s2-L4-sparse1", "v32-m8-s2-L8", 100_000, ">= 0.33"),
            ("v32-m8-s2-L4-sparse1b", "v32-m8-s2-L8", 100_000, ">= 0.33"),
            ("v16-m4-s2-L3-sparse3", "v16-m4-s2-L9", 50_000, ">= 0.33"),
            ("v16-m4-s2-L6-cut2", "v16-m4-s2-L6", 200_000, ">= 0.33"),
            ("hmm-v16-h16-m4-d64-p0.5", "v16-m4-s2-L6", 200_000, ">= 0.33"),
        ):
            yield family_row(name, uniform, num, goal)
        yield parsing_row("v32-m8-s2-L4", 10**6)
        yield rules_row("v64-m8-s4-L4", "< 0.2 s, < 100 MB", repeats=3)
        yield rules_row("v256-m256-s2-L3", "< 0.05 s", repeats=7)
    finally:
        torch.set_num_threads(threads)
