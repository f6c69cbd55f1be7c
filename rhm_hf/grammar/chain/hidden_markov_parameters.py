"""Parameters and short names of hidden Markov sources, and the random laws of their tokens."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...checks import SEED_LIMIT, check_integer, check_number
from ..layered.parameters import MAX_VOCAB_SIZE, NUMBER
from ..layered.random_rules import _words


TABLE_LIMIT = 2**24  # entries of the transitions, and of the emissions, of a hidden Markov source
_HMM = re.compile(rf"hmm-v(\d+)-h(\d+)-m(\d+)-d(\d+)-p({NUMBER})")


@dataclass(frozen=True)
class HiddenMarkovParameters:
    """A hidden Markov source whose correlations decay exponentially: the control for the tree's power law.

    A state stays with probability λ and is drawn anew, uniformly, otherwise; each state writes one of m tokens, which
    are drawn at random for every state, so that states share tokens and are hidden. The correlation of two tokens at
    distance t is λ^t times a matrix that does not depend on t.

    Args:
        vocab_size (`int`): v, the number of tokens.
        num_states (`int`): h, hidden states.
        num_synonyms (`int`): m, equiprobable tokens of a state, 1..v.
        sentence_length (`int`): d, tokens.
        persistence (`float`): λ, 0..1.
        rules_seed (`int`, *optional*, defaults to 0): picks the tokens of every state.

    Raises:
        `ValueError`: if a value is out of range.
    """

    vocab_size: int
    num_states: int
    num_synonyms: int
    sentence_length: int
    persistence: float
    rules_seed: int = 0

    def __post_init__(self):
        def set_checked(name, minimum, limit=None):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), minimum, limit))

        set_checked("vocab_size", 1, MAX_VOCAB_SIZE)
        set_checked("num_states", 1, MAX_VOCAB_SIZE)
        set_checked("num_synonyms", 1, self.vocab_size + 1)
        set_checked("sentence_length", 1, 2**31)
        set_checked("rules_seed", 0, SEED_LIMIT)
        object.__setattr__(self, "persistence", check_number("persistence", self.persistence, 0, 1))
        if self.num_states * max(self.num_states, self.vocab_size) > TABLE_LIMIT:
            raise ValueError(
                f"num_states={self.num_states} with vocab_size={self.vocab_size} is too many: their laws would have "
                f"more than {TABLE_LIMIT} entries"
            )

    @property
    def name(self) -> str:
        """The short name, `hmm-v16-h8-m4-d8-p0.5`; it does not include `rules_seed`."""
        return (
            f"hmm-v{self.vocab_size}-h{self.num_states}-m{self.num_synonyms}-d{self.sentence_length}"
            f"-p{self.persistence!r}"
        )

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "HiddenMarkovParameters":
        """Parses a short name."""
        match = _HMM.fullmatch(name)
        if match is None:
            raise ValueError(
                f"name={name!r} is not a hidden Markov source's short name: write hmm-v<vocab_size>-h<num_states>"
                "-m<num_synonyms>-d<sentence_length>-p<persistence>, for example hmm-v16-h8-m4-d8-p0.5"
            )
        return cls(*map(int, match.groups()[:4]), float(match[5]), rules_seed)

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        return {"kind": "hmm", **asdict(self)}


def random_emissions(parameters: HiddenMarkovParameters) -> np.ndarray:
    """The law of the token in every hidden state: m different ones, equally probable; float64 `(states, v)`."""
    p = parameters
    order = _words(p.rules_seed, 0).random_raw(p.num_states * p.vocab_size).reshape(p.num_states, p.vocab_size)
    chosen = np.argsort(order, axis=1, kind="stable")[:, : p.num_synonyms]
    emissions = np.zeros((p.num_states, p.vocab_size))
    np.put_along_axis(emissions, chosen, 1 / p.num_synonyms, axis=1)
    return emissions
