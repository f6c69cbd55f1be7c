"""Good and bad values for `benchmarks.fuzz`: a new parameter needs a good value here only where its name is new."""

import collections.abc
import functools
import importlib
import inspect
import math
import os
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

import rhm_hf
from rhm_hf import diffusion, grammar, statistics
from rhm_hf.judging import ModelIds, Targets, given_sentences


os.environ.setdefault("HF_HUB_OFFLINE", "1")  # wrong names are looked for nowhere

NOT_CALLED_BY_PEOPLE = {"NotSupported", "register", "FixedTree", "Source", "Schedule", "Denoiser", "Task", "TASKS"}
NOT_CALLED_BY_PEOPLE |= {"SCHEDULES", "DiscreteDiffusion", "RHMDatasetBuilder"}
NOT_MADE_BY_PEOPLE = {  # results
    "Agreement",
    "Collapse",
    "CollapseFit",
    "CollapseScan",
    "HalfWayPoints",
    "LearnedLatents",
    "LearningCurves",
    "LocalExponents",
    "PlateauPolygon",
    "ScalingFit",
    "RecoveryThreshold",
    "ForwardBackward",
    "CharCorpus",
    "CharText",
    "Factors",
    "RuleList",
    "RHMDatasetConfig",
    "ModelIds",
    "ModelReader",
    "Sentences",
    "Targets",
}
METHODS_NOT_CALLED = {  # what families promise to each other and to storage
    "arrays",
    "settings",
    "from_arrays",
    "drawn_from",
    "draw_sentences",
    "draw_rules",
    "draw_levels",
    "rule_law",
    "lengths_of",
    "prefix_tree",
    "emission",
    "from_mixed_tensors",
    "level",
    "of",
    "shape",
    "list_sentences",
    "uniform",
    "from_parameters",
    "sentence_bounds",
    "excludes",
    "log_reverse",
    "states_of",
    "ids_of",
    "slope",
    "time",
    "weight",
    "loss",
    "scores",
    "predictions",
    "prepare_noise",
    "logits",
    "collate",
    "judge",
    "lengths",
    "drawn_lengths",
    "hidden",
    "judged_sentences",
    "sample_posterior",
    "reduce",
    "num_uniforms",
    "noisy",
    "bounds_at",
    "excess",
    "uncertain",
    "from_rows",
    "create_config_id",
    "evidence",
    "posterior",
    "marginal",
    "uniforms",
    "prior",
}
ELSEWHERE = [
    "metrics.belief_probe.belief_maps:belief_probe",
    "metrics.rhm_kl.kl:kl_divergence",
    "models.ngram.configuration_hierarchical_ngram:HierarchicalNGramConfig",
    "models.rhm.configuration_rhm:RHMConfig",
    "models.rhm.configuration_rhm:RHMConfig.from_grammar",
    "training.arguments:Arguments.from_dict",
    "training.strict_yaml:parse_yaml",
    "training.sweep.combinations:expand",
    "cli.operands:read_grammar",
    "cli.operands:read_model",
    "cli.corpora:read_text",
    "metrics.context_loss.by_context:loss_by_context",
    "metrics.effective_context.agree:effective_context",
    "metrics.grammaticality.correctness:grammaticality",
    "metrics.latent_probe.probe:latent_probe",
    "metrics.memorisation.copies:memorisation",
    "metrics.representation_probe.similarity:representation_probe",
    "metrics.synonym_sensitivity.sensitivity:synonym_sensitivity",
    "metrics.token_correlations.measure:measure_correlations",
    "models.ngram.modeling_ngram:NGramForCausalLM.fit",
    "models.ngram.modeling_hierarchical_ngram:HierarchicalNGramForCausalLM.fit",
    "models.ngram.configuration_ngram:NGramConfig",
    "models.rhm.modeling_rhm:RHMForCausalLM.from_grammar",
    "models.rhm.modeling_rhm:RHMForMaskedLM.from_grammar",
    "models.rhm.modeling_rhm:RHMForSequenceClassification.from_grammar",
    "models.attention_only.configuration_attention_only:AttentionOnlyConfig",
    "models.fully_connected.configuration_fully_connected:FullyConnectedConfig",
    "models.hierarchical_cnn.configuration_hierarchical_cnn:HierarchicalCNNConfig",
    "models.hierarchical_unet.configuration_hierarchical_unet:HierarchicalUNetConfig",
    "models.locally_connected.configuration_locally_connected:LocallyConnectedConfig",
    "models.lstm.configuration_lstm:LSTMConfig",
]

