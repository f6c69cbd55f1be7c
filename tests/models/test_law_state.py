"""Laws as models: masks and padding of any id, sentences of varying length, state that follows the buffers."""

import copy
import hashlib
import pickle

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from rhm_hf import (
    AttentionOnlyConfig,
    AttentionOnlyForCausalLM,
    Grammar,
    HierarchicalNGramForCausalLM,
    NGramForCausalLM,
    RHMConfig,
    RHMForCausalLM,
    RHMForMaskedLM,
    RHMForSequenceClassification,
)
from rhm_hf.grammar import Source
from rhm_hf.grammar.laws.base import Laws
from rhm_hf.grammar.registry import register


GRAMMAR = Grammar.from_name("v5-m3-s2-L2-c3")
V, D = GRAMMAR.vocab_size, GRAMMAR.sentence_length
BOS, PAD, MASK = V, V + 1, V + 2
ROWS = torch.from_numpy(GRAMMAR.sample(6, sampling="iid").astype(np.int64))


def joined(*columns, rows=ROWS) -> torch.Tensor:
    """Rows with constant columns around them; None stands for the rows."""
    parts = [rows if column is None else rows.new_full((len(rows), 1), column) for column in columns]
    return torch.cat(parts, 1)


# Padding.


@pytest.mark.parametrize("pad", [PAD, BOS, 0])
def test_causal_laws_take_padding_of_any_id_where_the_mask_says_so(pad):
    oracle = RHMForCausalLM.from_grammar(GRAMMAR)
    rows = oracle(joined(BOS, None)).logits
    ids = joined(pad, pad, BOS, None)
    mask = torch.ones_like(ids)
    mask[:, :2] = 0
    assert torch.equal(oracle(ids, attention_mask=mask).logits[:, 2:], rows)
    right = joined(BOS, None, pad, pad)
    assert torch.equal(oracle(right, attention_mask=mask.flip(1)).logits[:, : D + 1], rows)
    if pad != 0:
        assert torch.equal(oracle(ids).logits[:, 2:], rows)
    for kind in (NGramForCausalLM.fit(ROWS, 2), NGramForCausalLM.fit(ROWS, 2, tied=True)):
        padded = kind(ids, attention_mask=mask).logits[:, 2:]
        assert torch.allclose(padded.exp(), kind(joined(BOS, None)).logits.exp())


@pytest.mark.parametrize("pad", [PAD, BOS])
def test_generation_from_prompts_of_different_lengths_is_grammatical(pad):
    oracle = RHMForCausalLM.from_grammar(GRAMMAR)
    prompts = [[BOS], [BOS, *ROWS[0, :1].tolist()], [BOS, *ROWS[1, :3].tolist()]] * 40
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    torch.manual_seed(0)
    options = {"attention_mask": mask, "pad_token_id": pad, "use_cache": True, "cache_implementation": "static"}
    found = oracle.generate(ids, **options, max_new_tokens=D)
    for prompt, row in zip(prompts, found.tolist(), strict=True):
        start = width - len(prompt) + 1
        GRAMMAR.index(np.array(row[start : start + D]))  # raises where it is no sentence


def test_a_mask_that_hides_ids_between_others_is_refused_by_causal_laws():
    mask = torch.ones_like(ROWS)
    mask[0, 1] = 0
    with pytest.raises(ValueError, match="hides ids between visible ones"):
        RHMForCausalLM.from_grammar(GRAMMAR)(ROWS, attention_mask=mask)
    with pytest.raises(ValueError, match=r"attention_mask has shape \(6, 3\)"):
        RHMForCausalLM.from_grammar(GRAMMAR)(ROWS, attention_mask=mask[:, :3])


