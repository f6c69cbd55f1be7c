"""The builder behind `load_dataset("rhm", ..)`, usable directly where the registration by name is not.

Its module's name is the dataset's name and its cache folder's; the rows themselves are made in `rows.py`.
"""

import difflib
from dataclasses import fields
from typing import Any

import datasets
from datasets.builder import Key

from . import rows
from .config import DEFAULT_NAME, SPLIT_SIZES, RHMDatasetConfig
from .provenance import describe
from .rows import source_hash


RECORDED = ("sample_seed", "sampling", "disjoint", "levels", *SPLIT_SIZES.values())  # beside the grammar, in the info


class RHMDatasetBuilder(datasets.ArrowBasedBuilder):
    """Sentences of the Random Hierarchy Model (Cagnetta et al., arXiv 2307.02129), or of any layered grammar.

    The same as `load_dataset("rhm", ..)`:

        builder = RHMDatasetBuilder(config_name="v16-m4-s2-L3", train_size=4096)
        builder.download_and_prepare()
        dataset = builder.as_dataset()

    Args:
        hash (`str`, *optional*): names the code version in the cache; by default that of this package's source.
        kwargs: those of `datasets.DatasetBuilder` (`config_name`, `cache_dir`, ..) and of [`RHMDatasetConfig`].

    Raises:
        `ValueError`: see [`RHMDatasetConfig`]; also for a keyword that does not exist.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = RHMDatasetConfig
    DEFAULT_CONFIG_NAME = DEFAULT_NAME

    def __init__(self, *, hash: str | None = None, **kwargs: Any):
        super().__init__(hash=hash or source_hash(), **kwargs)

    def _create_builder_config(self, config_name=None, custom_features=None, config_id=None, **config_kwargs):
        known = [field.name for field in fields(RHMDatasetConfig)]
        for keyword in config_kwargs:
            if keyword not in known:
                close = difflib.get_close_matches(keyword, known, n=1)
                meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
                raise ValueError(f"the dataset 'rhm' has no keyword {keyword}: {meant}")
        return super()._create_builder_config(config_name, custom_features, config_id, **config_kwargs)

    def _info(self) -> datasets.DatasetInfo:
        config = self.config
        settings = {name: getattr(config, name) for name in RECORDED}
        return datasets.DatasetInfo(
            description=describe(config.grammar, **settings),
            features=rows.features(config.grammar, config.levels),
            license="mit",
        )

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(
                # A list is what datasets splits among processes and streams: its entries are the shards.
                name=split,
                gen_kwargs={"split": split, "ranges": rows.ranges(self.config.grammar, size)},
            )
            for split, size in self.config.split_sizes.items()
            if size
        ]

    def _generate_tables(self, split: str, ranges: list[tuple[int, int]]):
        columns = rows.features(self.config.grammar, self.config.levels)
        for shard, table in enumerate(rows.tables(self.config, split, ranges, columns)):
            yield Key(shard, 0), table