NAN, INF, HUGE = math.nan, math.inf, 10**30
BAD = {
    bool: ["no", "True", 2, 2.5, NAN, []],
    int: [True, 2.5, NAN, INF, "3", [], {}, HUGE, -HUGE],
    float: [True, NAN, INF, -INF, "0.5", [], {}, 1j],
    str: [True, 0, 2.5, [], {}, ""],
    list: ["abc", True, 2.5, NAN, {"0": 1}, object()],
    dict: ["abc", True, 2.5, object()],
    np.ndarray: ["abc", {"0": 1}, object(), lambda: [[0], [0, 1]], lambda: [["a"]]],
    torch.Tensor: ["abc", True, 2.5, [], {}],
    Path: [True, 2.5, [], {}, ""],
    object: ["abc", True, 2.5, [], {}, object()],
}
DOUBTFUL = {int: [0, 1, 10**12, np.int64(1)], float: [0, -1, 1e300, np.float32(0.5)], list: [[]]}
DOUBTFUL[np.ndarray] = [[], [[]], [NAN], [INF], [-1], np.zeros((0, 2)), [[[[1]]]]]
NEGATIVE = lambda: [[-1, 0, 0, 0]]  # noqa: E731
RAGGED = lambda: [[0, 1], [0]]  # noqa: E731  a value made anew for every call
OF_DOCUMENTS = {
    "metrics.context_loss.by_context.loss_by_context",
    "metrics.context_loss.compute",
    "metrics.effective_context.agree.effective_context",
    "metrics.effective_context.compute",
    "metrics.token_correlations.measure.measure_correlations",
    "metrics.token_correlations.compute",
}
BAD_IDS = [
    "abc",
    {0: [0, 1, 1, 0]},
    object(),
    NAN,
    2.5,
    True,
    RAGGED,
    lambda: [[0.5, 1.0, 1.0, 0.0]],
    lambda: [[True] * 4],
    NEGATIVE,
    lambda: [["a", "b", "c", "d"]],
    lambda: [[[0, 1, 1, 0]]],
    lambda: [[NAN] * 4],
    lambda: torch.zeros(1, 4),
    lambda: np.zeros((2, 4)),
]
DOUBTFUL_IDS: list = [list, lambda: [[]], lambda: [[10**9] * 4]]
TEXTS_TOO = {"corpus", "data"}  # parameters that take texts beside ids
IDS = {"tokens", "input_ids", "train", "data", "corpus"}  # and "samples", which may hold what is no symbol
MEANT: dict[str, tuple] = {  # values that are bad elsewhere: limits, and bounds that were not reached
    "theory.plateau(level)": (10**30,),
    "theory.learning_exponent(level)": (10**30,),
    "theory.language_exponent(gamma)": (math.inf,),
    "theory.language_exponent(beta)": (math.inf,),
    "metrics.grammaticality.compute(input_ids)": (NEGATIVE,),  # a model may draw what is no symbol
    "metrics.memorisation.compute(input_ids)": (NEGATIVE,),
    "ensembles.marked(point)": (math.inf, -math.inf, math.nan),
    "ensembles.marked_mean(mean)": (math.inf, -math.inf, math.nan),
}
WORDS = {"cli.operands.read_grammar": "text", "cli.operands.read_model": "text", "cli.corpora.read_text": "text"}
BAD_WORDS = [
    "",
    " ",
    "v4",
    "v4-m2-s2-L0",
    "v4-m99-s2-L2",
    "./nowhere",
    "~nobody/x",
    "/",
    "oracle:",
    "grammar:v4",
    "name:",
]
BAD_WORDS += ["\0", "v4-m2-s2-L2,level=9", "x" * 5000, "rules.cfg", "https://example.org/x", "a b", "ü"]
SIGNED = {"bos"}  # parameters that may be negative integers, or say so themselves
BAD_BY_NAME: dict[str, list] = {
    "grammar": [True, 2.5, [], {}, object(), NAN],
    "parameters": ["v4", True, 2.5, [], {}, object()],
    "mask": ["abc", 2.5, [], lambda: [[0, 1, 2, 3]]],
    "model": ["abc", True, 2.5, [], {}, object()],
    "process": ["abc", True, 2.5, [], {}, object()],
}


def rows() -> np.ndarray:
    """Four sentences of the small grammar, of which no test changes the originals."""
    return plain().sample(4, sampling="iid").astype(np.int64)