def test_masked_laws_answer_in_place_whatever_stands_around_a_sentence():
    oracle, classifier = (cls.from_grammar(GRAMMAR) for cls in (RHMForMaskedLM, RHMForSequenceClassification))
    hidden = ROWS.clone()
    hidden[:, 1], hidden[:3, 0] = MASK, MASK
    laws, classes = oracle(hidden).logits, classifier(hidden).logits
    for before, after in [((), (PAD,)), ((), (BOS,)), ((BOS,), (BOS,)), ((PAD, BOS), (BOS, PAD)), ((BOS,), ())]:
        ids = joined(*before, None, *after, rows=hidden)
        found = oracle(ids).logits
        assert torch.equal(found[:, len(before) : len(before) + D], laws)
        assert torch.equal(classifier(ids).logits, classes)
        around = torch.ones(ids.shape[1], dtype=torch.bool)
        around[len(before) : len(before) + D] = False
        own = found[:, around].gather(2, ids[:, around][..., None])
        assert (own == 0).all()  # all mass on themselves
    padded, mask = joined(0, 0, None, rows=hidden), torch.ones(6, D + 2)
    mask[:, :2] = 0
    assert torch.equal(oracle(padded, attention_mask=mask).logits[:, 2:], laws)
    inside = torch.where(hidden == MASK, 0, 1)  # the mask hides tokens as MASK does
    assert torch.equal(oracle(ROWS, attention_mask=inside).logits, laws)
    assert torch.equal(classifier(ROWS, attention_mask=inside).logits, classes)
    starts = joined(None, rows=torch.where(hidden == MASK, PAD, hidden))  # a special id at the first place, no room
    assert torch.equal(oracle(starts).logits, laws)
    with pytest.raises(ValueError, match="more than the 4 tokens"):
        oracle(joined(None, 0))
    with pytest.raises(ValueError, match="give one of input_ids="):
        oracle()


# No cache.


@pytest.mark.parametrize(
    "asked",
    [
        {"use_cache": True},
        {"use_cache": True, "cache_implementation": "static"},
        {"generation_config": GenerationConfig(do_sample=True, top_k=0, use_cache=True, max_new_tokens=D)},
        {"num_beams": 3, "use_cache": True, "do_sample": False},
    ],
)
def test_generation_reads_the_whole_prefix_whatever_is_asked(asked):
    oracle = RHMForCausalLM.from_grammar(GRAMMAR)
    torch.manual_seed(0)
    found = oracle.generate(torch.full((50, 1), BOS), **asked)
    for row in found[:, 1 : 1 + D].numpy():
        GRAMMAR.index(row)
    with pytest.raises(ValueError, match="has no key-value cache"):
        oracle.generate(torch.full((1, 1), BOS), past_key_values=object())
    torch.manual_seed(0)
    trained = AttentionOnlyForCausalLM(AttentionOnlyConfig(vocab_size=V + 3, hidden_size=16, num_attention_heads=2))
    plain = trained.generate(torch.full((3, 1), BOS), do_sample=False)
    assert torch.equal(trained.generate(torch.full((3, 1), BOS), do_sample=False, use_cache=True), plain)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_ids_of_all_integer_types_are_read_alike(dtype):
    """Rows of a dataset come in the smallest type that holds a symbol, which special ids may exceed."""
    for model, ids in (
        (RHMForCausalLM, joined(BOS, None, PAD)),
        (RHMForMaskedLM, joined(MASK, None, rows=ROWS[:, 1:])),
    ):
        oracle = model.from_grammar(GRAMMAR)
        assert torch.equal(oracle(ids.to(dtype)).logits, oracle(ids).logits)
        for wrong in (torch.float32, torch.bool):
            with pytest.raises(ValueError, match="ids are integers"):
                oracle(ids.to(wrong))


# State.


def other() -> Grammar:
    return Grammar.from_name("v5-m3-s2-L2-c3", rules_seed=7)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("cls", [RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification])
def test_an_oracles_law_and_grammar_follow_its_buffers(cls, assign, tmp_path):
    model, wanted = cls.from_grammar(GRAMMAR), cls.from_grammar(other())
    model(ROWS)
    assert model.grammar == GRAMMAR
    assert model.grammar.name == GRAMMAR.name
    model.load_state_dict(wanted.state_dict(), assign=assign)
    rows = torch.from_numpy(other().sample(5, sampling="iid").astype(np.int64))
    assert torch.equal(model(rows).logits, wanted(rows).logits)
    assert model.grammar == other()
    assert model.grammar.parameters is None  # the name was the other grammar's
    model.save_pretrained(tmp_path)
    assert Grammar.from_pretrained(tmp_path) == other()
    model.load_state_dict(cls.from_grammar(GRAMMAR).state_dict())
    assert model.grammar.name == GRAMMAR.name


@pytest.mark.parametrize("how", ["data", "numpy"])
def test_laws_follow_changes_that_pytorch_does_not_count(how):
    """Averages of weights and collectives write to `.data`; what is written to a numpy view has no version."""
    model, wanted = RHMForCausalLM.from_grammar(GRAMMAR), RHMForCausalLM.from_grammar(other())
    model(ROWS)
    for name, buffer in wanted.named_buffers():
        own = dict(model.named_buffers())[name]
        version = own._version
        own.data.copy_(buffer) if how == "data" else np.copyto(own.numpy(), buffer.numpy())
        assert own._version == version
    assert torch.equal(model(ROWS).logits, wanted(ROWS).logits)
    assert model.grammar == other()


