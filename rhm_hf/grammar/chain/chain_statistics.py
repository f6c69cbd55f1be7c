"""Marginals, entropies, laws of two tokens and the likeliest states of chains of blocks."""

import numpy as np
import torch

from ..layered.grammar import Grammar
from ..layered.laws import pairs
from ..layered.laws.entropies import block_entropies
from ..layered.laws.rule_tables import tables_for
from ..layered.rule_entropies import subtree_entropies
from .chain_counts import laws_after_prefixes, laws_after_sampled_prefixes
from .chain_grammar import ChainGrammar
from .chain_tables import ChainTables, chain_tables_for, log_emitted


def node_marginals(grammar: ChainGrammar, level: int) -> torch.Tensor:
    return chain_tables_for(grammar, torch.device("cpu")).marginals[level].clone()


def plateau(grammar: ChainGrammar, level: int) -> float:
    """Exact below the root; at the root `grammar.entropy` over d, which may be an estimate."""
    if level == grammar.depth:
        return grammar.entropy / grammar.sentence_length
    level = min(level, grammar.cut)
    marginals = node_marginals(grammar, level)
    below = torch.from_numpy(subtree_entropies(grammar.blocks, level))
    total = torch.special.entr(marginals).sum() + (marginals @ below).sum()
    return float(total) / grammar.sentence_length


def position_entropies(grammar: ChainGrammar, level: int) -> torch.Tensor:
    """Exact below the root; there a mean over the prefixes of sampled sentences where `grammar.entropy` is one."""
    tables = tables_for(grammar.blocks, torch.device("cpu"))
    if level < grammar.depth:
        level = min(level, grammar.cut)
        return torch.cat([block_entropies(tables, law[None], level) for law in node_marginals(grammar, level)])
    if grammar.entropy_stderr:
        # the prefixes of blocks are sampled, the tokens within a block are not
        joints = [law / len(law) for law in laws_after_sampled_prefixes(grammar)]
    else:
        joints = laws_after_prefixes(grammar)
    return torch.cat([block_entropies(tables, torch.from_numpy(joint), grammar.cut) for joint in joints])


def pair_law(chain: ChainGrammar, i: int, j: int, level: int = 0) -> np.ndarray:
    """P(token i's ancestor of a level 0..k is a, token j is b): `(symbols, v)`.

    Of one block, given its root's law; of two blocks, by way of their states.
    """
    size, roots = chain.blocks.sentence_length, node_marginals(chain, chain.cut).numpy()
    (first, i), (second, j) = divmod(i, size), divmod(j, size)
    if first == second:
        block = Grammar(chain.blocks.rules, chain.blocks.rule_probs, roots[first], chain.vocab_size)
        return pairs.joint(block, i, level, j)
    states = np.diag(chain.state_marginals[min(first, second)])
    if chain.transitions is not None:
        states = states @ np.linalg.matrix_power(chain.transitions, abs(second - first))
    states = states if first < second else states.T
    above = chain.emission(first) @ pairs.descent(chain.blocks, i, chain.cut, level)
    return above.T @ states @ chain.emission(second) @ pairs.descent(chain.blocks, j, chain.cut)


def likeliest_states(tables: ChainTables, symbols: torch.Tensor) -> torch.Tensor:
    """The most probable states `(n, J)` given the blocks' symbols (Viterbi); the lowest of equals."""
    stay = tables.transitions is None
    best, came_from = tables.initial.log() + log_emitted(tables, 0, symbols[:, 0]), []
    for block in range(1, tables.num_blocks):
        if not stay:
            best, previous = (best[:, :, None] + tables.transitions.log()).max(1)
            came_from.append(previous)
        best = best + log_emitted(tables, block, symbols[:, block])
    states = [best.argmax(1)]
    if stay:
        return states[0][:, None].expand(-1, tables.num_blocks)
    for previous in reversed(came_from):
        states.append(previous.gather(1, states[-1][:, None])[:, 0])
    return torch.stack(states[::-1], 1)