@functools.cache
def plain() -> grammar.Grammar:
    return grammar.Grammar.from_name("v4-m2-s2-L2")


@functools.cache
def instance(name: str) -> Any:
    return INSTANCES[name]()


def corpus() -> Any:
    return rhm_hf.char_corpus(datasets.Dataset.from_dict({"text": ["the cat sat on the mat. " * 20] * 4}))


INSTANCES: dict[str, Callable[[], Any]] = {
    "Grammar": plain,
    "SparseGrammar": lambda: grammar.Grammar.from_name("v4-m2-s2-L2-sparse1"),
    "FilteredGrammar": lambda: grammar.Grammar.from_name("v4-m2-s2-L2-cut1"),
    "HiddenMarkovSource": lambda: grammar.Grammar.from_name("hmm-v4-h2-m2-d4-p0.5"),
    "TreeGrammar": lambda: grammar.Grammar.from_name("trees-v4-s2m2-s3m2-L2"),
    "AmbiguousGrammar": lambda: grammar.Grammar.from_name("ambiguous-v4-m2-s2-L2"),
    "PCFG": lambda: grammar.PCFG.from_text(CFG),
    "TokenCorrelations": lambda: correlations(),
    "PairCounts": lambda: statistics.PairCounts([1], 4),
    "MaskedDiffusion": lambda: diffusion.MaskedDiffusion(4),
    "UniformDiffusion": lambda: diffusion.UniformDiffusion(4),
    "GaussianDiffusion": lambda: diffusion.GaussianDiffusion(4),
    "EpsilonProcess": lambda: diffusion.EpsilonProcess(4),
    "LinearSchedule": lambda: diffusion.LinearSchedule(),
    "CharCorpus": corpus,
    "CharText": lambda: corpus().splits["train"],
}
CFG = "S -> A B [0.5] | B A [0.5]\nA -> 'a' [0.5] | 'b' [0.5]\nB -> 'c' [1.0]\n"
SIZES, LOSSES = [10.0, 100.0, 1000.0, 10000.0], [[1.0, 0.8, 0.4, 0.2], [1.0, 0.7, 0.5, 0.2], [1.0, 0.8, 0.5, 0.3]]
PLAIN_PARAMETERS = grammar.GrammarParameters(8, 2, 2, 3)


def of_runs() -> list[dict[str, Any]]:
    """Rows of a table of runs."""
    return [
        {"rules_seed": seed, "model_seed": 0, "num_train": size, "kl": 1.0 / size, "kl_last": 1.0 / size, "best": 1}
        | {"data": "v4", "model": "gpt2", "train_loss": 0.1, "stopped_by": "patience", "step": 1, "run": "r"}
        for seed in range(2)
        for size in (8, 16)
    ]


def panel() -> Any:
    from rhm_hf.plots import sheet

    return sheet(1)[1][0]


