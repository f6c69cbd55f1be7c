"""What cannot be built is refused with an estimate, at once; what has no name is no grammar."""

import numpy as np
import pytest

from rhm_hf import NGramForCausalLM, resolve_grammar, rhm_tokenizer
from rhm_hf.grammar import Grammar, GrammarParameters
from rhm_hf.theory import plateau


def test_sizes_are_refused_with_an_estimate():
    with pytest.raises(ValueError, match=r"num_synonyms=2 rules of tuple_size=1073741824 .* about 64 GiB of memory"):
        GrammarParameters(8, 2, 2**30, 1)
    with pytest.raises(ValueError, match=r"num_symbols=50000000 would take about 93.1 GiB of memory"):
        rhm_tokenizer(5 * 10**7)
    text = np.arange(10**6) % 7 % 4
    with pytest.raises(ValueError, match=r"order=100000: contexts of 1000000 tokens would take about .* GiB"):
        NGramForCausalLM.fit(text, 10**5, tied=True)
    with pytest.raises(ValueError, match=r"num=100000 sentences of hmm-.* would take about 97.7 GiB"):
        Grammar.from_name(f"hmm-v4-h2-m2-d{2**20}-p0.5").sample(100_000)
    assert plateau(GrammarParameters(8, 2, 2, 3), 10**30) > 0  # a limit, answered at once


def test_one_long_row_needs_one_table():
    with pytest.raises(ValueError, match=r"input_ids holds one row: .* pass tied=True"):
        NGramForCausalLM.fit(np.arange(600) % 7 % 4)
    assert NGramForCausalLM.fit(np.arange(600) % 7 % 4, tied=True).config.tied


def test_an_empty_name_is_no_folder(tmp_path, monkeypatch):
    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("", " "):
        with pytest.raises(ValueError, match=f"grammar='{name}' is empty: give a directory or Hub id"):
            resolve_grammar(name)
    assert resolve_grammar(".") == Grammar.from_name("v4-m2-s2-L2")
