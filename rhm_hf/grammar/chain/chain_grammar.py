"""Hidden Markov chains of blocks: filtered hierarchies, and hidden Markov sources, which have the same exact laws.

A chain of hidden states z_1, z_2, .. emits the symbols a_j of J nodes, and each node is the root of a tree of rules:

    P(x) = sum over z of P(z_1) prod_j P(a_j | z_j, j) P(block j | a_j) P(z_(j+1) | z_j).

- A [`~rhm_hf.grammar.FilteredGrammar`] has the root of a grammar as its state, which never changes; it emits the
  symbols of level k, each with its exact law given the root. Below level k all correlations of the grammar are kept;
  above it nothing is left but what the root does to each node.
- The states of a [`~rhm_hf.grammar.HiddenMarkovSource`] change, and its blocks are single tokens.

Blocks are unambiguous, so tokens determine the symbols a_j, but not the states: the derivation of a sampled sentence
draws those from their exact posterior.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...checks import NonNegativeIndex, NonNegativeInt, Seed, smallest_dtype
from ..fixed_tree import FixedTree
from ..layered import parsing
from ..layered.grammar import Grammar
from ..refusal import NotSupported
from . import chain_counts


if TYPE_CHECKING:
    from ..layered.prefix_tree import PrefixTree


STATE_CHUNK = 2**22  # entries of filtered laws of states that are held at a time


class ChainGrammar(FixedTree):
    """What the two have in common: the law above, with its sampling and its counts.

    Attributes:
        blocks ([`Grammar`]): the rules of levels 1 .. k below the symbols a_j; no rules where blocks are tokens. Its
            root law has no meaning.
        num_blocks (`int`): J.
        initial (`np.ndarray`): float64 `(states,)`, the law of the first state.
        transitions (`np.ndarray`, *optional*): float64 `(states, states)`, None where states stay what they are.
        emissions (`np.ndarray`): float64 `(J, states, symbols)`, or `(1, states, symbols)`, the same for all blocks.

    Levels 0 .. k are those of the blocks. Above them is the root, the chain's first state; where states change, the
    level k + 1 between the two has a node for the state of every block.
    """

    laws_class: ClassVar[str] = "rhm_hf.grammar.chain.chain_laws:ChainLaws"
    is_equiprobable = False  # nor are there indices for sentences: `unique` sampling is refused

    def _set_chain(self, blocks: Grammar, initial, transitions, emissions, num_blocks: int) -> None:
        self.blocks: Grammar = blocks
        self.num_blocks: int = num_blocks
        self.initial: np.ndarray = initial
        self.transitions: np.ndarray | None = transitions
        self.emissions: np.ndarray = emissions
        for array in (initial, transitions, emissions):
            if array is not None:
                array.setflags(write=False)

    def emission(self, block: int) -> np.ndarray:
        """P(a_j | z_j) of block j = 0 .. J-1: `(states, symbols)`."""
        return self.emissions[min(block, len(self.emissions) - 1)]

    # Shape.

    @property
    def cut(self) -> int:
        """k, the level of the symbols that the chain emits."""
        return self.blocks.depth

    @property
    def depth(self) -> int:
        """L, the level of the root: k + 1, or k + 2 where states change."""
        return self.cut + (1 if self.transitions is None else 2)

    @property
    def parsed_depth(self) -> int:
        """k: tokens determine the blocks' symbols, and not the states."""
        return self.cut

    @property
    def vocab_size(self) -> int:
        """v, the number of tokens."""
        return self.blocks.vocab_size

    @property
    def num_states(self) -> int:
        """The number of hidden states of the chain."""
        return len(self.initial)

    @property
    def sentence_length(self) -> int:
        """d, in tokens."""
        return self.num_blocks * self.blocks.sentence_length

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0..L."""
        return self.blocks.num_symbols_at(level) if self._checked_level(level, 0) <= self.cut else self.num_states

    def tuple_size_at(self, level: int) -> int:
        """The number of children of a level-`level` node, 1..L."""
        if self._checked_level(level, 1) <= self.cut:
            return self.blocks.tuple_size_at(level)
        return self.num_blocks if level == self.depth else 1

    def block_length(self, level: int) -> int:
        """The number of tokens below one node of a level, 0..L."""
        if self._checked_level(level, 0) == self.depth:
            return self.sentence_length
        return self.blocks.block_length(min(level, self.cut))

    def rules_at(self, level: int) -> np.ndarray:
        """The rules that expand a level-`level` symbol, 1..k: int32 `(symbols, rules, children)`."""
        return self._rules_of("rules_at", level)

    def rule_probs_at(self, level: int) -> np.ndarray:
        """The probabilities of `rules_at(level)`, 1..k: float64 `(symbols, rules)`."""
        return self._rules_of("rule_probs_at", level)

    def prefix_tree(self, level: int) -> "PrefixTree":
        """The prefix tree of `rules_at(level)`, 1..k."""
        return self._rules_of("prefix_tree", level)

    def _rules_of(self, function: str, level: int):
        if self._checked_level(level, 1) > self.cut:
            raise NotSupported(
                f"a list of rules of level {level}",
                self,
                f"above level {self.cut} it is a hidden Markov chain",
                "take a grammar with rules at every level",
            )
        return getattr(self.blocks, function)(level)

    # Laws.

    @cached_property
    def num_sentences(self) -> int | float:
        """The exact number of sentences of positive probability; `math.inf` where it takes too long to count them."""
        return chain_counts.count_sentences(self)

    @cached_property
    def _entropy(self) -> tuple[float, float]:
        return chain_counts.entropy(self)

    @property
    def entropy(self) -> float:
        """Entropy of a sentence in nats: exact where `entropy_stderr` is 0, else a mean over sampled sentences.

        There is no closed form: a sentence's probability is a sum over the hidden states. What is averaged is not
        -log P but the exact entropy of every block given those before it, and that of the rules is exact.
        """
        return self._entropy[0]

    @property
    def entropy_stderr(self) -> float:
        """Standard error of `entropy`; 0 where all sequences of blocks were visited."""
        return self._entropy[1]

    @cached_property
    def num_derivations(self) -> int:
        """The exact number of choices of states, symbols and rules of positive probability."""
        return chain_counts.count_derivations(self)

    @cached_property
    def derivation_entropy(self) -> float:
        """Entropy of states, symbols and rules together in nats, exact."""
        return chain_counts.derivation_entropy(self)

    @cached_property
    def state_marginals(self) -> np.ndarray:
        """The law of the state of every block: `(J, states)`."""
        laws = [self.initial]
        for _ in range(1, self.num_blocks):
            laws.append(laws[-1] if self.transitions is None else laws[-1] @ self.transitions)
        return np.array(laws)

    # Sentences.

    @cached_property
    def sampling_plan(self):
        """How random numbers become sentences, built once: a [`~rhm_hf.grammar.chain.chain_plan.ChainPlan`]."""
        from .chain_plan import ChainPlan  # numba takes a moment to import

        return ChainPlan(self)

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The levels 0 .. k, which the tokens determine; the states above have a posterior, see `derivations`.

        Args:
            tokens (`np.ndarray`): integers of shape `(num, sentence_length)`.

        Raises:
            `ValueError`: if a sentence has probability 0; it names the first one whose blocks no rule derives.
        """
        levels = self._block_levels(tokens)
        draws = np.zeros((len(levels[0]), self._draws), dtype=np.uint64)
        self._states(levels[-1], lambda start, num: draws[start : start + num])
        return levels

    def derivations(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: Any = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> list[np.ndarray]:
        """The derivations of the sentences of `sample`: entry ℓ = 0..L of shape `(num, nodes at level ℓ)`.

        The tokens do not determine the states. These are drawn from their exact posterior given the sentence, with
        random numbers of another stream, so that sentences and states have their joint law and are a function of the
        same arguments.
        """
        from ..sentences.permutation import philox_key
        from ..sentences.sampling import random_numbers

        levels = self._block_levels(self.sample(num, seed, split, sampling, start, disjoint))
        key = philox_key(seed, f"states{split[:2]}")
        states = self._states(levels[-1], lambda first, size: random_numbers(key, start + first, size, self._draws))
        dtype = smallest_dtype(self.num_states)
        return [*levels, *([] if self.transitions is None else [states.astype(dtype)]), states[:, :1].astype(dtype)]

    @property
    def _draws(self) -> int:
        """Numbers that the states of a sentence take."""
        return 1 if self.transitions is None else self.num_blocks

    def _block_levels(self, tokens) -> list[np.ndarray]:
        tokens = parsing.checked_tokens(self, tokens)
        levels, failure = parsing.parsed_levels(self.blocks, tokens.reshape(-1, self.blocks.sentence_length))
        if failure is not None:
            parsing.refuse(self, tokens, failure[0] // self.num_blocks, failure[1])
        return [level.reshape(len(tokens), level.size // max(1, len(tokens))) for level in levels]

    def _states(self, symbols: np.ndarray, numbers) -> np.ndarray:
        """States `(num, 1)` or `(num, J)` given the blocks' symbols; `numbers(start, num)` are uniform."""
        from . import state_kernels

        states = np.empty((len(symbols), self._draws), dtype=np.int64)
        step = max(1, STATE_CHUNK // (self.num_blocks * self.num_states))
        stay = self.transitions is None
        for begin in range(0, len(symbols), step):
            part = slice(begin, begin + step)
            failed = state_kernels.draw_states(
                symbols[part].astype(np.int64),
                self.initial,
                np.eye(1) if stay else self.transitions,
                stay,
                self.emissions,
                numbers(begin, len(symbols[part])),
                states[part],
            )
            if failed >= 0:
                raise ValueError(
                    f"tokens[{begin + failed}] is ungrammatical: every block is possible in {self.name}, but not all "
                    "of them in one sentence"
                )
        return states

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """See [`~rhm_hf.grammar.enumeration.enumerate_sentences`]."""
        return chain_counts.enumerate_chain(self)

    def shape(self) -> dict[str, str]:
        """What a card says about the shape."""
        return {
            "levels of rules in a block k": str(self.cut),
            "blocks": str(self.num_blocks),
            "hidden states": str(self.num_states),
        }