GOOD: dict[str, Callable[[], Any]] = {
    "grammar": plain,
    "tokens": rows,
    "prefix": rows,
    "input_ids": rows,
    "samples": rows,
    "train": rows,
    "data": rows,
    "corpus": lambda: np.arange(5000) % 7 % 4,
    "generated": lambda: np.arange(5000) % 7 % 4,
    "mask": lambda: rows() == 1,
    "level": lambda: 1,
    "levels": lambda: plain().derivations(4, sampling="iid"),
    "num": lambda: 2,
    "i": lambda: 0,
    "j": lambda: 1,
    "node": lambda: 0,
    "position": lambda: 2,
    "index": lambda: 1,
    "rule_probs": lambda: [plain().rule_probs_at(2), plain().rule_probs_at(1)],
    "root_probs": lambda: [0.25] * 4,
    "initial": lambda: [0.5, 0.5],
    "transitions": lambda: [[0.5, 0.5], [0.5, 0.5]],
    "emissions": lambda: [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]],
    "order": lambda: 2,
    "n": lambda: 2,
    "vocab_size": lambda: 4,
    "num_symbols": lambda: 4,
    "num_synonyms": lambda: 2,
    "tuple_size": lambda: 2,
    "depth": lambda: 2,
    "num_states": lambda: 2,
    "sentence_length": lambda: 4,
    "persistence": lambda: 0.5,
    "correlation": lambda: 0.5,
    "base": lambda: grammar.GrammarParameters(4, 2, 2, 2),
    "cut_level": lambda: 1,
    "num_rules": lambda: {2: 2},
    "fraction": lambda: 0.5,
    "folder": lambda: Path(tempfile.mkdtemp()),
    "repo_id": lambda: "user/name",
    "text": lambda: CFG,
    "parameters": lambda: PLAIN_PARAMETERS,
    "squared_norms": lambda: [0.5, 0.5, 0.5],
    "num_sentences": lambda: 64,
    "gamma": lambda: 0.5,
    "beta": lambda: 0.5,
    "a": lambda: 1.0,
    "process": lambda: diffusion.MaskedDiffusion(4),
    "t": lambda: 0.5,
    "steps": lambda: 2,
    "length": lambda: 4,
    "noisy": lambda: torch.full((2, 4), 4),
    "covariance": lambda: torch.eye(4),
    "uniforms": lambda: torch.rand(2, 4),
    "times": lambda: [0.0, 0.5, 1.0],
    "first": lambda: [0.0, 0.5, 1.0],
    "second": lambda: [1.0, 0.5, 0.0],
    "dataset": lambda: dataset(),
    "characters": lambda: ["a", "b"],
    "name": lambda: "rhm_kl",
    "distances": lambda: [1, 2],
    "distance": lambda: 1,
    "sizes": lambda: SIZES,
    "losses": lambda: np.array(LOSSES),
    "plateaus": lambda: np.array([0.9, 0.5]),
    "limit": lambda: 0.0,
    "values": lambda: LOSSES[0],
    "threshold": lambda: 0.5,
    "num_latents": lambda: 2,
    "labels": lambda: np.array([0, 0, 1, 1]),
    "symbols": lambda: np.array([0, 0, 1, 1]),
    "rules": lambda: plain().rules_at(1),
    "curves": lambda: [(SIZES, curve) for curve in LOSSES],
    "x_scales": lambda: [1.0, 2.0, 4.0],
    "scales": lambda: [1.0, 2.0, 4.0],
    "x_range": lambda: (-1.0, 1.0),
    "context_length": lambda: 8,
    "stride": lambda: 4,
    "words": lambda: "a c",
    "counts": lambda: statistics.token_correlations(rows(), [1, 2]).counts,
    "tokenizer": lambda: rhm_hf.char_corpus(datasets.Dataset.from_dict({"text": ["abc"]})).tokenizer,
    "signal": lambda: np.array([0.1, 0.05, 0.02, 0.01]),
    "noise": lambda: np.array([0.01] * 4),
    "ensembles": lambda: [grammar.GrammarParameters(8, m, 2, 2) for m in (2, 3, 4)],
    "points": lambda: [np.array([64.0 * m, 70.0 * m]) for m in (2, 3, 4)],
    "s": lambda: 0.2,
    "num_windows": lambda: 4,
    "targets_per_window": lambda: 1,
    "num_tokens": lambda: 512,
    "num_train": lambda: 32,
    "longest": lambda: 4,
    "num_classes": lambda: 4,
    "vocab_sizes": lambda: [4, 4],
    "tuple_sizes": lambda: [2, 2],
    "sums": lambda: torch.ones(()),
    "model": lambda: oracle(),
    "file": lambda: Path(tempfile.mkdtemp()) / "counts.npz",
    "alpha": lambda: 0.5,
    "p": lambda: torch.full((2, 4), 0.25),
    "log_q": lambda: torch.full((2, 4), 0.25).log(),
    "log_p": lambda: torch.full((2, 4), 0.25).log(),
    "source": plain,
    "sentences": lambda: given_sentences(plain(), rows()),
    "ids": lambda: ModelIds.of(oracle(), plain(), masked=False),
    "targets": lambda: Targets(
        given_sentences(plain(), rows()),
        lambda part: torch.full((1, part.stop - part.start, 4, 4), 0.25),
        ("kl",),
        torch.ones(4, 4, dtype=torch.bool),
    ),
    "log_probs": lambda: lambda ids, mask: torch.full((*ids.shape, 4), 0.25).log(),
    "shapes": lambda: {"a": ()},
    "measure": lambda: lambda part: {"a": (torch.ones(part.stop - part.start), 1.0, 1.0)},
    "names": lambda: ["kl"],
    "rows": of_runs,
    "row": lambda: of_runs()[0],
    "argv": list,
    "arguments": lambda: rhm_hf.training.Arguments.from_dict({}),
    "ax": panel,
    "figure": lambda: panel().figure,
    "x": lambda: "num_train",
    "y": lambda: "kl",
    "of": lambda: 3,
    "panels": lambda: 1,
    "value": lambda: 0.5,
    "label": lambda: "a",
    "exact": lambda: rhm_hf.plots.plateaus(plain()),
    "path": lambda: Path(tempfile.mkdtemp()) / "a.png",
    "point": lambda: 8.0,
    "mean": lambda: 8.0,
    "num_before": lambda: 0,
    "num_beyond": lambda: 0,
    "bound": lambda: "at most",
    "marker": lambda: "o",
    "color": lambda: "black",
}


