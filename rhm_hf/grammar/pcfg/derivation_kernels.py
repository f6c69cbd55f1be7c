"""The numba kernels of sampling: random numbers to derivations, derivations to tokens.

Sentence i has a stream of its own: number g is the lane g mod 4 of Philox4x64-10 at the counter (i + 1, attempt,
g div 4, 0), so sentences need not know how many numbers the others take. A symbol with several rules takes one number,
by the alias method.
"""

import numpy as np

from ..sentences.philox import compiled, multiply, philox, pick


@compiled
def derive(
    key, attempt, indices, vocab_size, starts, rights, first_rules, limits, aliases, tokens, rules, stack, ends, done
):
    """Derives the sentences `indices[done:]`, leftmost symbol first, while there is room.

    Args:
        starts, rights, first_rules (int arrays): see [`~rhm_hf.grammar.pcfg.production_rules.Rules`].
        limits (uint64 array), aliases (int64 array): `(rules,)`, alias tables within each symbol's rules.
        tokens, rules (int32 arrays): filled with the tokens and the rules of all sentences, one after the other.
        stack (int64 array): working space.
        ends (int64 array): `(sentences + 1, 2)`, row i + 1 filled with the ends of sentence i in `tokens` and `rules`.
        done (int): how many sentences are derived already.

    Returns:
        The number of sentences that are derived; less than `len(indices)` where an array is too short.
    """
    for s in range(done, indices.shape[0]):
        num_tokens, num_rules = ends[s, 0], ends[s, 1]
        number, four = np.uint64(0), (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        stack[0] = vocab_size
        depth = 1
        while depth > 0:
            depth -= 1
            code = stack[depth]
            if code < vocab_size:
                if num_tokens == tokens.shape[0]:
                    return s
                tokens[num_tokens] = code
                num_tokens += 1
                continue
            first, last = first_rules[code - vocab_size], first_rules[code - vocab_size + 1]
            rule = first
            if last - first > 1:
                if number & np.uint64(3) == np.uint64(0):
                    four = philox(np.uint64(indices[s]) + np.uint64(1), attempt, number >> np.uint64(2), key)
                column, fraction = multiply(pick(four, number & np.uint64(3)), np.uint64(last - first))
                number += np.uint64(1)
                rule = first + np.int64(column)
                if fraction >= limits[rule]:
                    rule = aliases[rule]
            if num_rules == rules.shape[0] or depth + starts[rule + 1] - starts[rule] > stack.shape[0]:
                return s
            rules[num_rules] = rule
            num_rules += 1
            for position in range(starts[rule + 1] - 1, starts[rule] - 1, -1):
                stack[depth] = rights[position]
                depth += 1
        ends[s + 1, 0], ends[s + 1, 1] = num_tokens, num_rules
    return indices.shape[0]


@compiled
def pad_rows(tokens, ends, pad, padded):
    """Copies sentence i into `padded[i]` and fills up with `pad`."""
    for i in range(padded.shape[0]):
        length = ends[i + 1, 0] - ends[i, 0]
        for t in range(padded.shape[1]):
            padded[i, t] = tokens[ends[i, 0] + t] if t < length else pad
