"""Hidden Markov sources: correlations that decay exponentially, beside the tree's power law."""

import re
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ...checks import MAX_VOCAB_SIZE, SEED_LIMIT, check_integer, check_number, checked
from .. import registry
from ..layered.grammar import Grammar
from ..layered.random_rules import raw_stream
from ..layered.validation import law
from ..names import FLOAT, Ensemble, set_integer
from .chain_grammar import ChainGrammar


TABLE_LIMIT = 2**24  # entries of the transitions, and of the emissions, of a hidden Markov source
LENGTH_LIMIT = 2**20  # tokens: laws are computed token by token
_HMM = re.compile(rf"hmm-v(\d+)-h(\d+)-m(\d+)-d(\d+)-p({FLOAT})")


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

    kind: ClassVar[str] = "hmm"
    names: ClassVar[re.Pattern[str]] = re.compile(r"hmm-.*")
    form: ClassVar[str] = (
        "hmm-v<vocab_size>-h<num_states>-m<num_synonyms>-d<sentence_length>-p<persistence>, for example "
        "hmm-v16-h8-m4-d8-p0.5"
    )
    wraps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        set_integer(self, "vocab_size", 1, MAX_VOCAB_SIZE)
        set_integer(self, "num_states", 1, MAX_VOCAB_SIZE)
        set_integer(self, "num_synonyms", 1, self.vocab_size + 1)
        set_integer(self, "sentence_length", 1, LENGTH_LIMIT + 1)
        set_integer(self, "rules_seed", 0, SEED_LIMIT)
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
    @checked
    def from_name(cls, name: str, rules_seed: int = 0) -> "HiddenMarkovParameters":
        """Parses a short name."""
        match = _HMM.fullmatch(name)
        if match is None:
            raise ValueError(f"name={name!r} is not a hidden Markov source's short name: write {cls.form}")
        return cls(*map(int, match.groups()[:4]), float(match[5]), rules_seed)

    @property
    def keywords(self) -> dict[str, Any]:
        """The values that `load_dataset("rhm", ..)` takes by keyword."""
        return {name: getattr(self, name) for name in ("vocab_size", "num_synonyms", "rules_seed")}

    def to_dict(self) -> dict[str, Any]:
        """The parameters, ready for JSON."""
        return {"kind": self.kind, **asdict(self)}


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

    def __init__(
        self, initial: Any, transitions: Any, emissions: Any, sentence_length: int, parameters: Ensemble | None = None
    ):
        initial = law("initial", initial, (len(np.atleast_1d(initial)),))
        transitions = law("transitions", transitions, (len(initial), len(initial)))
        v = np.shape(emissions)[-1] if np.ndim(emissions) == 2 else 0
        emissions = law("emissions", emissions, (len(initial), v))
        check_integer("vocab_size", v, 1, MAX_VOCAB_SIZE)
        length = check_integer("sentence_length", sentence_length, 1, LENGTH_LIMIT + 1)
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
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "HiddenMarkovSource":
        """See [`Source.from_arrays`]."""
        names = ("initial", "transitions", "emissions")
        return cls(*(arrays[name] for name in names), settings["sentence_length"], parameters)

    @classmethod
    def drawn_from(cls, parameters: HiddenMarkovParameters) -> "HiddenMarkovSource":
        """See [`Source.drawn_from`]."""
        p = parameters
        stay = p.persistence * np.eye(p.num_states) + (1 - p.persistence) / p.num_states
        start = np.full(p.num_states, 1 / p.num_states)
        return cls(start, stay, random_emissions(p), p.sentence_length, p)


def random_emissions(parameters: HiddenMarkovParameters) -> np.ndarray:
    """The law of the token in every hidden state: m different ones, equally probable; float64 `(states, v)`."""
    p = parameters
    order = raw_stream(p.rules_seed, 0).random_raw(p.num_states * p.vocab_size).reshape(p.num_states, p.vocab_size)
    chosen = np.argsort(order, axis=1, kind="stable")[:, : p.num_synonyms]
    emissions = np.zeros((p.num_states, p.vocab_size))
    np.put_along_axis(emissions, chosen, 1 / p.num_synonyms, axis=1)
    return emissions


registry.register(HiddenMarkovSource, HiddenMarkovParameters)