def sparse() -> grammar.SparseGrammar:
    return instance("SparseGrammar")


def sparse_rows() -> np.ndarray:
    return sparse().sample(2, sampling="iid").astype(np.int64)


def correlations() -> statistics.TokenCorrelations:
    return statistics.token_correlations(np.repeat(np.arange(5000) ** 2 % 11 % 4, 2), [1, 2, 3], 4)


def own_rules() -> list[np.ndarray]:
    return [plain().rules_at(2), plain().rules_at(1)]


def saved(source: Any) -> Path:
    folder = Path(tempfile.mkdtemp())
    source.save_pretrained(folder)
    return folder


MASKED = {"model": lambda: masked_oracle()}
PROBED = {"model": lambda: transformer()}
PROBED_SMALL = PROBED | {"num_train": lambda: 64, "num_sentences": lambda: 16}
NOISED = {
    "tokens": lambda: torch.as_tensor(rows()),
    "uniforms": lambda: diffusion.MaskedDiffusion(4).uniforms(
        torch.as_tensor(rows()), torch.Generator().manual_seed(0)
    ),
}
FOR_FUNCTION: dict[str, dict[str, Callable[[], Any]]] = {
    "theory.root_threshold": {"grammar": lambda: instance("TreeGrammar"), "arity": lambda: 2},
    "judging.read_rows": {"name": lambda: "input_ids", "rows": rows},
    "judging.compare_tokens": {"hidden": lambda: None},
    "plots.bound_mark": {"x": lambda: 8.0, "y": lambda: 0.5},
    "plots.colour": {"position": lambda: 1},
    "plots.few_ticks": {"sizes": lambda: [8.0, 16.0]},
    "ensembles.scale": {"data": of_runs},
    "ensembles.marked": {"sizes": lambda: [8.0, 16.0]},
    "training.arguments.Arguments.from_dict": {"values": lambda: {"num_train": 8}},
    "training.strict_yaml.parse_yaml": {"text": lambda: "a: 1", "source": lambda: "here"},
    "training.sweep.combinations.expand": {"values": lambda: {"num_train": [8, 16]}},
    "training.Arguments": {
        "model": lambda: rhm_hf.training.ModelArguments(),
        "data": lambda: rhm_hf.training.DataArguments(),
        "training": lambda: rhm_hf.training.TrainingArguments(),
    },
    "models.rhm.configuration_rhm.RHMConfig": {},
    "metrics.belief_probe.belief_maps.belief_probe": PROBED_SMALL,
    "metrics.belief_probe.compute": PROBED_SMALL,
    "metrics.context_loss.compute": {
        "model": lambda: ngram(),
        "input_ids": lambda: np.arange(600) % 7 % 4,
        "max_context": lambda: 4,
    },
    "metrics.effective_context.compute": {"distances": lambda: [1, 2, 3], "generated": GOOD["generated"]},
    "grammar.displace": {"grammar": sparse, "tokens": sparse_rows},
    "grammar.replace_synonyms": {"grammar": sparse, "tokens": sparse_rows},
    "grammar.SparseGrammar": {"base": plain},
    "grammar.SparseGrammar.index": {"tokens": lambda: sparse_rows()[0]},
    "grammar.SparseGrammar.parse": {"tokens": sparse_rows},
    "grammar.SparseGrammar.placements": {"tokens": sparse_rows},
    "grammar.SparseGrammar.place": {
        "base_tokens": rows,
        "placements": lambda: sparse().placements(sparse().sample(4)),
    },
    "grammar.PCFG": {"rules": lambda: instance("PCFG").rules},
    "grammar.Grammar.index": {"tokens": lambda: rows()[0]},
    "grammar.Grammar.from_rules": {"rules": own_rules},
    "grammar.grammar_from_tensors": {"rules": own_rules},
    "grammar.LayeredParameters": {"num_synonyms": lambda: [2, 2]},
    "grammar.AmbiguousGrammar": {"levels": lambda: grammar.AmbiguousParameters(4, 2, 2, 2).draw_levels()},
    "grammar.Grammar": {"rules": own_rules},
    "grammar.TreeGrammar": {"rules": lambda: instance("TreeGrammar").rules},
    "grammar.HiddenMarkovSource.parse": {
        "tokens": lambda: instance("HiddenMarkovSource").sample(2, sampling="iid").astype(np.int64)
    },
    "grammar.HiddenMarkovSource.rules_at": {"level": lambda: 0},
    "grammar.HiddenMarkovSource.rule_probs_at": {"level": lambda: 0},
    "grammar.PCFG.decode": {"tokens": lambda: [0, 2]},
    "grammar.PCFG.from_file": {"path": lambda: text_file()},
    "grammar.Grammar.from_file": {"path": lambda: text_file()},
    "grammar.PCFGParameters": {
        "vocab_size": lambda: 3,
        "num_rules": lambda: 2,
        "depth": lambda: 4,
        "tuple_sizes": lambda: [2, 3],
    },
    "grammar.SparseParameters": {"base": lambda: PLAIN_PARAMETERS, "sparsity": lambda: 1},
    "inference.posteriors": {"tokens": rows},
    "inference.sample_posterior": {"tokens": rows},
    "theory.clustering_complexity": {"level": lambda: 2},
    "theory.tuple_correlation": {"level": lambda: 2},
    "theory.sample_complexity": {"level": lambda: 2},
    "theory.sparse_sample_complexity": {"sparsity": lambda: 1},
    "statistics.PairCounts.add_documents": {"documents": lambda: [[0, 1, 2], [1, 2]]},
    "statistics.PairCounts.merge": {"other": lambda: statistics.PairCounts([1], 4)},
    "statistics.PairCounts.extend": {"tokens": lambda: [0, 1, 2]},
    "statistics.PairCounts.load": {"file": lambda: counts_file()},
    "statistics.compare_correlations": {"generated": correlations, "corpus": correlations},
    "statistics.context_curve": {
        "distances": lambda: np.array([1, 2, 3, 4]),
        "sizes": lambda: np.array([10.0, 100.0, 1e9]),
        "noise": lambda: np.array([0.05, 0.01, 0.001]),
    },
    "statistics.prefix_contexts": {
        "tokens": lambda: np.arange(5000) % 7 % 4,
        "sizes": lambda: [100, 1000],
        "distances": lambda: range(1, 9),
    },
    "statistics.learn_latents": {"tokens": lambda: plain().sample(32, sampling="iid").astype(np.int64)},
    "statistics.plateau_polygon": {"plateaus": lambda: [2.0, 1.5, 1.2, 1.0], "limit": lambda: 0.5},
    "statistics.TokenCorrelations.fit": {"t_min": lambda: 1, "t_max": lambda: 3},
    "statistics.fit_collapse": {"x_range": lambda: (-3.0, 3.0)},
    "statistics.synonym_agreement": {
        "labels": lambda: np.array([0, 0, 1, 1]),
        "symbols": lambda: np.array([0, 0, 1, 1]),
        "rules": lambda: np.arange(4),
    },
    "diffusion.as_denoiser": MASKED,
    "diffusion.ModelDenoiser": MASKED,
    "diffusion.denoise": MASKED,
    "diffusion.log_likelihood_bound": MASKED,
    "diffusion.one_step_kl": MASKED,
    "diffusion.reveal_log_probs": MASKED,
    "diffusion.revealing_law": MASKED,
    "diffusion.sample_ancestral": MASKED,
    "diffusion.sample_revealing": MASKED,
    "diffusion.MaskedDiffusion.noise": NOISED,
    "diffusion.UniformDiffusion.noise": NOISED,
    "diffusion.GaussianDiffusion.noise": NOISED,
    "diffusion.EpsilonProcess.noise": NOISED,
    "diffusion.LinearSchedule.alpha": {"t": lambda: torch.tensor(0.5)},
    "data.CharText.first": {"characters": lambda: 10},
    "data.char_corpus": {"source": lambda: datasets.Dataset.from_dict({"text": ["the cat sat. " * 20] * 4})},
    "data.export_parquet": {"grammar": plain},
    "data.grammar_of": {"dataset": lambda: rhm_dataset()},
    "tasks.Classification": {"grammar": plain},
    "metrics.context_loss.by_context.loss_by_context": {
        "model": lambda: ngram(),
        "input_ids": lambda: np.arange(600) % 7 % 4,
        "max_context": lambda: 4,
    },
    "metrics.effective_context.agree.effective_context": {
        "distances": lambda: [1, 2, 3],
        "generated": GOOD["generated"],
    },
    "metrics.latent_probe.probe.latent_probe": PROBED,
    "metrics.representation_probe.similarity.representation_probe": PROBED,
    "metrics.synonym_sensitivity.sensitivity.synonym_sensitivity": PROBED,
    "metrics.grammaticality.correctness.grammaticality": {},
}
NAMES = {
    "AmbiguousParameters": "ambiguous-v4-m2-s2-L2",
    "ColouringParameters": "colouring-q3-s2-L2",
    "PCFG": "pcfg-dyck2",
    "FilteredParameters": "v4-m2-s2-L2-cut1",
    "Grammar": "v4-m2-s2-L2",
    "GrammarParameters": "v4-m2-s2-L2",
    "HiddenMarkovParameters": "hmm-v4-h2-m2-d4-p0.5",
    "IsingParameters": "ising-rho0.5-s2-L2",
    "LayeredParameters": "layered-c4-v4.4-m2.2-s2.2",
    "PCFGParameters": "pcfg-dyck2",
    "SparseParameters": "v4-m2-s2-L2-sparse1",
    "TreeGrammar": "trees-v4-s2m2-s3m2-L2",
    "TreeParameters": "trees-v4-s2m2-s3m2-L2",
}
FOR_FUNCTION |= {
    f"metrics.{metric}.compute": PROBED for metric in ("latent_probe", "representation_probe", "synonym_sensitivity")
}
FOR_FUNCTION |= {f"grammar.{name}.from_name": {"name": functools.partial(str, value)} for name, value in NAMES.items()}
FOR_FUNCTION |= {
    f"grammar.{name}.from_pretrained": {"folder": lambda name=name: saved(instance(name))}
    for name in INSTANCES
    if isinstance(getattr(grammar, name, None), type)
}


