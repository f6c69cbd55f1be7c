"""Configuration of the oracle models: the shape of a grammar, its special ids and the context that is visible."""

from ..configuration_law import LawConfig


class RHMConfig(LawConfig):
    """Configuration of [`RHMForCausalLM`], [`RHMForMaskedLM`] and [`RHMForSequenceClassification`].

    Rules and probabilities are the model's buffers; the configuration holds their shapes, so that the model can be
    built before they are loaded. Get one with [`RHMConfig.from_grammar`].

    Args:
        rule_shapes (`list[list[int]]`, *optional*, defaults to one trivial level): root first, for every level
            (symbols, rules per symbol, children).
        num_symbols (`int`, *optional*, defaults to 2): v, leaf symbols; symbol k has token id k.
        grammar_parameters (`dict`, *optional*): the [`GrammarParameters`] of a grammar of the ensemble.
        context_level (`int`, *optional*): the causal model sees only the tokens of its own aligned level-ℓ block.
        context_length (`int`, *optional*): the causal model sees only that many tokens before the one it predicts.
        source (`dict`, *optional*): of a family other than [`Grammar`], instead of `rule_shapes`: `family`,
            `settings`, `shapes` (name to dtype and shape of every buffer), `depth`, `num_classes`, `sentence_length`.

    Special ids follow the symbols: BOS = EOS = v, PAD = v + 1, MASK = v + 2, and `vocab_size` = v + 3 counts all ids.
    """

    model_type = "rhm"

    def __init__(
        self,
        rule_shapes=((1, 1, 2),),
        num_symbols=2,
        grammar_parameters=None,
        context_level=None,
        context_length=None,
        source=None,
        **kwargs,
    ):
        self.rule_shapes = [list(shape) for shape in rule_shapes]
        self.grammar_parameters = grammar_parameters
        self.source = source
        self.context_level = context_level
        self.context_length = context_length
        self._check_context()
        if "id2label" not in kwargs and "label2id" not in kwargs:
            kwargs["num_labels"] = self.rule_shapes[0][0] if source is None else source["num_classes"]
        super().__init__(num_symbols, **kwargs)

    @classmethod
    def from_grammar(cls, grammar, **kwargs) -> "RHMConfig":
        """The configuration of a grammar's oracle."""
        parameters = None if grammar.parameters is None else grammar.parameters.to_dict()
        if grammar.family == "layered":
            kwargs["rule_shapes"] = [list(rules.shape) for rules in grammar.rules]
        else:
            kwargs["source"] = {
                "family": grammar.family,
                "settings": grammar.settings(),
                "shapes": {name: [array.dtype.name, list(array.shape)] for name, array in grammar.arrays().items()},
                "depth": grammar.depth,
                "num_classes": grammar.num_classes,
                "sentence_length": grammar.sentence_length,
            }
        return cls(num_symbols=grammar.vocab_size, grammar_parameters=parameters, **kwargs)

    def _check_context(self) -> None:
        depth = len(self.rule_shapes) if self.source is None else self.source["depth"]
        level, length = self.context_level, self.context_length
        if level is not None and length is not None:
            raise ValueError(f"context_level={level} and context_length={length} exclude each other: give one of them")
        if level is not None and not 0 <= level <= depth:
            raise ValueError(f"context_level={level} is out of range: this grammar has levels 0 to {depth}")
        if length is not None and length < 0:
            raise ValueError(f"context_length={length} must be 0 or more visible tokens")

    @property
    def buffer_shapes(self) -> dict[str, tuple[str, list[int]]]:
        """The dtype and shape of every buffer, by the name it has in `grammar.arrays()`."""
        if self.source is not None:
            return {name: tuple(kind) for name, kind in self.source["shapes"].items()}
        shapes = {"root_probs": ("float64", self.rule_shapes[0][:1])}
        for generation, shape in enumerate(self.rule_shapes):
            shapes[f"rules.{generation}"] = ("int32", shape)
            shapes[f"rule_probs.{generation}"] = ("float64", shape[:2])
        return shapes

    @property
    def sentence_length(self) -> int:
        """d, in tokens."""
        if self.source is not None:
            return self.source["sentence_length"]
        length = 1
        for _, _, children in self.rule_shapes:
            length *= children
        return length
