"""Means over prompts, mappings and grammars, intervals over independent units, and the best of learners."""

import numpy as np
import torch

from rhm_hf.judging import divergence_terms
from rhm_hf.statistics.intervals import jackknife_interval, leaving_out, student


class Means:
    """Means over prompts, mappings and grammars, with intervals over independent units."""

    def __init__(self, unit: str, confidence: float, truth: torch.Tensor):
        self.unit, self.confidence, self.truth = unit, confidence, truth

    def result(
        self,
        terms: dict[str, torch.Tensor],
        laws: dict[str, torch.Tensor],
        counted: dict[str, torch.Tensor],
        smoothings: list[str],
    ) -> dict:
        """The part of the result that is made of numbers.

        Args:
            terms (`dict`): of the model, `(grammars, mappings, prompts, counts, d)`.
            laws (`dict`): of lines, `(grammars x prompts, counts, d, v)`.
            counted (`dict`): of learners, the same for every smoothing.
            smoothings (`list[str]`): their names.
        """
        truth, within = self.truth, terms["kl_within"]
        own = self._units(within.mean(1))  # over mappings: (units, counts, d)
        lines = {name: self._line(self._kl(law), own) for name, law in laws.items()}
        learners = {name: torch.stack([self._kl(law) for law in every]) for name, every in counted.items()}
        ngrams = {name: kl for name, kl in learners.items() if name.removeprefix("tied_").startswith("ngram_")}
        lines |= {name: self._best(kl, own, smoothings) for name, kl in learners.items()}
        if ngrams:
            names = [f"{name} {smoothing}" for name in ngrams for smoothing in smoothings]
            lines["ngram"] = self._best(torch.cat(list(ngrams.values())), own, names)
        found = {name: self._units(values.mean(1)).mean((0, 2)).tolist() for name, values in terms.items()}
        for name in ("kl", "kl_within"):
            found[f"{name}_interval"] = self._interval(self._units(terms[name].mean(1)).mean(2))
        spread = within.mean((2, 4)).std(1).square().mean(0).sqrt().tolist() if within.shape[1] > 1 else None
        units = len(own)
        entropy = -torch.xlogy(truth, truth).sum(-1).mean()
        return {
            **found,
            "kl_per_position": own.mean(0).tolist(),
            "mapping_std": spread,
            "lines": lines,
            "unit": self.unit,
            "num_units": units,
            "confidence": self.confidence,
            "t_quantile": student(self.confidence, units - 1) if units > 1 else float("inf"),
            "entropy": entropy.item(),
        }

    def _units(self, values: torch.Tensor) -> torch.Tensor:
        """`(grammars, prompts, counts, d)` to `(units, counts, d)`."""
        return values.mean(1) if self.unit == "grammar" else values[0]

    def _kl(self, law: torch.Tensor) -> torch.Tensor:
        """Of a law `(grammars x prompts, counts, d, v)`: `(units, counts, d)`."""
        return self._units(divergence_terms(self.truth, law.view(self.truth.shape).log())["kl"])

    def _best(self, kl: torch.Tensor, own: torch.Tensor, names: list[str]) -> dict:
        """The line of the choices `(choices, units, counts, d)` with the lowest means, one at each n."""
        best = kl.mean((1, 3)).argmin(0)
        chosen = kl[best, :, torch.arange(kl.shape[2])].transpose(0, 1)
        return self._line(chosen, own) | {"choice": [names[k] for k in best.tolist()]}

    def _line(self, kl: torch.Tensor, own: torch.Tensor) -> dict:
        gain = (kl - own).mean(2)
        return {
            "kl": kl.mean((0, 2)).tolist(),
            "interval": self._interval(kl.mean(2)),
            "per_position": kl.mean(0).tolist(),
            "gain": gain.mean(0).tolist(),
            "gain_interval": self._interval(gain),
        }

    def _interval(self, values: torch.Tensor) -> list[list[float]]:
        """Of the mean of units `(units, counts)`: `[low, high]` at every n."""
        array = values.numpy()
        if len(array) < 2:
            return [[float("-inf"), float("inf")]] * array.shape[1]
        with np.errstate(invalid="ignore"):
            return jackknife_interval(array.mean(0), [leaving_out(array)], self.confidence).tolist()