@functools.cache
def masked_oracle() -> torch.nn.Module:
    return rhm_hf.RHMForMaskedLM.from_grammar(plain())


@functools.cache
def transformer() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=7, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=4, eos_token_id=5)
    ).eval()


@functools.cache
def rhm_dataset() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return datasets.load_dataset(
            "rhm",
            name="v4-m2-s2-L2",
            train_size=8,
            validation_size=2,
            test_size=2,
            cache_dir=folder,
            keep_in_memory=True,
        )


METRICS = {  # and the function behind each
    "rhm_kl": "rhm_kl.kl:kl_divergence",
    "context_loss": "context_loss.by_context:loss_by_context",
    "effective_context": "effective_context.agree:effective_context",
    "grammaticality": "grammaticality.correctness:grammaticality",
    "latent_probe": "latent_probe.probe:latent_probe",
    "belief_probe": "belief_probe.belief_maps:belief_probe",
    "memorisation": "memorisation.copies:memorisation",
    "representation_probe": "representation_probe.similarity:representation_probe",
    "synonym_sensitivity": "synonym_sensitivity.sensitivity:synonym_sensitivity",
    "token_correlations": "token_correlations.measure:measure_correlations",
}
MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "RHMForCausalLM": lambda: oracle(),
    "RHMForMaskedLM": lambda: masked_oracle(),
    "RHMForSequenceClassification": lambda: rhm_hf.RHMForSequenceClassification.from_grammar(plain()),
    "NGramForCausalLM": lambda: ngram(),
    "HierarchicalNGramForCausalLM": lambda: rhm_hf.HierarchicalNGramForCausalLM.fit(rows(), plain()),
    "AttentionOnlyForCausalLM": lambda: rhm_hf.AttentionOnlyForCausalLM(
        rhm_hf.AttentionOnlyConfig(vocab_size=7, hidden_size=16)
    ),
    "LSTMForCausalLM": lambda: rhm_hf.LSTMForCausalLM(rhm_hf.LSTMConfig(vocab_size=7, hidden_size=8)),
    "LSTMForSequenceClassification": lambda: rhm_hf.LSTMForSequenceClassification(
        rhm_hf.LSTMConfig(vocab_size=7, hidden_size=8)
    ),
    "HierarchicalCNNForSequenceClassification": lambda: rhm_hf.HierarchicalCNNForSequenceClassification(
        rhm_hf.HierarchicalCNNConfig(vocab_size=7, max_position_embeddings=4, num_hidden_layers=2, hidden_size=8)
    ),
    "HierarchicalUNetForMaskedLM": lambda: rhm_hf.HierarchicalUNetForMaskedLM(
        rhm_hf.HierarchicalUNetConfig(vocab_size=7, num_hidden_layers=2, hidden_size=8)
    ),
}
FOR_FUNCTION |= {f"models.{name}.forward": {"input_ids": lambda: torch.as_tensor(rows())} for name in MODELS}


