"""Hidden Markov sources: correlations that decay exponentially, beside the tree's power law."""

from typing import Any

import numpy as np

from ...checks import check_integer
from ..layered.grammar import Grammar
from ..layered.parameters import MAX_VOCAB_SIZE
from ..layered.validation import law
from .chain_grammar import ChainGrammar


class HiddenMarkovSource(ChainGrammar):
    """Tokens written by a hidden Markov chain, with the interface of a grammar.

    Level 1 holds the state of every token, level 2 the first state, which is the class.

    Args:
        initial (array): `(states,)`, the law of the first state.
        transitions (array): `(states, states)`, row z the law of the state after z.
        emissions (array): `(states, vocab_size)`, row z the law of the token written in state z.
        sentence_length (`int`): d, tokens.
        parameters ([`HiddenMarkovParameters`], *optional*): of the ensemble it was drawn from.

    Raises:
        `ValueError`: for shapes that do not fit, or rows that are no probability laws.
    """

    family = "hidden_markov"

    def __init__(self, initial, transitions, emissions, sentence_length: int, parameters: Any = None):
        initial = law("initial", initial, (len(np.atleast_1d(initial)),))
        transitions = law("transitions", transitions, (len(initial), len(initial)))
        v = np.shape(emissions)[-1] if np.ndim(emissions) == 2 else 0
        emissions = law("emissions", emissions, (len(initial), v))
        check_integer("vocab_size", v, 1, MAX_VOCAB_SIZE)
        length = check_integer("sentence_length", sentence_length, 1, 2**31)
        self.parameters = parameters
        tokens = Grammar([], [], np.full(v, 1 / v), v)
        self._set_chain(tokens, initial, transitions, emissions[None].copy(), length)

    def arrays(self) -> dict[str, np.ndarray]:
        """`initial`, `transitions` and `emissions`."""
        return {"initial": self.initial, "transitions": self.transitions, "emissions": self.emissions[0]}

    def settings(self) -> dict[str, Any]:
        """The sentence length."""
        return {"sentence_length": self.sentence_length}

    @classmethod
    def from_arrays(cls, arrays, settings, parameters=None) -> "HiddenMarkovSource":
        """See [`Source.from_arrays`]."""
        names = ("initial", "transitions", "emissions")
        return cls(*(arrays[name] for name in names), settings["sentence_length"], parameters)
