"""Pair counts of corpora of any size: a step for datatrove's pipelines, and the merging of what its tasks counted.

    pipeline = [JsonlReader("corpus"), CountPairs("counts", distances=range(1, 33), tokenizer="my-tokenizer")]
    LocalPipelineExecutor(pipeline, tasks=64, workers=8).run()      # or SlurmPipelineExecutor, RayPipelineExecutor
    TokenCorrelations(merge_pairs("counts")).effective_context

Which task reads a document depends on how many there are, so blocks cannot be stretches of the corpus here: a document
belongs to the block that its id picks, wherever and whenever it is read. The merged counts are then the same for any
number of tasks, to the last block.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from ..statistics import PairCounts
from ..statistics.pairs.checked_ids import checked_distances
from .characters import CharEncoder
from .tokenizer import token_ids


try:
    from datatrove.pipeline.base import PipelineStep
except ImportError as error:
    raise ImportError("rhm_hf.data.pipeline needs datatrove: pip install 'rhm-hf[datatrove]'") from error


BATCH = 2**22  # characters, or more, that are tokenised and counted together
BLOCK_LENGTH = 2**40  # tokens: more than a block ever holds, so that none runs over into the next
FILE = re.compile(r"pairs-(\d+)-of-(\d+)\.safetensors")


class CountPairs(PipelineStep):
    """Counts the pairs of tokens at chosen distances; documents pass through unchanged.

    Every task writes `pairs-<rank>-of-<tasks>.safetensors` when it has read its share; [`merge_pairs`] adds them up.

    Args:
        output_folder (`str` or `Path`): where all tasks can write, such as a shared file system.
        distances (`Iterable[int]`): t >= 1, tokens.
        tokenizer (`str` or `Path`): directory or Hub id; each task loads it. No special ids are added. That of a
            character corpus ([`~rhm_hf.data.char_tokenizer`]) is replaced by a table look-up.
        num_blocks (`int`, *optional*, defaults to 32): for error bars; see above.
        sparse (`bool`, *optional*): see [`~rhm_hf.statistics.PairCounts`].

    Raises:
        `ValueError`: for distances that are none, or a tokenizer that is not found, before any task starts.
    """

    name = "token pairs"
    type = "📊 - STATS"

    def __init__(
        self,
        output_folder: str | Path,
        distances: Iterable[int],
        tokenizer: str | Path,
        num_blocks: int = 32,
        sparse: bool | None = None,
    ):
        super().__init__()
        self.output_folder: str = str(Path(output_folder).absolute())
        self.tokenizer: str = str(tokenizer)
        self.distances: list[int] = list(checked_distances(distances))
        self.num_blocks: int = num_blocks
        self.sparse: bool | None = sparse
        self._empty_counts(Encoder(self.tokenizer))

    def _empty_counts(self, encoder: "Encoder") -> PairCounts:
        return keyed_counts(self.distances, encoder.vocab_size, num_blocks=self.num_blocks, sparse=self.sparse)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Counts what comes by; the file of this task is written when all of it has, and is there whole or not."""
        encoder = Encoder(self.tokenizer)
        counts, waiting, size = self._empty_counts(encoder), [], 0
        for document in data or ():
            waiting.append((str(document.id), document.text))
            size += len(document.text)
            self.update_doc_stats(document)
            if size >= BATCH:
                self._count(counts, encoder, waiting)
                waiting, size = [], 0
            yield document
        self._count(counts, encoder, waiting)
        Path(self.output_folder).mkdir(parents=True, exist_ok=True)
        counts.save(Path(self.output_folder) / f"pairs-{rank:05d}-of-{world_size:05d}.safetensors")

    def _count(self, counts: PairCounts, encoder: "Encoder", waiting: list[tuple[str, str]]) -> None:
        with self.track_time("batch"):
            keys, texts = zip(*waiting, strict=True) if waiting else ((), ())
            count_keyed(counts, zip(keys, encoder(texts), strict=True))


def keyed_counts(distances: Iterable[int], vocab_size: int, **kwargs: Any) -> PairCounts:
    """Empty counts for [`count_keyed`]."""
    return PairCounts(distances, vocab_size, block_length=BLOCK_LENGTH, **kwargs)


def count_keyed(counts: PairCounts, documents: Iterable[tuple[str, Any]]) -> PairCounts:
    """Counts documents, each in the block that its key picks: the same in any order and any partition.

    Args:
        counts ([`PairCounts`]): of [`keyed_counts`].
        documents (`Iterable[tuple[str, array]]`): keys, unique in the corpus, and token ids `(length,)`.
    """
    num_blocks, groups = counts.settings["num_blocks"], {}
    for key, ids in documents:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        groups.setdefault(int.from_bytes(digest, "little") % num_blocks, []).append(ids)
    for block, group in groups.items():
        counts.add_documents(group, block=block)
    return counts


def merge_pairs(folder: str | Path) -> PairCounts:
    """Adds up what the tasks of a pipeline with [`CountPairs`] wrote.

    Raises:
        `ValueError`: where there is nothing, the files of a task are missing, or runs of several numbers of tasks are
            mixed.
    """
    found = {path: FILE.fullmatch(path.name) for path in sorted(Path(folder).glob("pairs-*.safetensors"))}
    ranks = {int(match[1]): path for path, match in found.items() if match}
    sizes = sorted({int(match[2]) for match in found.values() if match})
    if not sizes:
        raise ValueError(f"folder={str(folder)!r} holds no pairs-*.safetensors: run a pipeline with CountPairs first")
    if len(sizes) > 1:
        raise ValueError(f"folder={str(folder)!r} mixes runs of {sizes} tasks: one folder a run")
    if missing := sorted(set(range(sizes[0])) - ranks.keys()):
        listed = ", ".join(map(str, missing[:10])) + (", .." if len(missing) > 10 else "")
        raise ValueError(
            f"folder={str(folder)!r} lacks tasks {listed} of {sizes[0]}: they failed or still run; start the executor "
            "again, it skips what is finished"
        )
    counts = PairCounts.load(ranks[0])
    for rank in range(1, sizes[0]):
        counts.merge(PairCounts.load(ranks[rank]))
    return counts


class Encoder:
    """Token ids of documents, by a tokenizer of transformers or, for characters, a table."""

    def __init__(self, tokenizer: str):
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"tokenizer={tokenizer!r} cannot be loaded ({type(error).__name__}): give a directory or a Hub id"
            ) from error
        self._table = None
        with contextlib.suppress(ValueError):  # its tokens are longer than a character
            self._table = CharEncoder(self._tokenizer)
        self.vocab_size: int = len(self._tokenizer) if self._table is None else self._table.num_symbols

    def __call__(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        if self._table is not None:
            yield from map(self._table, texts)
        elif texts:
            yield from token_ids(self._tokenizer, texts)