def text_file() -> Path:
    path = Path(tempfile.mkdtemp()) / "rules.cfg"
    path.write_text(CFG)
    return path


def counts_file() -> Path:
    path = Path(tempfile.mkdtemp()) / "counts.npz"
    statistics.token_correlations(rows(), [1, 2]).counts.save(path)
    return path


@functools.cache
def oracle() -> torch.nn.Module:
    return rhm_hf.RHMForCausalLM.from_grammar(plain())


@functools.cache
def ngram() -> torch.nn.Module:
    return rhm_hf.NGramForCausalLM.fit(np.arange(600) % 7 % 4, 2, tied=True)


@functools.cache
def dataset() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"input_ids": rows().tolist()}).cast_column(
        "input_ids", datasets.List(datasets.Value("int64"), length=4)
    )


def good_arguments(name: str, parameters: list[inspect.Parameter]) -> dict[str, Callable[[], Any]]:
    """Makers of good values: for a function by its name, else by the parameter's, for all that have no default."""
    special = FOR_FUNCTION.get(name, {})
    good = {p.name: special.get(p.name) or GOOD.get(p.name) for p in parameters if p.default is p.empty}
    good |= special
    missing = [parameter for parameter, maker in good.items() if maker is None]
    if missing:
        raise LookupError(f"{name} has no good value for {', '.join(missing)}: add it to benchmarks.fuzz_values")
    if "input_ids" in {p.name for p in parameters} and "num_sentences" in {p.name for p in parameters}:
        good["num_sentences"] = GOOD["num_sentences"]
    return good


