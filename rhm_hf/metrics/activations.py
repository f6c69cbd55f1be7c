"""What the layers of a model hold for sentences of a grammar, as one feature vector per sentence and layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.judging.ids import ModelIds


POSITIONS = ("all", "last", "mean")
CONSTANT = 1e-5  # a feature whose deviation is below this fraction of its layer's size is rounding noise


@dataclass(frozen=True)
class Activations:
    """Reads the layers of one model: `hidden_states[0]`, .., and its logits as the last layer.

    A causal model (any class not named `..ForMaskedLM` or `..ForSequenceClassification`) reads BOS and the tokens, the
    others the tokens, after BOS where `bos` says so. With `hide_last` a causal model reads all tokens but the last,
    the others see MASK in its place, and the logits are those of the last position alone, which predict it.

    The position of BOS is left out wherever a layer has one vector per id read.

    Args:
        model (`PreTrainedModel`): any that returns hidden states.
        ids ([`~rhm_hf.judging.ModelIds`]): its ids.
        positions (`str`): `"all"` flattens the positions of a layer, `"last"` takes its last, `"mean"` averages them.
        hide_last (`bool`): whether the last token is hidden.
        causal (`bool`): see above.
    """

    model: torch.nn.Module
    ids: ModelIds
    positions: str
    hide_last: bool
    causal: bool

    @classmethod
    def of(
        cls,
        model,
        grammar: Grammar,
        *,
        positions: str = "all",
        hide_last: bool = False,
        bos: str | int | bool = "auto",
        token_ids: Sequence[int] | None = None,
        mask_token_id: int | None = None,
    ) -> "Activations":
        """Resolves and checks the ids.

        Args:
            bos (`"auto"`, `False` or `int`, *optional*): the id put before every sentence. `"auto"`: that of a causal
                model, and of a masked one that has room for it; none for a sequence classifier.
            Others: see [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`].

        Raises:
            `ValueError`: where they do not match, naming the argument to pass.
        """
        if positions not in POSITIONS:
            raise ValueError(f"positions={positions!r} is unknown: use one of {', '.join(POSITIONS)}")
        name, length = type(model).__name__, grammar.sentence_length
        causal = not name.endswith(("ForMaskedLM", "ForSequenceClassification"))
        if bos == "auto" and not causal:
            bos = _own_bos(model, grammar, token_ids)
        masked = hide_last and not causal  # where a MASK is needed
        ids = ModelIds.of(model, grammar, masked=masked, token_ids=token_ids, bos=bos, mask_token_id=mask_token_id)
        read = length - (causal and hide_last) + (ids.bos is not None)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and read > longest:
            remedy = (
                "; a model trained on the last token alone takes hide_last=True" if causal and not hide_last else ""
            )
            raise ValueError(
                f"the model reads at most {longest} ids (max_position_embeddings) and this grammar's sentences need "
                f"{read}: take a grammar with shorter sentences{remedy}"
            )
        return cls(model, ids, positions, hide_last, causal)

    @torch.no_grad()
    def __call__(self, tokens: np.ndarray) -> dict[str, torch.Tensor]:
        """Features of sentences `(n, d)`: by layer, `(n, features)` on the model's device, float32 or better."""
        batch = torch.from_numpy(np.asarray(tokens).astype(np.int64)).to(self.ids.symbols.device)
        if self.causal:
            inputs = self.ids.encode(batch[:, : batch.shape[1] - self.hide_last])
        elif self.hide_last:
            hidden = torch.zeros_like(batch, dtype=torch.bool)
            hidden[:, -1] = True
            inputs = self.ids.encode(batch, hidden)
        else:
            inputs = self.ids.encode(batch)
        out = self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs), output_hidden_states=True)
        if getattr(out, "hidden_states", None) is None:
            raise ValueError(
                f"model is a {type(self.model).__name__}, which returns no hidden states (output_hidden_states=True "
                "gave none): there are no layers to look into"
            )
        layers = {f"hidden_states[{k}]": self._read(h, inputs.shape[1]) for k, h in enumerate(out.hidden_states)}
        logits = out.logits[:, -1] if self.hide_last and out.logits.ndim == 3 else out.logits
        layers["logits"] = self._read(logits, inputs.shape[1])
        for name, values in layers.items():
            if not torch.isfinite(values).all():
                raise ValueError(f"{name} of the model hold NaN or infinities: its weights are broken, or too large")
        return layers

    def _read(self, values: torch.Tensor, num_inputs: int) -> torch.Tensor:
        if values.dtype != torch.float64:
            values = values.float()
        if values.ndim == 3:
            if self.ids.bos is not None and values.shape[1] == num_inputs:
                values = values[:, 1:]
            if self.positions == "last":
                values = values[:, -1]
            elif self.positions == "mean":
                values = values.mean(1)
        return values.flatten(1)

    def collect(self, tokens: np.ndarray, batch_size: int) -> dict[str, torch.Tensor]:
        """The same of any number of sentences, in batches, on the CPU."""
        parts = [
            {name: f.cpu() for name, f in self(tokens[rows]).items()} for rows in batches(len(tokens), batch_size)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _own_bos(model, grammar: Grammar, token_ids) -> int | bool:
    """The BOS of a masked model that has one, and room for it; False for none."""
    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None) or getattr(config, "sentence_length", None)
    own, symbols = config.bos_token_id, range(grammar.vocab_size) if token_ids is None else token_ids
    if not type(model).__name__.endswith("ForMaskedLM") or own is None or own in symbols:
        return False
    return own if 0 <= own < config.vocab_size and (longest is None or longest > grammar.sentence_length) else False


def batches(num: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most `batch_size` rows."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    return (slice(start, min(start + batch_size, num)) for start in range(0, num, batch_size))


def sentences(grammar: Grammar, input_ids, num: int, seed: int) -> list[np.ndarray]:
    """Derivations of the sentences given, or of `num` fresh independent ones."""
    if input_ids is None:
        if num < 2:
            raise ValueError(f"num_sentences={num} must be at least 2, for a standard error")
        return grammar.derivations(num, seed=seed, split="evaluation", sampling="iid")
    tokens = np.asarray(input_ids.cpu() if isinstance(input_ids, torch.Tensor) else input_ids)
    if tokens.ndim != 2 or tokens.shape[1] != grammar.sentence_length or len(tokens) < 2:
        raise ValueError(
            f"input_ids has shape {tokens.shape}: give at least two sentences as (n, {grammar.sentence_length}) "
            "symbols, without BOS or padding"
        )
    return grammar.parse(tokens)


@dataclass(frozen=True)
class Standardiser:
    """Centres every feature of a layer and divides it by its standard deviation over given sentences.

    Features that hardly vary (deviation below 1e-5 of the layer's root mean square) are rounding noise and become 0.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor) -> "Standardiser":
        """The statistics of features `(n, features)`."""
        features = features.double()
        mean, deviation = features.mean(0), features.std(0, correction=0)
        varies = deviation > CONSTANT * features.square().mean().sqrt()
        return cls(mean, torch.where(varies, 1 / torch.where(varies, deviation, 1.0), 0.0))

    @property
    def is_constant(self) -> bool:
        """Whether no feature varies."""
        return not bool(self.scale.any())

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """float64, on the device of the statistics."""
        return (features.to(self.mean) - self.mean) * self.scale


def known(values: torch.Tensor) -> list:
    """Nested lists of a tensor, None where nothing is known: no sentence counted, or a layer that does not vary."""
    if values.ndim:
        return [known(row) for row in values]
    return float(values) if torch.isfinite(values) else None
