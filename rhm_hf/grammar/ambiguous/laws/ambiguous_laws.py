"""Exact laws of fixed trees whose rules may be ambiguous: messages are vectors instead of parsed symbols."""

from typing import Any

import numpy as np
import torch

from ...enumeration import can_enumerate
from ...laws.base import Laws
from ...laws.inputs import checked_context
from ...laws.posteriors import given_evidence, posteriors_by_chunks, refuse_impossible, slices
from ...laws.window_laws import fill_windows
from .. import ambiguous_counts
from .ambiguous_messages import AmbiguousTables, causal, derivation, downward, open_beliefs, token_messages, upward
from .level_messages import drawn_with, most_likely


CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**29}  # of the weights of all rules of a level
LISTED_TOKENS = 2**18  # of all sentences together, up to which `position_entropies` is exact
SAMPLED = 4096  # sentences behind `position_entropies` where there are too many to list


class AmbiguousLaws(Laws):
    """The exact laws of an [`AmbiguousGrammar`], by messages (belief propagation on the tree).

    Memory: the weights of a level take (nodes) x (rules of all symbols) numbers a sentence, or (nodes) x V v where
    children are independent; sentences are handled in chunks that make at most 16 MiB of them (512 MiB on CUDA). All
    messages together take about 2 d V numbers a sentence.
    """

    def __init__(self, source: Any):
        super().__init__(source)
        self._tables: dict[tuple[str, torch.dtype], AmbiguousTables] = {}

    def tables(self, device: torch.device, dtype: torch.dtype = torch.float64) -> AmbiguousTables:
        """The rules as tensors, made once."""
        key = (str(device), dtype)
        if key not in self._tables:
            self._tables[key] = AmbiguousTables(self.source, device, dtype)
        return self._tables[key]

    def _chunks(self, tables: AmbiguousTables, n: int, length: int) -> list[slice]:
        kind = "cpu" if tables.root_probs.device.type == "cpu" else "cuda"
        largest = max(-(-length // tables.blocks[level]) * tables[level].width for level in range(1, tables.depth + 1))
        return slices(n, CHUNK_BYTES[kind] // (largest * tables.dtype.itemsize))

    @torch.no_grad()
    def token_laws(
        self,
        tokens: torch.Tensor,
        positions: int,
        context_level: int | None = None,
        context_length: int | None = None,
        dtype: torch.dtype | None = torch.float64,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass up over what is complete, one down; windows by posteriors. See [`Laws.token_laws`]."""
        top, window = checked_context(self.source, context_level, context_length)
        tables = self.tables(tokens.device, dtype)
        v, n = self.source.vocab_size, len(tokens)
        probs = torch.empty(n, positions, v, dtype=dtype, device=tokens.device)
        valid = torch.empty(n, positions, dtype=torch.bool, device=tokens.device)
        full = positions if window is None else min(positions, window + 1)
        for part in self._chunks(tables, n, self.source.sentence_length) if full else ():
            up = self._read(tables, tokens[part])
            laws, exists = causal(tables, up, full, top)[0]
            probs[part, :full] = torch.where(exists, laws, 1 / v).permute(1, 2, 0)
            valid[part, :full] = exists
        if window is not None and full < positions:
            fill_windows(self.source, tokens, window, probs, valid)
        return probs, valid

    def _read(self, tables: AmbiguousTables, tokens: torch.Tensor):
        return upward(tables, token_messages(tables, tokens, self.source.sentence_length))

    @torch.no_grad()
    def log_prob(self, tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """The sum over all derivations, from the root's message."""
        tables, logs = self.tables(tokens.device), []
        for part in self._chunks(tables, len(tokens), self.source.sentence_length):
            up = self._read(tables, tokens[part])
            total = (up.messages[-1][:, :, 0] * tables.root_probs[:, None]).sum(0)
            logs.append(total.log() + up.scale)
        return torch.cat(logs).to(dtype)

    def parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The tokens: they determine nothing else."""
        return [tokens]

    def num_derivations(self, tokens: torch.Tensor) -> list[int]:
        """Of every sentence, exact: Python integers go up the tree."""
        source = self.source
        return ambiguous_counts.derivations_of(source.levels, source.root_probs, source.vocab_size, tokens.tolist())

    @torch.no_grad()
    def causal_posteriors(self, tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
        """The laws of all ancestors of every token given the tokens up to it.

        Returns:
            Entry ℓ - 1, ℓ = 1..L, `(n, t, symbols of level ℓ)`; zero where the prefix is impossible.
        """
        tables = self.tables(tokens.device, dtype)
        parts = [
            open_beliefs(tables, self._read(tables, tokens[part]), tokens.shape[1])
            for part in self._chunks(tables, len(tokens), self.source.sentence_length)
        ]
        return [torch.cat(level, 1).permute(1, 2, 0) for level in zip(*parts, strict=True)]

    @torch.no_grad()
    def posteriors(
        self,
        tokens: torch.Tensor = None,
        mask: Any = None,
        evidence: Any = None,
        dtype: torch.dtype | None = None,
        return_log_evidence: bool = False,
    ) -> Any:
        """Messages up and down; arguments and results as those of [`~rhm_hf.inference.posteriors`]."""

        def compute(dtype: torch.dtype, given: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
            tables = self.tables(given[0].device, dtype)
            laws, logs = downward(tables, upward(tables, self._leaves(tables, given)))
            for law, found in zip(out, laws, strict=True):
                found = found.permute(1, 2, 0)
                law.copy_(torch.where(logs.isneginf()[:, None, None], 1 / law.shape[2], found))
            return logs

        tables = self.tables(torch.device("cpu"))  # for the sizes: the same on every device
        return posteriors_by_chunks(
            self.source,
            (tokens, mask, evidence),
            dtype,
            lambda n: self._chunks(tables, n, self.source.sentence_length),
            compute,
            return_log_evidence,
        )

    def _leaves(self, tables: AmbiguousTables, given: list[torch.Tensor]) -> torch.Tensor:
        """Messages `(v, n, d)` of `[likelihoods]` or of `[tokens, hidden]`."""
        if len(given) == 1:
            return given[0].to(tables.dtype).permute(2, 0, 1).contiguous()
        tokens, hidden = given
        messages = token_messages(tables, tokens, tokens.shape[1])
        return torch.where(hidden, 1.0, messages)

    @torch.no_grad()
    def sample_posterior(
        self,
        tokens: torch.Tensor = None,
        mask: Any = None,
        evidence: Any = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        """One derivation a row, drawn from its exact posterior: entry ℓ = 0..L, int64 `(n, nodes)`."""
        return self._derivations(given_evidence(self.source, tokens, mask, evidence), drawn_with(generator), False)

    @torch.no_grad()
    def most_probable_parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The most probable derivation of every sentence: entry ℓ = 0..L, int64 `(n, nodes)`."""
        return self._derivations(given_evidence(self.source, tokens, None, None), most_likely, True)

    def _derivations(self, given: list[torch.Tensor], choose, maximise: bool) -> list[torch.Tensor]:
        tables, found = self.tables(given[0].device), []
        for part in self._chunks(tables, len(given[0]), self.source.sentence_length):
            up = upward(tables, self._leaves(tables, [array[part] for array in given]), maximise)
            root = (up.messages[-1][:, :, 0] * tables.root_probs[:, None]).sum(0)
            refuse_impossible(torch.where(root > 0, up.scale, -torch.inf))
            found.append(derivation(tables, up, choose))
        return [torch.cat(level) for level in zip(*found, strict=True)]

    # Laws given nothing or a block.

    def node_marginals(self, level: int) -> torch.Tensor:
        """Products of the child laws along the paths: float64 `(nodes, symbols)`."""
        laws = ambiguous_counts.node_marginals(self.source.levels, self.source.root_probs, self.source.vocab_size)
        return torch.from_numpy(laws[level].copy())

    def plateau(self, level: int) -> float:
        """The mean of `position_entropies`."""
        return float(self.position_entropies(level).mean())

    @torch.no_grad()
    def position_entropies(self, level: int) -> torch.Tensor:
        """H(x_i | the tokens to its left in its own block of a level), `(d,)`.

        Exact where all sentences can be listed; elsewhere the mean of the exact entropies of these laws over 4096
        sentences of the evaluation split, seed 0.
        """
        source = self.source
        if can_enumerate(source, LISTED_TOKENS):
            tokens, weights = source.list_sentences()
            weights = torch.from_numpy(weights)
        else:
            tokens = source.sample(SAMPLED, split="evaluation")
            weights = torch.full((SAMPLED,), 1 / SAMPLED, dtype=torch.float64)
        probs, _ = self.token_laws(self.checked(tokens), source.sentence_length, level, None, torch.float64)
        return -(weights[:, None] * torch.special.xlogy(probs, probs).sum(2)).sum(0)

    def pair_law(self, first: int, second: int) -> np.ndarray:
        """P(x_first = a, x_second = b), by way of the lowest common ancestor: float64 `(v, v)`."""
        source, level = self.source, 0
        while first // source.block_length(level) != second // source.block_length(level):
            level += 1
        node = first // source.block_length(level)
        law = ambiguous_counts.node_marginals(source.levels, source.root_probs, source.vocab_size)[level][node]
        if level == 0:
            return np.diag(law)
        below = source.block_length(level - 1)
        paths, children = [], []
        for position in (first, second):
            children.append(position // below % source.tuple_size_at(level))
            path = np.eye(source.num_symbols_at(level - 1))
            for step in range(level - 1, 0, -1):
                child = position // source.block_length(step - 1) % source.tuple_size_at(step)
                path = path @ source.level(step).child_law(child, source.num_symbols_at(step - 1))
            paths.append(path)
        pairs = source.level(level).pair_of_children(law, *children, source.num_symbols_at(level - 1))
        return paths[0].T @ pairs @ paths[1]