def kind_of(hint: Any) -> Any:
    """Which list of bad values a type has; None for what its hint leaves open."""
    if hint in (Any, inspect.Parameter.empty) or isinstance(hint, str):
        return None
    origin = typing.get_origin(hint) or hint
    if origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable):
        return list
    if origin in (dict, collections.abc.Mapping):
        return dict
    if origin in BAD:
        return origin
    return object if inspect.isclass(origin) else None


def fits(value: Any, kind: Any) -> bool:
    """Whether a value that is bad for one type is good for another of the same union."""
    if kind is object:
        return False
    if kind is list:
        return isinstance(value, list | tuple)
    if kind is np.ndarray:
        return isinstance(value, list)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < HUGE
    if kind is Path:
        return isinstance(value, str) and value != ""
    return isinstance(value, kind)


def is_meant(name: str, parameter: str, value: Any) -> bool:
    """Whether a value that is bad elsewhere has a meaning here."""
    if name.startswith("training.") and name.endswith("Arguments") and value in ("3", "0.5"):
        return True  # as files hold numbers in quotes
    if parameter in ("return_dict", "output_hidden_states"):
        return True  # transformers passes None, and takes anything for a flag
    if parameter == "grammar" and value is None and name.endswith(".compute"):
        return True  # the grammar beside the model
    return any(value is known or value == known for known in MEANT.get(f"{name}({parameter})", ()))


def compute_of(metric: str) -> Callable:
    """`compute` of a metric as `evaluate` gives it, with the parameters of the function behind it."""
    path, function_name = METRICS[metric].split(":")
    function = getattr(importlib.import_module(f"rhm_hf.metrics.{path}"), function_name)
    loaded = rhm_hf.load_metric(metric)

    @functools.wraps(function)
    def compute(**kwargs: Any) -> Any:
        return loaded.compute(**kwargs)

    parameters = [
        p.replace(name="input_ids", kind=p.KEYWORD_ONLY) if p.name == "samples" else p.replace(kind=p.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
    ]
    compute.__signature__ = inspect.Signature(parameters)
    return compute


@functools.cache
def model(name: str) -> torch.nn.Module:
    return MODELS[name]()


def is_ours(function: Any) -> bool:
    return inspect.unwrap(function).__module__.startswith("rhm_hf")
