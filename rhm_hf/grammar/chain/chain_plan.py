"""How numbers become the sentences of a chain: the steps of [`~rhm_hf.grammar.plan.Plan`], with tables of their own.

A state is written to a slot as two numbers: the first of its rows in an emission table and in the table of the
transitions. A step reads it and writes the symbol of a block, whose tree follows as in a grammar; another writes the
next state. Where states stay, all blocks read one slot.
"""

from functools import cached_property

import numpy as np

from ..fixed_tree import FixedTree
from ..sentences.plan import NUMBER_LIMIT, STEP, Layout, Level, Plan, Step, _packed, composed_bottom, widest_view


class ChainPlan(Plan):
    """The tables and steps of a [`~rhm_hf.grammar.chain.ChainGrammar`]; attributes as in [`Plan`]."""

    def __init__(self, chain: FixedTree):
        *inner, last = _block_levels(chain)
        tree = [*inner, last]
        states, symbols = chain.num_states, chain.emissions.shape[2]
        every = np.arange(states)
        state = np.stack([every * symbols, every * states], axis=1)  # its rows of the next two tables
        emitted = np.arange(symbols)[:, None] * tree[0].rules.shape[1]
        levels = [
            Level(state[None], chain.initial[None]),
            *([] if chain.transitions is None else [Level(np.tile(state, (states, 1, 1)), chain.transitions)]),
            *(Level(np.tile(emitted, (states, 1, 1)), law) for law in chain.emissions),
        ]
        below = [
            Level(level.rules.astype(np.int64) * following.rules.shape[1], level.probs)
            for level, following in zip(inner, tree[1:], strict=True)
        ]
        largest = max(int(level.rules.max()) for level in [*levels, *below])
        bits = max(1, largest.bit_length())
        widest = max(level.rules.shape[2] for level in [*levels, *below])
        unit = np.dtype("u4" if widest * bits <= 32 else "u8")
        self._per_unit, self._bits = unit.itemsize * 8 // bits, bits
        self.mask: np.uint64 = np.uint64(2**bits - 1)
        tables = [_packed(level.rules, 1, bits, unit) for level in [*levels, *below]]
        self.middle: np.ndarray = np.concatenate([table.ravel() for table in tables])
        offsets = np.cumsum([0] + [table.size for table in tables]).tolist()
        tokens = last.rules.reshape(-1, last.rules.shape[2]).astype(chain.token_dtype)
        self.leaves: np.ndarray = widest_view(tokens)
        skews = self._alias_tables([*levels, *tree])
        self._tables = list(zip(tables, offsets, strict=False))
        self._radices, self._steps = [], []
        self._write(chain, len(levels), inner, last, skews)
        self.radices: np.ndarray = np.array(self._radices, dtype=np.uint64)
        self.block_size: int = min(max(2**16 // (chain.sentence_length * chain.token_dtype.itemsize), 64), 512)

    def _write(self, chain, num_levels: int, inner: list[Level], last: Level, skews: list[int]) -> None:
        """Appends the steps of the whole chain."""
        stay = chain.transitions is None
        per_state = self._tables[0][0].shape[1]
        written, state, symbol = 0, 1, 1 + 2 * per_state  # states take two places in turn
        first_slots = np.cumsum(
            [symbol + 1] + [self._tables[num_levels + h][0].shape[1] for h in range(len(inner))]
        ).tolist()

        def step(table: int, source: int, shift: int, target: int, radix: int, skew: int) -> None:
            entries, offset = self._tables[table]
            self._radices.append(radix)
            self._steps.append(Step(-1, source, shift, 0, target, entries.shape[1], offset, skew))

        def visit(height: int, source: int, shift: int) -> None:
            nonlocal written
            if height == len(inner):
                self._radices.append(last.rules.shape[1])
                units = self.leaves.shape[1]
                self._steps.append(Step(-1, source, shift, 1, written, units, 0, skews[num_levels + height]))
                written += units
                return
            slot = first_slots[height]
            step(num_levels + height, source, shift, slot, inner[height].rules.shape[1], skews[num_levels + height])
            for child in range(inner[height].rules.shape[2]):
                visit(height + 1, slot + child // self._per_unit, child % self._per_unit * self._bits)

        step(0, 0, 0, state, chain.num_states, skews[0])
        emissions = 1 if stay else 2  # the first of their tables
        for block in range(chain.num_blocks):
            table = emissions + min(block, len(chain.emissions) - 1)
            step(table, state, 0, symbol, chain.emissions.shape[2], skews[table])
            visit(0, symbol, 0)
            if not stay and block + 1 < chain.num_blocks:
                moved = 1 + per_state if state == 1 else 1
                step(
                    1, state + 1 // self._per_unit, 1 % self._per_unit * self._bits, moved, chain.num_states, skews[1]
                )
                state = moved

    @cached_property
    def drawn(self) -> Layout:
        """All numbers are drawn. A step without choice, such as from symbol to token, takes no number."""
        steps, products, skewed = np.array(self._steps, dtype=STEP), [], []
        for j, radix in enumerate(self._radices):
            is_skewed = self._steps[j].alias >= 0
            if j == 0 or (radix > 1 and (is_skewed or skewed[-1] or products[-1] * radix > NUMBER_LIMIT)):
                steps["number"][j] = len(products)
                products.append(1)
                skewed.append(is_skewed)
            products[-1] *= radix
        return Layout(steps, np.array(products, dtype=np.uint64), np.array(skewed), 0)

    @property
    def permuted(self) -> Layout:
        raise NotImplementedError("the sentences of a chain are not equally probable: none are permuted")


def _block_levels(chain) -> list[Level]:
    """The levels below a block's symbol, root first, composed from the bottom; one without choice for no rules."""
    blocks = chain.blocks
    if blocks.depth == 0:
        return [Level(np.arange(chain.vocab_size, dtype=np.int32)[:, None, None], np.ones((chain.vocab_size, 1)))]
    levels = [Level(r, p) for r, p in zip(blocks.rules, blocks.rule_probs, strict=True)]
    return composed_bottom(levels, chain.token_dtype)
