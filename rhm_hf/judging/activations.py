"""What the layers of a model hold for sentences of a grammar, as one feature vector per sentence and layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import naming
from rhm_hf.grammar import Source

from .bare import evaluating
from .model_ids import ModelIds
from .models import ModelReader, read_model
from .sentences import read_rows


POSITIONS = ("all", "last", "mean")
CONSTANT = 1e-5  # a feature whose deviation is below this fraction of its layer's size is rounding noise


@dataclass(frozen=True)
class Activations:
    """Reads the layers of one model: `hidden_states[0]`, .., and its logits as the last layer.

    A causal model reads BOS and the tokens, the others the tokens, after BOS where `bos` says so. With `hide_last` a
    causal model reads all tokens but the last, the others see MASK in its place, and the logits are those of the last
    position alone, which predict it. What the model is, is found out by [`read_model`].

    The position of BOS is left out wherever a layer has one vector per id read.

    Args:
        reader ([`ModelReader`]): a model that returns hidden states.
        ids ([`~rhm_hf.judging.ModelIds`]): its ids.
        positions (`str`): `"all"` flattens the positions of a layer, `"last"` takes its last, `"mean"` averages them.
        hide_last (`bool`): whether the last token is hidden.
    """

    reader: ModelReader
    ids: ModelIds
    positions: str
    hide_last: bool

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        grammar: Source,
        *,
        positions: str = "all",
        hide_last: bool = False,
        bos: str | int | bool = "auto",
        token_ids: Sequence[int] | None = None,
        mask_token_id: int | None = None,
    ) -> "Activations":
        """Finds out what the model is, and resolves and checks the ids.

        Args:
            model (`PreTrainedModel`): a causal or masked language model or a sequence classifier.
            grammar ([`Source`]): whose sentences it reads, of one length.
            bos (`"auto"`, `False` or `int`, *optional*): the id put before every sentence. `"auto"`: that of a causal
                model, and of a masked one that has room for it; none for a sequence classifier.
            Others: see [`~rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`].

        Raises:
            `ValueError`: where they do not match, naming the argument to pass, and where its layers hold no vector for
                every position.
        """
        if positions not in POSITIONS:
            raise ValueError(f"positions={positions!r} is unknown: use one of {', '.join(POSITIONS)}")
        length = grammar.sentence_length
        reader = read_model(model, length=length + 1)
        if bos == "auto" and not reader.is_causal:
            bos = _own_bos(reader, grammar, token_ids)
        masked = hide_last and not reader.is_causal  # where a MASK is needed
        given = {"token_ids": token_ids, "bos": bos, "mask_token_id": mask_token_id}
        ids = ModelIds.of(reader.model, grammar, masked=masked, **given)
        read = length - (reader.is_causal and hide_last) + (ids.bos is not None)
        if reader.longest is not None and read > reader.longest:
            shorter = reader.is_causal and not hide_last
            remedy = "; a model trained on the last token alone takes hide_last=True" if shorter else ""
            raise ValueError(
                f"the model reads at most {reader.longest} ids ({reader.limit[0]}) and this grammar's sentences need "
                f"{read}: take a grammar with shorter sentences{remedy}"
            )
        found = cls(reader, ids, positions, hide_last)
        with evaluating(reader.model):
            found._check_layers(length)
        return found

    @property
    def model(self) -> torch.nn.Module:
        """The model that is read, without what was around it."""
        return self.reader.model

    @property
    def description(self) -> dict[str, str | int | None]:
        """How the model was read, for results: `read_as`, `bos`, `positions`."""
        return {"read_as": self.reader.read_as, "bos": self.ids.bos, "positions": self.positions}

    @torch.no_grad()
    def __call__(self, tokens: np.ndarray) -> dict[str, torch.Tensor]:
        """Features of sentences `(n, d)`: by layer, `(n, features)` on the model's device, float32 or better."""
        inputs = self._inputs(tokens)
        layers = {name: self._read(values, inputs.shape[1]) for name, values in self._layers(inputs).items()}
        self._check_finite(layers)
        return layers

    @staticmethod
    def _check_finite(layers: dict[str, torch.Tensor]) -> None:
        for name, values in layers.items():
            if not torch.isfinite(values).all():
                raise ValueError(f"{name} of the model hold NaN or infinities: its weights are broken, or too large")

    @torch.no_grad()
    def by_position(self, tokens: np.ndarray) -> dict[str, torch.Tensor]:
        """A vector for every token that is read, that of BOS left out: by layer `(n, tokens read, channels)`.

        Raises:
            `ValueError`: for a layer that does not hold one vector for every id.
        """
        inputs, found = self._inputs(tokens), {}
        for name, values in self._layers(inputs, all_logits=True).items():
            if values.ndim != 3 or values.shape[1] != inputs.shape[1]:
                raise ValueError(
                    f"{name} of the {type(self.model).__name__} has shape {tuple(values.shape)} for {inputs.shape[1]} "
                    "ids: it holds no vector for every token; a model with one, such as GPT-2, is needed"
                )
            found[name] = values[:, self.ids.bos is not None :]
            if found[name].dtype != torch.float64:
                found[name] = found[name].float()
        self._check_finite(found)
        return found

    def _inputs(self, tokens: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(np.asarray(tokens).astype(np.int64)).to(self.ids.symbols.device)
        if self.reader.is_causal:
            return self.ids.encode(batch[:, : batch.shape[1] - self.hide_last])
        if not self.hide_last:
            return self.ids.encode(batch)
        hidden = torch.zeros_like(batch, dtype=torch.bool)
        hidden[:, -1] = True
        return self.ids.encode(batch, hidden)

    def _layers(self, inputs: torch.Tensor, all_logits: bool = False) -> dict[str, torch.Tensor]:
        """Hidden states and logits, as the model gives them."""
        out = self.reader.call(inputs, output_hidden_states=True)
        states = getattr(out, "hidden_states", None)
        if states is None:
            raise ValueError(
                f"model is a {type(self.model).__name__}, which returns no hidden states (output_hidden_states=True "
                "gave none): there are no layers to look into"
            )
        last_alone = self.hide_last and not all_logits and out.logits.ndim == 3
        logits = out.logits[:, -1] if last_alone else out.logits
        return {f"hidden_states[{k}]": state for k, state in enumerate(states)} | {"logits": logits}

    @torch.no_grad()
    def _check_layers(self, length: int) -> None:
        """Refuses layers that do not hold `(sentences, positions, channels)`, one position an id or a block of ids.

        With another last id the last position alone may change where there are fewer positions than ids (a tree of
        patches); rows of latents or of padding are no positions.
        """
        num_rows = 3 if length != 3 else 4  # no other size
        tokens = np.random.default_rng(0).integers(0, len(self.ids.symbols), (num_rows, length))
        changed, place = tokens.copy(), length - 1 - self.hide_last
        changed[0, place] = (changed[0, place] + 1) % len(self.ids.symbols)
        inputs = self._inputs(tokens)
        after, num_ids = self._layers(self._inputs(changed)), inputs.shape[1]
        for name, values in self._layers(inputs).items():
            shape = tuple(values.shape)
            fits = values.ndim in (2, 3) and shape[0] == num_rows and shape[1:-1] <= (num_ids,)
            if fits and values.ndim == 3 and shape[1] < num_ids:
                fits = torch.allclose(values[:, :-1], after[name][:, :-1], rtol=1e-4, atol=1e-6)
            if not fits:
                raise ValueError(
                    f"{name} of the {type(self.model).__name__} has shape {shape} for {num_rows} rows of {num_ids} "
                    "ids: it holds no vector for each position, (sentences, positions, channels), and sentences "
                    "cannot be compared by it"
                )

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


def _own_bos(reader: ModelReader, grammar: Source, token_ids: Sequence[int] | None) -> int | bool:
    """The BOS of a masked model that has one, and room for it; False for none."""
    config = reader.config
    longest = reader.longest if reader.longest is not None else getattr(config, "sentence_length", None)
    own, symbols = reader.bos_token_id, range(grammar.vocab_size) if token_ids is None else token_ids
    if not reader.is_masked or own is None or own in symbols:
        return False
    return own if 0 <= own < reader.num_ids and (longest is None or longest > grammar.sentence_length) else False


def batches(num: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most `batch_size` rows."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    return (slice(start, min(start + batch_size, num)) for start in range(0, num, batch_size))


def sentences(grammar: Source, input_ids: Any, num: int, seed: int) -> list[np.ndarray]:
    """Derivations of the sentences given, or of `num` fresh independent ones."""
    if input_ids is None:
        if num < 2:
            raise ValueError(f"num_sentences={num} must be at least 2, for a standard error")
        return grammar.derivations(num, seed=seed, split="evaluation", sampling="iid")
    tokens = read_rows("input_ids", input_ids)
    if tokens.shape[1] != grammar.sentence_length or len(tokens) < 2:
        raise ValueError(
            f"input_ids has shape {tokens.shape}: give at least two sentences as (n, {grammar.sentence_length}) "
            "symbols, without BOS or padding"
        )
    with naming("tokens", "input_ids"):
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


def known(values: torch.Tensor) -> list[Any]:
    """Nested lists of a tensor, None where nothing is known: no sentence counted, or a layer that does not vary."""
    if values.ndim:
        return [known(row) for row in values]
    return float(values) if torch.isfinite(values) else None
