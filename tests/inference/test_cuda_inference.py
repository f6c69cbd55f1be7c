"""The same laws on a GPU."""

import numpy as np
import pytest
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.inference import log_prob, next_token_probs, parse, posteriors, prefix_probs, sample_posterior


pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none"),
]


@pytest.mark.parametrize(
    "name",
    [
        *["v16-m4-s2-L4", "v8-m4-s3-L3", "v64-m8-s4-L4", "v32-m8-s2-L10"],
        *["v16-m4-s2-L5-cut2", "hmm-v16-h8-m4-d32-p0.5"],
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_cpu_and_gpu_agree(name, dtype, tolerance):
    grammar = Grammar.from_name(name)
    tokens = torch.as_tensor(grammar.sample(6).astype(np.int64))
    tokens[0, 2] = (tokens[0, 2] + 1) % grammar.vocab_size
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    for context in ({}, {"context_level": 2}, {"context_length": 5}):
        expected = next_token_probs(grammar, tokens, dtype=dtype, **context)
        found = next_token_probs(grammar, tokens.cuda(), dtype=dtype, **context)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=tolerance)
        found, valid = prefix_probs(grammar, tokens[:, :7].cuda(), dtype=dtype, **context)
        assert found.is_cuda
        assert valid.is_cuda
        torch.testing.assert_close(found.cpu(), expected[:, :8], rtol=0, atol=tolerance)
    torch.testing.assert_close(log_prob(grammar, tokens.cuda()).cpu(), log_prob(grammar, tokens))
    for found, parsed in zip(parse(grammar, tokens.cuda()), parse(grammar, tokens), strict=True):
        assert torch.equal(found.cpu(), parsed)
    expected, logs = posteriors(grammar, tokens, mask, dtype=dtype, return_log_evidence=True)
    laws, found_logs = posteriors(grammar, tokens.cuda(), mask.cuda(), dtype=dtype, return_log_evidence=True)
    torch.testing.assert_close(found_logs.cpu(), logs, rtol=tolerance, atol=tolerance)
    for law, other in zip(laws, expected, strict=True):
        assert law.is_cuda
        torch.testing.assert_close(law.cpu(), other, rtol=0, atol=tolerance)


def test_samples_on_the_gpu_are_sentences():
    grammar = Grammar.from_name("v32-m8-s2-L6")
    tokens = torch.as_tensor(grammar.sample(50).astype(np.int64)).cuda()
    mask = torch.rand(tokens.shape, device="cuda") < 0.5
    drawn = sample_posterior(grammar, tokens, mask, generator=torch.Generator("cuda").manual_seed(0))[0]
    assert torch.equal(drawn[~mask], tokens[~mask])
    assert log_prob(grammar, drawn).isfinite().all()
