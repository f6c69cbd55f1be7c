"""Rules in the form of the authors' code."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from rhm_hf.grammar import Grammar, grammar_from_tensors


def authors_form(grammar) -> dict:
    return {g: torch.tensor(rules, dtype=torch.int64) for g, rules in enumerate(grammar.rules)}


@pytest.mark.parametrize("name", ["v4-m2-s2-L3", "v5-m3-s2-L2-c3", "v3-m2-s3-L1"])
@pytest.mark.parametrize("saved", [True, False])
def test_round_trip(name, saved, tmp_path):
    grammar = Grammar.from_name(name, rules_seed=1)
    rules = authors_form(grammar)
    if saved:
        torch.save(rules, tmp_path / "rules.pt")
        rules = str(tmp_path / "rules.pt")
    again = grammar_from_tensors(rules, vocab_size=grammar.vocab_size)
    assert again == grammar  # compared by content: the name is gone
    assert again.name.startswith("custom-")
    assert np.array_equal(again.sample(6, seed=3), grammar.sample(6, seed=3))


def test_forms_that_are_welcome():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    rules = authors_form(grammar)
    assert grammar_from_tensors(list(rules.values())) == grammar
    assert grammar_from_tensors(OrderedDict(reversed(rules.items()))) == grammar  # the keys say the order
    assert grammar_from_tensors([r.numpy() for r in rules.values()]) == grammar
    assert grammar_from_tensors({str(g): r.tolist() for g, r in rules.items()}) == grammar  # as JSON has it
    probs = {0: torch.full((4, 2), 0.5, requires_grad=True), 1: torch.tensor([[0.25, 0.75]] * 4)}
    skewed = grammar_from_tensors(rules, probs, root_probs=torch.tensor([1.0, 0, 0, 0]))
    assert skewed.rule_probs_at(1).tolist() == [[0.25, 0.75]] * 4
    assert skewed.root_probs.tolist() == [1, 0, 0, 0]


def test_symbols_that_no_rule_writes_are_counted():
    """All levels of the authors' code have v symbols, whether all of them occur or not."""
    top, low = torch.tensor([[[0, 1], [2, 3]]]), torch.tensor([[[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]]])
    assert grammar_from_tensors({0: top, 1: low}).vocab_size == 4
    assert grammar_from_tensors({0: top, 1: low}, vocab_size=2).vocab_size == 2


class Anything:
    pass


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({1: torch.zeros(1, 1, 2, dtype=torch.int64)}, r"rules has the keys \[1\]: it must have 0 to L-1"),
        ({0: torch.zeros(2, 2, dtype=torch.int64)}, r"rules\[0\] has shape \(2, 2\)"),
        ({0: torch.zeros(1, 1, 2)}, r"rules\[0\] has dtype float32"),
        ({0: torch.zeros(2, 1, 2, dtype=torch.int64)}, "ambiguous"),
        ({}, "is empty"),
        (7, "rules is a int: pass a dictionary"),
    ],
)
def test_what_is_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        grammar_from_tensors(rules)


def test_files_that_hold_anything_else(tmp_path):
    torch.save({0: Anything()}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match=r"cannot be read as tensors alone"):
        grammar_from_tensors(tmp_path / "code.pt")
    (tmp_path / "text.pt").write_text("rules")
    with pytest.raises(ValueError, match=r"cannot be read as tensors alone"):
        grammar_from_tensors(tmp_path / "text.pt")
    with pytest.raises(FileNotFoundError, match="is no file"):
        grammar_from_tensors(tmp_path / "none.pt")