def test_n_grams_follow_their_buffers():
    model = NGramForCausalLM.fit(ROWS, 1, num_symbols=V, smoothing="add_k")
    before = model(ROWS).logits
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.startswith("counts"):
                buffer.add_(3)
    assert torch.equal(model(ROWS).logits, copy.deepcopy(model)(ROWS).logits)
    assert not torch.allclose(model(ROWS).logits, before)
    hierarchical = HierarchicalNGramForCausalLM.fit(ROWS, GRAMMAR, smoothing="add_k")
    before = hierarchical(ROWS).logits
    with torch.no_grad():
        for name, buffer in hierarchical.named_buffers():
            if name.startswith("counts"):
                buffer.add_(3)
    assert not torch.equal(hierarchical(ROWS).logits, before)


def test_a_law_that_is_made_in_inference_mode_follows_its_buffers_too():
    with torch.inference_mode():
        model = RHMForCausalLM.from_grammar(GRAMMAR)
        before = model(ROWS).logits
        for name, buffer in RHMForCausalLM.from_grammar(other()).named_buffers():
            getattr(model, name).copy_(buffer)
        assert not torch.equal(model(ROWS).logits, before)
        assert model.grammar == other()


def test_use_leaves_no_trace_in_a_model():
    models = [
        RHMForCausalLM.from_grammar(GRAMMAR),
        RHMForMaskedLM.from_grammar(GRAMMAR),
        NGramForCausalLM.fit(ROWS, 2),
    ]
    for model in models:
        before, fields = hashlib.sha256(pickle.dumps(model)).hexdigest(), set(vars(model))
        model(ROWS)
        _ = getattr(model, "grammar", None), getattr(model, "laws", None)
        assert set(vars(model)) == fields
        assert hashlib.sha256(pickle.dumps(model)).hexdigest() == before
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(ROWS).logits, model(ROWS).logits)


def test_parameters_that_are_not_those_of_the_numbers_give_no_name():
    config = RHMConfig.from_grammar(GRAMMAR)
    config.source = config.source | {"parameters": other().parameters.to_dict()}
    model = RHMForCausalLM(config)._hold(GRAMMAR)
    assert model.grammar == GRAMMAR
    assert model.grammar.name.startswith("custom-")
    with pytest.raises(ValueError, match=r"rule_shapes.*rhm_hf 0\.1"):
        RHMConfig(rule_shapes=[[1, 1, 2]])


def test_what_goes_to_the_hub_holds_the_grammar(tmp_path, monkeypatch):
    commits = []

    class Api:
        def create_repo(self, repo_id, **kwargs):
            return type("Url", (), {"repo_id": f"me/{repo_id}"})

        def create_commit(self, operations, **kwargs):
            commits.append((sorted(o.path_in_repo for o in operations), kwargs["repo_id"], kwargs["commit_message"]))

    for module in ("transformers.utils.hub", "transformers.modeling_utils"):
        monkeypatch.setattr(f"{module}.hf_api", Api, raising=False)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *args, **kwargs: _Card())
    monkeypatch.setattr(
        "transformers.modeling_utils.create_and_tag_model_card", lambda *a, **k: _Card(), raising=False
    )
    model = RHMForCausalLM.from_grammar(GRAMMAR)
    model.save_pretrained(tmp_path / "oracle", push_to_hub=True, commit_message="An oracle")
    (files, repo, message), = commits  # fmt: skip
    assert (repo, message) == ("me/oracle", "An oracle")
    assert {"config.json", "model.safetensors", "grammar/grammar.json", "grammar/grammar.safetensors"} <= set(files)
    assert Grammar.from_pretrained(tmp_path / "oracle") == GRAMMAR


class _Card:
    def save(self, path):
        pass


# Sentences of varying length.


