"""To what the KL of a causal model is put down: exact splits, whose parts sum to the whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..grammar import NotSupported, Source
from ..grammar.general_form import GeneralForm, general_form


IN_A_RULE, END = "(in a rule)", "(END)"
CHUNK = 2**22  # entries of the tables of some sentences
Parts = tuple[torch.Tensor, torch.Tensor]


class Split:
    """Weights of groups at every position, given the tokens before: each takes its share of the position's KL.

    Args:
        weights (`Callable`): from tokens `(rows, width)` to weights `(rows, positions, groups)` that sum to one over
            the groups at every judged position.
        names (`list[str]`, *optional*): of the groups.
    """

    def __init__(self, weights: Callable[[torch.Tensor], torch.Tensor], names: list[str] | None = None):
        self.weights, self.names = weights, names

    def num_groups(self, tokens: torch.Tensor) -> int:
        """How many groups there are."""
        return self.weights(tokens).shape[-1]

    def parts(
        self,
        tokens: torch.Tensor,
        exact: torch.Tensor,
        log_q: torch.Tensor,
        kl: torch.Tensor,
        judged: torch.Tensor,
    ) -> Parts:
        """The sums over positions of what each group adds, and of its shares: `(rows, groups)` each.

        Args:
            tokens (`torch.Tensor`): `(rows, width)`.
            exact, log_q (`torch.Tensor`): `(rows, positions, outcomes)`, the exact laws and the model's.
            kl (`torch.Tensor`): `(rows, positions)`.
            judged (`torch.Tensor`): bool `(rows, positions)`.
        """
        shares = self.weights(tokens).to(kl) * judged[..., None]
        return torch.where(shares > 0, kl[..., None] * shares, 0).sum(1), shares.sum(1)


class RuleSplit(Split):
    """By the rule that a token decides: log(p / q) of every possible token goes to the rules that it may decide.

    A part is a sum over derivations of P(derivation) log(p / q) at the tokens that decide its rule. It may be
    negative, where the model gives such tokens more than they have; all parts sum to the KL.

    Args:
        form ([`~rhm_hf.grammar.general_form.GeneralForm`]): of the source.
    """

    def __init__(self, form: GeneralForm):
        from ..grammar.pcfg.laws.decided_rules import RuleSlots  # compiled code takes a moment to import

        self.form, self.names = form, [*form.rule_names, END]
        self.slots = RuleSlots(form.grammar.binary)

    def num_groups(self, tokens: torch.Tensor) -> int:
        """The rules, and END."""
        return self.slots.num_groups

    def parts(
        self,
        tokens: torch.Tensor,
        exact: torch.Tensor,
        log_q: torch.Tensor,
        kl: torch.Tensor,
        judged: torch.Tensor,
    ) -> Parts:
        """See [`Split.parts`]."""
        rows = self.form.token_ids[tokens.cpu().numpy()]
        chosen = exact.new_zeros(*exact.shape[:2], self.form.grammar.num_outcomes)
        ids = torch.from_numpy(self.form.token_ids[: exact.shape[2]]).to(exact.device)
        ratio = torch.where(exact > 0, torch.log(exact) - log_q, 0.0) * judged[..., None]
        chosen[:, :, ids[ids >= 0]] = ratio[:, :, ids >= 0]
        size = max(1, CHUNK // (self.slots.num_openers * (exact.shape[1] + self.form.grammar.num_outcomes)))
        found = [self._some(rows[i : i + size], chosen[i : i + size], judged[i : i + size])
                 for i in range(0, len(rows), size)]  # fmt: skip
        return torch.cat([parts for parts, _ in found]), torch.cat([shares for _, shares in found])

    def _some(self, rows: np.ndarray, ratio: torch.Tensor, judged: torch.Tensor) -> Parts:
        from ..grammar.pcfg.laws.decided_rules import decided_rules

        given = decided_rules(self.form.grammar.laws, self.slots, rows)
        openers = torch.from_numpy(given.openers).to(ratio)[:, : ratio.shape[1]] * judged[..., None]
        at = (torch.from_numpy(given.opener), torch.from_numpy(given.outcome))
        weights, group = torch.from_numpy(given.weights).to(ratio), torch.from_numpy(given.group).to(ratio.device)
        infinite = torch.isinf(ratio)
        sums = self._of_groups(openers, torch.where(infinite, 0.0, ratio), at, weights, group)
        if bool(infinite.any()):
            impossible = self._of_groups(openers, infinite.to(ratio), at, weights, group)
            sums = torch.where(impossible > 0, torch.inf, sums)
        seen = judged[..., None].expand_as(ratio).to(ratio)
        return sums, self._of_groups(openers, seen, at, weights, group)

    def _of_groups(self, openers, values, at, weights, group) -> torch.Tensor:
        pairs = (openers.transpose(1, 2) @ values)[:, at[0], at[1]] * weights
        return pairs.new_zeros(len(pairs), self.slots.num_groups).index_add_(1, group, pairs)


def split_of(split: Any, source: Source) -> Split | RuleSplit:
    """The split of a name, or of a function of tokens.

    Args:
        split (`str` or `Callable`): `"levels"`, `"symbols"`, `"rules"`, or weights, see [`Split`].
        source ([`Source`]): the true law.

    Raises:
        `ValueError`: for another name; [`NotSupported`] for sources without rules at every level, and without levels.
    """
    if callable(split):
        return Split(split)
    if split not in ("levels", "symbols", "rules"):
        raise ValueError(f"split={split!r} must be 'levels', 'symbols', 'rules' or a function of tokens, or left out")
    form = general_form(source, f'split="{split}"')
    if split == "rules":
        return RuleSplit(form)
    if split == "symbols":
        return Split(lambda tokens: _opened(form, source, tokens), [*form.symbol_names, IN_A_RULE, END])
    if None in form.symbol_levels:
        raise NotSupported('split="levels"', source, "its symbols have no levels", 'take split="symbols"')
    groups = torch.tensor([*form.symbol_levels, 0, source.depth + 1])
    names = [f"level {level}" for level in range(source.depth + 1)] + [END]

    def of_levels(tokens: torch.Tensor) -> torch.Tensor:
        opened = _opened(form, source, tokens)
        return opened.new_zeros(*opened.shape[:2], len(names)).index_add_(2, groups.to(opened.device), opened)

    return Split(of_levels, names)


def _opened(form: GeneralForm, source: Source, tokens: torch.Tensor) -> torch.Tensor:
    """P(a symbol is the highest that begins with the next token | the tokens before it), as many rows as laws."""
    rows = form.token_ids[tokens.cpu().numpy()]
    opened = form.grammar.laws.opened_symbols(rows)[0].to(tokens.device)
    return opened if source.lengths_vary else opened[:, : tokens.shape[1]]
