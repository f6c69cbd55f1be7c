"""Denoisers: the exact one against enumeration, the oracle as a model, architectures of transformers."""

import math

import numpy as np
import pytest
import torch
from exact_chain import Chain
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
)

from rhm_hf import Grammar, HierarchicalUNetConfig, HierarchicalUNetForMaskedLM, RHMForMaskedLM
from rhm_hf.diffusion import (
    ExactDenoiser,
    GaussianDiffusion,
    MaskedDiffusion,
    ModelDenoiser,
    UniformDiffusion,
    as_denoiser,
)
from rhm_hf.grammar.enumeration import enumerate_sentences


TINY = Grammar.from_name("v3-m2-s2-L2", rules_seed=2)
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
NO_IDS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}


def model_of(kind, num_ids=6):
    torch.manual_seed(0)
    if kind == "bert":
        return BertForMaskedLM(BertConfig(vocab_size=num_ids, max_position_embeddings=5, **SMALL, **NO_IDS)).eval()
    if kind == "modernbert":
        ids = NO_IDS | {"cls_token_id": None, "sep_token_id": None}
        return ModernBertForMaskedLM(ModernBertConfig(vocab_size=num_ids, **SMALL, **ids)).eval()
    if kind == "llama":
        config = LlamaConfig(vocab_size=num_ids, num_key_value_heads=2, **SMALL, **NO_IDS)
        config.is_causal = False
        return LlamaForCausalLM(config).eval()
    config = HierarchicalUNetConfig(vocab_size=num_ids, hidden_size=16, num_hidden_layers=2, max_position_embeddings=4)
    return HierarchicalUNetForMaskedLM(config).eval()


@pytest.mark.parametrize("process", [MaskedDiffusion(3), UniformDiffusion(3, "cosine")], ids=lambda p: p.name)
def test_the_exact_denoiser_is_bayes_over_all_sentences(process):
    tokens, probs = enumerate_sentences(TINY)
    chain = Chain(process, tokens, probs)
    for t in (0.3, 0.9):
        possible = chain.joint(t).sum(0) > 0
        found = ExactDenoiser(TINY, process)(torch.from_numpy(chain.ids[possible]), t).exp()
        np.testing.assert_allclose(found.numpy(), chain.denoised(t)[possible], rtol=0, atol=1e-12)
        rough = ExactDenoiser(TINY, process, torch.float32)(torch.from_numpy(chain.ids[possible]), t)
        assert rough.dtype == torch.float32
        np.testing.assert_allclose(rough.exp().numpy(), found.numpy(), rtol=0, atol=1e-5)
    if process.name == "masked":
        dead = torch.from_numpy(chain.ids[~possible])
        assert ExactDenoiser(TINY, process)(dead, 0.5).sub(-math.log(3)).abs().max() < 1e-12


def test_the_exact_denoiser_of_gaussian_noise():
    tokens, probs = enumerate_sentences(TINY)
    process, t = GaussianDiffusion(3), 0.7
    z = process.noise(torch.from_numpy(tokens[:6].astype(np.int64)), t, torch.rand(6, 4, 3))
    alpha = 1 - t
    distance = ((z[:, None] - math.sqrt(alpha) * torch.eye(3, dtype=torch.float64)[tokens.astype(int)]) ** 2).sum(
        (2, 3)
    )
    weights = torch.from_numpy(probs).log() - distance / (2 * (1 - alpha))
    expected = torch.einsum("nx,xiv->niv", weights.softmax(1), torch.eye(3, dtype=torch.float64)[tokens.astype(int)])
    found = ExactDenoiser(TINY, process)(z, t).exp()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_oracle_is_a_model_and_a_denoiser():
    process, oracle = MaskedDiffusion(3), RHMForMaskedLM.from_grammar(TINY)
    ids = torch.tensor([[0, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 2]])
    found, exact = as_denoiser(oracle, process)(ids, 0.7), as_denoiser(TINY, process)(ids, 0.7)
    assert isinstance(as_denoiser(oracle, process), ModelDenoiser)
    hidden = ids == 5
    torch.testing.assert_close(found[hidden], exact[hidden], rtol=0, atol=1e-12)
    assert as_denoiser(exact_one := ExactDenoiser(TINY, process), process) is exact_one


@pytest.mark.parametrize("kind", ["bert", "modernbert", "llama", "unet"])
def test_architectures_see_the_whole_sentence(kind):
    process, model = MaskedDiffusion(3), model_of(kind)
    denoiser = ModelDenoiser(model, process)
    ids = torch.tensor([[0, 1, 5, 5]])
    law = denoiser(ids, 0.5)
    assert law.shape == (1, 4, 3)
    assert law.dtype == torch.float32
    assert law.exp().sum(-1).sub(1).abs().max() < 1e-5
    assert denoiser.time == "none"
    assert torch.equal(denoiser(ids, 0.9), law)
    last = denoiser(torch.tensor([[0, 1, 5, 2]]), 0.5)
    first = denoiser(torch.tensor([[2, 1, 5, 5]]), 0.5)
    assert (last[0, 0] - law[0, 0]).abs().max() > 1e-7  # the first token's law depends on the last token
    assert (first[0, 3] - law[0, 3]).abs().max() > 1e-7
    law.sum().backward()
    assert next(model.parameters()).grad is not None


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_ids_beyond_the_vocabulary_are_times(kind):
    denoiser = ModelDenoiser(model_of(kind, num_ids=6 + 10), UniformDiffusion(3))
    assert (denoiser.time, denoiser.num_bins) == ("token", 10)
    ids = torch.tensor([[0, 1, 2, 0]]).expand(3, 4)
    laws = denoiser(ids, torch.tensor([0.31, 0.39, 1.0]))
    assert laws.shape == (3, 4, 3)
    torch.testing.assert_close(laws[0], laws[1])
    assert (laws[0] - laws[2]).abs().max() > 1e-6
    seen = denoiser.model(input_ids=torch.tensor([[6 + 3, 0, 1, 2, 0]])).logits[:, 1:, :3].log_softmax(-1)
    torch.testing.assert_close(laws[:1], seen)


def test_a_time_embedding_is_fed():
    config = HierarchicalUNetConfig(
        vocab_size=6, hidden_size=16, num_hidden_layers=2, max_position_embeddings=4, time_embedding=True
    )
    torch.manual_seed(0)
    denoiser = ModelDenoiser(HierarchicalUNetForMaskedLM(config).eval(), UniformDiffusion(3))
    assert denoiser.time == "argument"
    ids = torch.tensor([[0, 1, 2, 0], [0, 1, 2, 0]])
    laws = denoiser(ids, torch.tensor([0.2, 0.8]))
    assert (laws[0] - laws[1]).abs().max() > 1e-6
    torch.testing.assert_close(denoiser(ids, 0.8)[0], laws[1])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ExactDenoiser(TINY, MaskedDiffusion(4)), "num_symbols=4 and the grammar vocab_size=3"),
        (lambda: ModelDenoiser(model_of("bert", 5), MaskedDiffusion(3)), "the model has 5 ids: it needs 6"),
        (lambda: ModelDenoiser(model_of("bert"), GaussianDiffusion(3)), "needs a discrete process"),
        (
            lambda: ModelDenoiser(
                GPT2LMHeadModel(GPT2Config(vocab_size=6, n_embd=8, n_layer=1, n_head=1)), MaskedDiffusion(3)
            ),
            "GPT2LMHeadModel.*sees only what lies before",
        ),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
