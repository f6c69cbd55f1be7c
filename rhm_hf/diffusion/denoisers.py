"""Denoisers: p(x_0 | x_t), token by token, exact or of any Hugging Face model with a language-model head."""

import inspect
from typing import Any

import torch

from ..checks import checked, shown
from ..grammar import NotSupported, Source
from ..inference import log_prob, posteriors
from .processes import as_time


def refuse_lengths(grammar: Source, what: str) -> None:
    """Raises the `NotSupported` of diffusion for sentences of different lengths: its noise hits d given tokens."""
    if grammar.lengths_vary:
        why = "the noise processes are those of sentences of one length"
        raise NotSupported(what, grammar, why, "take a source whose sentences have one length")


class Denoiser:
    """Something that says what the tokens were: `denoiser(noisy, t)` is log p(x_0 = . | x_t), shape `(n, d, v)`."""

    def __call__(self, noisy: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        """Log probabilities of all symbols at every position.

        Args:
            noisy (`torch.Tensor`): ids `(n, d)`, or vectors `(n, d, v)` of a Gaussian process.
            t (`float` or `torch.Tensor`): time in [0, 1], one for all or `(n,)`.
        """
        raise NotImplementedError

    def excludes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Which sentences `(n, d)` are known to have probability 0, bool `(n,)`: none, unless a denoiser knows."""
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    @property
    def device(self) -> torch.device:
        """Where sampling happens."""
        return torch.device("cpu")


class ExactDenoiser(Denoiser):
    """The optimal denoiser: belief propagation with the likelihoods of the noise as evidence on the leaves.

    Where no sentence can have become x_t there is no law, and the rows are uniform.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): the law of the data, of sentences of one length.
        process ([`DiscreteDiffusion`] or [`GaussianDiffusion`]): the noise.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation.
        device (`torch.device`, *optional*, defaults to the CPU): where sampling happens.

    Raises:
        `ValueError`: for a process of other symbols; [`~rhm_hf.grammar.NotSupported`] where sentences differ in
            length.
    """

    @checked
    def __init__(
        self, grammar: Source, process: Any, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ):
        refuse_lengths(grammar, "the exact denoiser")
        check_process(process)
        if process.num_symbols != grammar.vocab_size:
            raise ValueError(
                f"process has num_symbols={process.num_symbols} and the grammar vocab_size={grammar.vocab_size}: make "
                "it with num_symbols=grammar.vocab_size"
            )
        self.grammar: Source = grammar
        self.process: Any = process
        self.dtype: torch.dtype | None = dtype
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self._device

    def excludes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Sentences that are not grammatical: on the way to them some token has probability 0."""
        return log_prob(self.grammar, tokens).isneginf()

    def __call__(self, noisy: torch.Tensor, t: float | torch.Tensor | None) -> torch.Tensor:
        evidence = self.process.evidence(noisy, t)
        laws, _ = posteriors(self.grammar, evidence=evidence, dtype=self.dtype, return_log_evidence=True)
        return laws[0].log()


class ModelDenoiser(Denoiser):
    """A model of transformers whose head has logits for every position: BERT, ModernBERT, the exact oracle, ..

    The model reads x_t as ids, symbol k being id k and MASK id v + 2; the log-softmax of its first v logits is taken
    in float32 or better. A causal architecture reads in both directions with `config.is_causal=False`.

    The time reaches the model in one of three ways, found by looking at it: `"argument"`, a `timesteps` argument of
    its `forward`, where `config.time_embedding` is set (our U-Net); `"token"`, where it has more than v + 3 ids: those
    beyond are times, the interval [0, 1] cut into equal bins, and one goes before the sentence; `"none"` elsewhere.
    The mask fraction shows the time, so masked diffusion loses nothing without it.

    Args:
        model (`torch.nn.Module`): in any mode, wrapped for several processes or not; gradients flow.
        process ([`DiscreteDiffusion`]): the noise that it undoes.

    Raises:
        `ValueError`: for a causal model, too few ids, or a Gaussian process.
    """

    @checked
    def __init__(self, model: torch.nn.Module, process: Any):
        check_process(process)
        bare = getattr(model, "module", model)
        num_ids, needed = bare.config.get_text_config().vocab_size, process.num_symbols + 3
        if not hasattr(process, "mask_token_id"):
            raise ValueError(f"process={process!r}: a model reads ids, so it needs a discrete process")
        if num_ids < needed:
            raise ValueError(
                f"the model has {num_ids} ids: it needs {needed}, the {process.num_symbols} symbols, BOS, PAD and MASK"
            )
        if bare.can_generate() and getattr(bare.config, "is_causal", True):
            raise ValueError(
                f"model is a {type(bare).__name__}, which sees only what lies before: set config.is_causal=False "
                "where its architecture supports that, or take a masked model"
            )
        self.model: torch.nn.Module = model
        self.process: Any = process
        self.num_bins: int = num_ids - needed
        self._bare = bare
        if getattr(bare.config, "time_embedding", False) and "timesteps" in inspect.signature(bare.forward).parameters:
            self.time: str = "argument"
        else:
            self.time = "token" if self.num_bins else "none"

    @property
    def device(self) -> torch.device:
        return self._bare.device

    def excludes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Of an exact oracle, whose rows are uniform after what cannot be, the sentences that are not grammatical."""
        grammar = getattr(self._bare, "grammar", None)
        return super().excludes(tokens) if grammar is None else log_prob(grammar, tokens).isneginf()

    def __call__(self, noisy: torch.Tensor, t: float | torch.Tensor | None) -> torch.Tensor:
        inputs, extra = noisy, {}
        if self.time == "argument":
            extra["timesteps"] = as_time(t, noisy).expand(len(noisy), 1)[:, 0]
        elif self.time == "token":
            number = (as_time(t, noisy) * self.num_bins).long().clamp(0, self.num_bins - 1)
            first = (self.process.num_symbols + 3 + number).expand(len(noisy), 1)
            inputs = torch.cat([first, noisy], 1)
        logits = self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs), **extra).logits
        logits = logits[:, -noisy.shape[1] :, : self.process.num_symbols]
        return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


def check_process(process: Any) -> None:
    """Anything that hits tokens with noise: a discrete process, or a Gaussian one."""
    if not (hasattr(process, "num_symbols") and hasattr(process, "noise") and hasattr(process, "evidence")):
        raise ValueError(f"process={shown(process)} has the wrong type: it must be a process of rhm_hf.diffusion")


@checked
def as_denoiser(model: Any, process: Any) -> Denoiser:
    """A denoiser as it is, a grammar's exact one, or a model's [`ModelDenoiser`]."""
    if isinstance(model, Denoiser):
        return model
    if isinstance(model, torch.nn.Module):
        return ModelDenoiser(model, process)
    if not isinstance(model, Source):
        raise ValueError(
            f"model={shown(model)} has the wrong type: it must be a Denoiser, a model of transformers or a grammar"
        )
    return ExactDenoiser(model, process)
