"""How random numbers become a sparse sentence: the digits of the base grammar's plan, then those of the placements.

Placements do not depend on the symbols, so their digits are uniform and their tables hold positions only. Adjacent
levels are composed as rules are in `plan`: one look-up places a whole block of informative tokens.
"""

import numpy as np

from ..fixed_tree import FixedTree
from ..sentences.plan import TABLE_BYTES, Layout, Plan, Step
from . import placing_kernels


class SparsePlan(Plan):
    """The plan of a [`~rhm_hf.grammar.sparse.SparseGrammar`]; digits come in the order of its sentences' indices.

    Attributes:
        tables (`np.ndarray`): uint32, the tables of all composed levels of placements, one after the other: in a row
            the distance in tokens from the beginning of a node to that of each of its informative children.

    The step of a placement reads a slot that holds the position of its node, and writes those of its `units`
    informative children, or the tokens themselves.
    """

    def __init__(self, grammar: FixedTree):
        super().__init__(grammar.base)
        self._base_length, self._base_dtype = grammar.base.sentence_length, grammar.base.token_dtype
        self._empty = grammar.token_dtype.type(grammar.empty_at(0))
        self._first = len(self._steps)
        tables = composed_placements(grammar)
        self.tables: np.ndarray = np.concatenate([table.ravel() for table in tables])
        starts = np.cumsum([0] + [table.size for table in tables]).tolist()
        first_slots = np.cumsum([1] + [table.shape[1] for table in tables]).tolist()
        radices, written = [], 0

        def visit(height: int, source: int):
            nonlocal written
            count, children = tables[height].shape
            radices.append(count)
            is_last = height + 1 == len(tables)
            target = written if is_last else first_slots[height]
            self._steps.append(Step(-1, source, 0, int(is_last), target, children, starts[height], -1))
            if is_last:
                written += children
                return
            for child in range(children):
                visit(height + 1, target + child)

        visit(0, 0)  # slot 0 holds the root's position, 0
        self.radices: np.ndarray = np.concatenate([self.radices, np.array(radices, dtype=np.uint64)])
        # Few rows for long sentences: the block being written stays in the first-level cache.
        self._sparse_block_size = min(max(2**15 // (grammar.sentence_length * grammar.token_dtype.itemsize), 16), 512)

    def expand(self, numbers: np.ndarray, layout: Layout, sentences: np.ndarray) -> None:
        """Writes the sentences of `numbers`, `(num, numbers)`, into `sentences`, `(num, sentence_length)`."""
        base_tokens = np.empty((len(numbers), self._base_length), dtype=self._base_dtype)
        base_layout = Layout(layout.steps[: self._first], layout.products, layout.is_skewed, layout.num_permuted)
        super().expand(numbers, base_layout, base_tokens)
        placing_kernels.place(
            numbers,
            layout.steps,
            self.radices,
            self._first,
            self.tables,
            base_tokens,
            self._empty,
            self._sparse_block_size,
            sentences,
        )


def composed_placements(grammar: FixedTree) -> list[np.ndarray]:
    """Tables of positions `(placements, informative children)`, root first, the lowest levels composed."""
    tables = [
        (grammar.placements_at(level).slots * grammar.block_length(level - 1)).astype(np.uint32)
        for level in range(grammar.depth, 0, -1)
    ]
    while len(tables) > 1:
        upper, lower = tables[-2:]
        rows, children = len(upper) * len(lower) ** upper.shape[1], upper.shape[1] * lower.shape[1]
        if rows * children * upper.itemsize > TABLE_BYTES:
            break
        # All choices of a row of `upper` and one of `lower` for each of its children, the last child's fastest.
        choices = np.unravel_index(np.arange(rows), (len(upper), *[len(lower)] * upper.shape[1]))
        below = np.stack([lower[choice] for choice in choices[1:]], 1)  # (rows, children, grandchildren)
        tables[-2:] = [(upper[choices[0]][:, :, None] + below).reshape(rows, -1)]
    return tables
