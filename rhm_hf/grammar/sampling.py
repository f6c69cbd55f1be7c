"""Sentences as a pure function of grammar, seed, split and index. (First version: plain numpy, to be replaced.)"""

import numpy as np


def sample(grammar, num, seed=0, split="train", sampling=None, start=0):
    rng = np.random.Generator(
        np.random.Philox(key=[seed, {"train": 0, "validation": 1, "test": 2, "evaluation": 3}[split]])
    )
    symbols = rng.choice(grammar.num_classes, p=grammar.root_probs, size=(start + num, 1))
    for rules, probs in zip(grammar.rules, grammar.rule_probs, strict=True):
        choice = (rng.random((*symbols.shape, 1)) > probs.cumsum(-1)[symbols][..., :-1]).sum(-1)
        symbols = rules[symbols, choice].reshape(start + num, -1)
    return symbols[start:].astype(grammar.token_dtype)


def parse(grammar, tokens):
    levels = [tokens]
    for level in range(1, grammar.depth + 1):
        tree = grammar.prefix_tree(level)
        flat = tree.find(levels[-1].reshape(len(tokens), -1, tree.tuple_size).astype(np.int64))
        if (flat < 0).any():
            raise ValueError("tokens hold an ungrammatical sentence")
        levels.append(flat // tree.rules_per_symbol)
    return levels
