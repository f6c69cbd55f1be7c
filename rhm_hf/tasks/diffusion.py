"""Discrete diffusion: tokens from a noisy row, judged against the exact denoiser and by what is sampled."""

from functools import cached_property
from typing import Any, ClassVar

import torch

from ..checks import NonNegativeInt, PositiveInt, checked
from ..diffusion import (
    DenoisingLoss,
    ExactDenoiser,
    MaskedDiffusion,
    UniformDiffusion,
    as_denoiser,
    sample_ancestral,
    sample_revealing,
    stratified,
)
from ..grammar import NotSupported, Source
from ..judging import Targets, accumulate, divergence, evaluating, fresh_sentences, share_of_process
from ..judging.compare import is_broken, refuse_broken
from ..metrics.grammaticality import grammaticality
from .task import Task


PROCESSES = {process.name: process for process in (MaskedDiffusion, UniformDiffusion)}
EVALUATION_SEED = 0  # of the noise that a model is judged by, and of its samples: the same for every model
NUM_SAMPLES = 256  # sentences sampled at an evaluation
MOST_CALLS = 64  # of the model that they may take


class Diffusion(Task):
    """The row as it is, without BOS, each token hit by noise up to a random time; the loss is a bound on -log p.

    Args:
        process (`str`, *optional*, defaults to `"masked"`): `"masked"`, a hit token becomes MASK, or `"uniform"`, a
            random symbol.
        schedule (`str`, *optional*, defaults to `"linear"`): `"linear"`, `"cosine"` or `"log_linear"`; when tokens are
            hit.
        diffusion_steps (`int`, *optional*): T of the bound of D3PM; by default time is continuous, which masked
            diffusion alone allows.

    Raises:
        `ValueError`: for an unknown process or schedule, and uniform noise without `diffusion_steps`;
            [`~rhm_hf.grammar.NotSupported`] for a grammar whose sentences differ in length.
    """

    name = "diffusion"
    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForMaskedLM",)
    options: ClassVar[tuple[str, ...]] = ("kl_sentences", "process", "schedule", "diffusion_steps")

    @checked
    def __init__(
        self,
        num_symbols: PositiveInt,
        length: PositiveInt,
        grammar: Source | None = None,
        auto_class: str | None = None,
        kl_sentences: NonNegativeInt = 2048,
        process: str = "masked",
        schedule: str = "linear",
        diffusion_steps: PositiveInt | None = None,
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        if self.lengths_vary:
            why = "the processes and their exact denoiser are those of sentences of one length"
            raise NotSupported("task='diffusion'", grammar, why, "take next_token, last_token or masked")
        if process not in PROCESSES:
            raise ValueError(f"process={process!r} is unknown: it must be {' or '.join(PROCESSES)}")
        if process != "masked" and diffusion_steps is None:
            raise ValueError(
                f"diffusion_steps=None with process={process!r}: continuous time is for masked diffusion; give the "
                "number of steps, such as 64"
            )
        self.process: MaskedDiffusion | UniformDiffusion = PROCESSES[process](num_symbols, schedule)
        self.bound: DenoisingLoss = DenoisingLoss(self.process, diffusion_steps)
        self.noise_per_row: int = self.bound.num_uniforms(length)
        self.calls: int = length if process == "masked" else min(diffusion_steps, MOST_CALLS)
        self.samples: bool = self.calls <= MOST_CALLS
        self.columns: tuple[str, ...] = () if grammar is None else self._columns()

    def _columns(self) -> tuple[str, ...]:
        highest = self.grammar.parsed_depth if self.grammar.has_blocks else 0
        levels = tuple(f"valid_level_{level}" for level in range(1, highest + 1))
        judged = ("kl", "kl_stderr", "entropy", "accuracy", "bayes_accuracy", "denoiser_kl")
        return judged + (("valid", *levels) if self.samples else ())

    def prepare_noise(self, noise: torch.Tensor | None) -> torch.Tensor:
        """Times that cover [0, 1] evenly; see [`~rhm_hf.diffusion.stratified`]."""
        return stratified(noise)

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to `input_ids`, the symbols, and `noise`, float `(batch, d + 1)`."""
        return {"input_ids": rows.long(), "noise": noise}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The bound on the negative log likelihood, nats per token."""
        return self.bound(model, batch["input_ids"], batch["noise"])

    def scores(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sums over all tokens, float64 `(3,)`: the bound, right first guesses (a visible token of masked diffusion is
        known), and their number."""
        tokens = batch["input_ids"]
        noisy, s, t = self.bound.noisy(tokens, batch["noise"])
        log_probs = as_denoiser(model, self.process)(noisy, t)
        total = self.bound.bounds_at(tokens, noisy, log_probs, s, t).double().sum()
        right = (log_probs.argmax(-1) == tokens) | ~self.process.uncertain(noisy)
        return torch.stack([total, right.sum().double(), total.new_tensor(tokens.numel())])

    @cached_property
    def judged(self) -> Targets:
        """Fresh sentences and the numbers of their noise `(n, d + 1)`, with the exact p(x_0 | x_t), `(1, n, d, v)`."""
        sentences = fresh_sentences(self.grammar, self.kl_sentences)
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        shape = (len(sentences), self.noise_per_row)
        noise = stratified(torch.rand(shape, dtype=torch.float64, generator=generator))
        noisy, _, t = self.bound.noisy(sentences.tokens, noise)

        def exact(rows: slice) -> torch.Tensor:
            return ExactDenoiser(self.grammar, self.process)(noisy[rows], t[rows])[None]

        return Targets(sentences, exact, (), self.process.uncertain(noisy), noise)

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """The exact denoiser beside the model, at the same noisy states of fresh sentences, and what it samples.

        Returns:
            `dict`: `kl` and `kl_stderr`, what the bound loses against that of the exact denoiser, nats per token; it
            is taken in expectation over the sentences that a noisy one can come from, so it is never negative and 0
            for the exact one. `entropy` of the grammar, nats per token: in continuous time `entropy + kl` is the
            bound; with T steps the bound of the exact denoiser is above the entropy. `accuracy` and `bayes_accuracy`,
            the probability of the first guesses of the model and of the exact law, at hidden tokens (uniform noise:
            at all). `denoiser_kl`, KL of p(x_0,i | x_t), nats per token, all times alike. From 256 samples, one token
            at a time in random order (uniform noise: in T steps, at most 64), `valid`, the fraction that is
            grammatical, and `valid_level_1`, .., the fraction of nodes of a level whose tokens parse; left out where
            sentences have more than 64 tokens. Nothing without a grammar.
        """
        if self.grammar is None:
            return {}
        with torch.no_grad(), evaluating(model):
            denoiser = as_denoiser(model, self.process)
            found = self._compare(denoiser, accelerator, batch_size)
            return found | (self._sampled(denoiser, accelerator) if self.samples else {})

    def _compare(self, denoiser, accelerator, batch_size: PositiveInt | None) -> dict[str, float]:
        device, targets = denoiser.device, self.judged
        mine = share_of_process(len(targets.sentences), accelerator)
        exact = targets.laws_of(mine)[0]

        def measure(part: slice) -> dict:
            noisy, s, t = self.bound.noisy(targets.rows[part].to(device), targets.noise[part].to(device))
            log_p = exact[part.start - mine.start : part.stop - mine.start].to(device)
            log_q, uncertain = denoiser(noisy, t).double(), targets.counted[part].to(device)
            p = log_p.exp()
            plain = torch.where(uncertain, divergence(p, log_q, log_p), 0).sum(1)
            guess = p.gather(-1, log_q.argmax(-1, keepdim=True))[..., 0]
            values = torch.stack([guess, p.amax(-1)], -1)
            values = torch.where(uncertain[..., None], values, 0).sum(1)
            kls = torch.stack([self.bound.excess(noisy, log_p, log_q, s, t), plain], 1)
            return {
                "kls": (kls, float(self.length), 1.0),
                "guesses": (values, uncertain.sum(1, dtype=torch.float64)[:, None], 1.0),
                "broken": ((uncertain & is_broken(log_q)).sum(1), 1.0, 1.0),
            }

        options = {"device": device, "accelerator": accelerator, "batch_size": batch_size}
        found = accumulate(len(targets.sentences), {"kls": (2,), "guesses": (2,), "broken": ()}, measure, **options)
        refuse_broken(found["broken"], denoiser)
        (kl, plain), (accuracy, best) = found["kls"].mean.tolist(), found["guesses"].mean.tolist()
        result = {"kl": kl, "kl_stderr": found["kls"].stderr[0].item(), "entropy": self.grammar.entropy / self.length}
        return result | {"accuracy": accuracy, "bayes_accuracy": best, "denoiser_kl": plain}

    def sample(
        self,
        model: torch.nn.Module,
        num: int,
        generator: torch.Generator | None = None,
        tokens_per_step: int = 1,
        steps: int | None = None,
        progress: bool = False,
    ) -> torch.Tensor:
        """Rows as the process makes them: hidden tokens in random order; of uniform noise, in steps of p(x_s | x_t).

        Args:
            model: a model in evaluation mode, or a [`~rhm_hf.diffusion.Denoiser`].
            num (`int`): rows.
            generator (`torch.Generator`, *optional*): on the model's device.
            tokens_per_step (`int`, *optional*, defaults to 1): of masked noise, k of
                [`~rhm_hf.diffusion.sample_revealing`].
            steps (`int`, *optional*, defaults to those of the bound): of uniform noise, T of
                [`~rhm_hf.diffusion.sample_ancestral`].
            progress (`bool`, *optional*, defaults to False): a bar over the calls of the model, on a terminal.

        Returns:
            int64 symbols `(num, d)`.
        """
        args, shown = (model, self.process, num, self.length), {"generator": generator, "progress": progress}
        if isinstance(self.process, MaskedDiffusion):
            return sample_revealing(*args, tokens_per_step, **shown)
        return sample_ancestral(*args, self.bound.steps if steps is None else steps, **shown)

    def _sampled(self, denoiser, accelerator) -> dict[str, float]:
        """Every process draws the same samples; the main one shows a bar."""
        generator = torch.Generator(denoiser.device).manual_seed(EVALUATION_SEED)
        main = accelerator is None or accelerator.is_main_process
        samples = self.sample(denoiser, NUM_SAMPLES, generator, steps=self.calls, progress=main)
        found = grammaticality(samples, self.grammar)
        levels = zip(found["levels"], found["correct"], strict=True)
        return {"valid": found["valid"]} | {f"valid_level_{level}": correct for level, correct in levels}
