"""The laws of a chain of blocks as tensors, built once for every chain, device and dtype."""

from collections.abc import Callable
from functools import cached_property

import torch

from ..laws.cache import cached_tables
from ..layered.laws.rule_tables import Tables, tables_for
from .chain_grammar import ChainGrammar


class ChainTables:
    """The laws of the chain, in float64, and the tables of its blocks' rules, in the dtype of the computation."""

    def __init__(self, grammar: ChainGrammar, device: torch.device, dtype: torch.dtype):
        def real(array):
            return torch.tensor(array, dtype=torch.float64, device=device)

        self.blocks: Tables = tables_for(grammar.blocks, device, dtype)
        self.num_blocks: int = grammar.num_blocks
        self.depth: int = grammar.depth
        self.cut: int = grammar.cut
        self.initial: torch.Tensor = real(grammar.initial)
        self.emissions: torch.Tensor = real(grammar.emissions)
        self.transitions: torch.Tensor | None = None if grammar.transitions is None else real(grammar.transitions)
        self.states: torch.Tensor = real(grammar.state_marginals)

    def emission(self, block: int) -> torch.Tensor:
        """`(states, symbols)` of block 0 .. J-1."""
        return self.emissions[min(block, len(self.emissions) - 1)]

    def forward(self, logs: torch.Tensor) -> torch.Tensor:
        """log sum over z of exp(logs_z) T(z, z'): `(n, states)` one block later."""
        return logs if self.transitions is None else _log_product(logs, self.transitions)

    def backward(self, logs: torch.Tensor) -> torch.Tensor:
        """log sum over z' of T(z, z') exp(logs_z'): `(n, states)` one block earlier."""
        return logs if self.transitions is None else _log_product(logs, self.transitions.t())

    @cached_property
    def marginals(self) -> list[torch.Tensor]:
        """Entry ℓ = 0..L of shape `(nodes at level ℓ, symbols)`: the law of every node given nothing."""
        roots = torch.stack([law @ self.emission(block) for block, law in enumerate(self.states)])
        above = [self.states[:1]] if self.transitions is None else [self.states, self.states[:1]]
        levels = [roots]
        for level in range(self.cut, 0, -1):
            t = self.blocks[level]
            weights = (levels[-1].unsqueeze(2) * t.rule_probs.double().view(t.num_symbols, -1)).flatten(1)
            children = weights.new_zeros(len(weights), t.tuple_size, t.num_child_symbols)
            for child in range(t.tuple_size):
                children[:, child].index_add_(1, t.rules[child], weights)
            levels.append(children.flatten(0, 1))
        return [*levels[::-1], *above]


chain_tables_for: Callable[..., ChainTables] = cached_tables(ChainTables)


def _log_product(logs: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    peak = logs.amax(1, keepdim=True).clamp(min=torch.finfo(logs.dtype).min)  # finite also where all are -inf
    return ((logs - peak).exp() @ matrix).log() + peak


def normalised_logs(logs: torch.Tensor) -> torch.Tensor:
    """Probabilities from logarithms `(n, choices)`; zeros where all are -inf."""
    peak = logs.amax(1, keepdim=True).clamp(min=torch.finfo(logs.dtype).min)
    weights = (logs - peak).exp()
    return weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(logs.dtype).tiny)


def log_emitted(tables: ChainTables, block: int, symbols: torch.Tensor) -> torch.Tensor:
    """log P(symbol | state), `(n, states)`; -inf for the dead symbol, which no rule derives."""
    padded = torch.nn.functional.pad(tables.emission(block), (0, 1))
    return padded.t().log()[symbols]