class Runs(Source):
    """0 .. 0 1 with k zeros, of probability p[k], k = 0 .. K - 1: a source of a test."""

    family, lengths_vary, vocab_size = "runs_of_a_test", True, 2

    def __init__(self, probs, parameters=None):
        self.probs, self.parameters = np.asarray(probs, dtype=np.float64), parameters
        self.max_length, self.num_sentences = len(self.probs), len(self.probs)
        self.entropy = float(-(self.probs * np.log(self.probs)).sum())

    def arrays(self):
        return {"probs": self.probs}

    def settings(self):
        return {}

    @classmethod
    def from_arrays(cls, arrays, settings, parameters=None):
        return cls(arrays["probs"], parameters)

    @property
    def laws(self):
        return RunsLaws(self)

    def sentences(self) -> list[list[int]]:
        return [[0] * k + [1] for k in range(self.max_length)]


class RunsLaws(Laws):
    def token_laws(self, tokens, positions, context_level, context_length, dtype):
        probs = torch.full((len(tokens), positions, 3), 1 / 3, dtype=dtype)
        valid = torch.zeros(len(tokens), positions, dtype=torch.bool)
        for row, ids in enumerate(tokens.tolist()):
            for i in range(positions):
                fits = [
                    (s, p) for s, p in zip(self.source.sentences(), self.source.probs, strict=True) if s[:i] == ids[:i]
                ]
                if fits:
                    valid[row, i], law = True, np.zeros(3)
                    for sentence, p in fits:
                        law[sentence[i] if i < len(sentence) else 2] += p
                    probs[row, i] = torch.from_numpy(law / law.sum())
        return probs, valid

    def posteriors(self, tokens=None, mask=None, evidence=None, dtype=None, return_log_evidence=False):
        laws = torch.full((*tokens.shape, 2), 0.5, dtype=torch.float64)
        for row, (ids, hidden) in enumerate(zip(tokens.tolist(), mask.tolist(), strict=True)):
            length = ids.index(3) if 3 in ids else len(ids)
            sentence = [0] * (length - 1) + [1]  # the only one of its length
            if all(h or a == b for a, b, h in zip(ids, sentence, hidden, strict=False)):
                laws[row, :length] = torch.nn.functional.one_hot(torch.tensor(sentence), 2).double()
        return [laws], torch.zeros(len(tokens))


register(Runs)


def test_an_oracle_of_sentences_of_varying_length_ends_them(tmp_path):
    source = Runs([0.5, 0.2, 0.2, 0.1])
    PreTrainedModel.save_pretrained(RHMForCausalLM.from_grammar(source), tmp_path)
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert oracle.grammar == source
    assert oracle.config.sentence_length is None
    ids = torch.tensor([[2, 0, 1, 2, 3], [2, 1, 2, 3, 3], [2, 0, 0, 0, 1], [2, 1, 1, 0, 3]])
    laws = oracle(ids).logits.exp()
    assert laws.shape == (4, 5, 5)
    assert torch.allclose(laws[0, 0, :3], torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))
    assert torch.allclose(laws[0, 1, :3], torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64))
    assert (laws[0, 2:, 2] == 1).all()  # END, and nothing else after it
    assert (laws[1, 1:, 2] == 1).all()
    assert laws[2, 4, 2] == 1
    assert torch.allclose(laws[3, 2:, :3], torch.full((3, 3), 1 / 3, dtype=torch.float64))  # impossible
    longer = torch.cat([ids[2:3], torch.tensor([[0, 0, 2]])], 1)
    assert torch.allclose(oracle(longer).logits.exp()[0, 5:, :3], torch.full((3, 3), 1 / 3, dtype=torch.float64))
    torch.manual_seed(0)
    found = oracle.generate(torch.full((4000, 1), 2))
    assert found.shape[1] <= 1 + 4 + 1
    lengths = (found[:, 1:] < 2).sum(1)
    counts = np.bincount(lengths.numpy(), minlength=5)[1:] / 4000
    assert np.abs(counts - source.probs).max() < 4 * np.sqrt(0.25 / 4000)
    masked = RHMForMaskedLM.from_grammar(source)
    rows = torch.tensor([[2, 4, 0, 1, 2, 3], [2, 0, 4, 2, 3, 3], [3, 2, 4, 4, 4, 4]])
    laws = masked(rows).logits.exp()
    assert laws[0, 1, 0] == 1
    assert laws[1, 2, 1] == 1
    assert (laws[2, 2:5, 0] == 1).all()
    assert laws[2, 5, 1] == 1
    assert laws[0, 5, 3] == laws[0, 4, 2] == 1  # PAD and END are themselves
    with pytest.raises(ValueError, match="no aligned blocks"):
        RHMForCausalLM.from_grammar(source, context_level=1)
