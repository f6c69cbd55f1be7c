"""What a model is shown for a window, and its loss there.

Before the visible tokens stands the model's BOS (or [CLS]), always: with n = 0 the model sees BOS alone, and a context
of n tokens begins at the model's first positions, as any text does. Without BOS n begins at 1. A masked model sees the
n tokens, then MASK (and [SEP] where its tokenizer ends texts so). Nothing longer than what was trained is shown.
"""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.hiding import Hiding, hiding
from rhm_hf.judging.models import FAILURES, ModelReader, read_model


LOGITS_CHUNK = 2**23  # logits that exist at a time where the head can be applied by itself: 32 MB in float32
LOGITS_BATCH = 2**26  # and at most so many of one batch where it cannot
BATCH_TOKENS = {"cpu": 2**12, "cuda": 2**16}
SHORT = 8  # tokens of the inputs that a model is tried with


@dataclass(frozen=True)
class Reader:
    """A model and the special ids around what it reads.

    Args:
        reader ([`ModelReader`]): a causal or masked model, as it was found out to be.
        prefix (`list[int]`): BOS or [CLS], or nothing.
        suffix (`list[int]`): [SEP], or nothing.
        mask (`int`, *optional*): MASK; None for causal models.
        some_ids (`tuple[int, ...]`): tokens of the text, to try the model with.
        splits (`bool`): whether the head on the trunk's last hidden states gives the model's own logits.
    """

    reader: ModelReader
    prefix: list[int]
    suffix: list[int]
    mask: int | None
    some_ids: tuple[int, ...]
    splits: bool

    @classmethod
    def of(
        cls,
        model: Any,
        ids: Any,
        *,
        tokenizer: Any = None,
        bos: str | int | bool = "auto",
        mask_token_id: int | None = None,
    ) -> "Reader":
        """Finds out what the model is, and the special ids; `ids` are the distinct tokens that occur.

        Raises:
            `ValueError`: where there is no law of tokens, ids are missing, or the tokens are not the model's.
        """
        reader = read_model(model, read_as="tokens")
        config, num_ids = reader.config, reader.num_ids
        if ids[0] < 0 or ids[-1] >= num_ids:
            bad = ids[0] if ids[0] < 0 else ids[-1]
            raise ValueError(
                f"the text holds the id {bad} and the model has ids 0 to {num_ids - 1}: another tokenizer?"
            )
        known = set(ids.tolist())
        mask = _mask(config, tokenizer, mask_token_id, num_ids, known) if reader.is_masked else None
        prefix, suffix = _around(config, tokenizer, bos, num_ids, known, reader.is_masked)
        some = tuple(ids[:SHORT].tolist())
        return cls(reader, prefix, suffix, mask, some, reader.is_causal and _splits(reader, prefix, some))

    @property
    def model(self) -> torch.nn.Module:
        """The model, without what was around it."""
        return self.reader.model

    @property
    def num_ids(self) -> int:
        """Ids of the model's head."""
        return self.reader.num_ids

    @property
    def masked(self) -> bool:
        """Whether the model is a masked one."""
        return self.mask is not None

    @cached_property
    def hiding(self) -> Hiding:
        """Whether tokens can be hidden from a causal model while the others keep their positions, and how."""
        length = min(SHORT, (self.reader.longest or SHORT) - len(self.prefix))
        if length < 3:
            return Hiding(None, "it reads too few ids to try")
        row = (self.some_ids * length)[:length]
        tokens = torch.tensor([row, row[::-1]], device=self.model.device)
        return hiding(self.reader, self._with_prefix(tokens))

    @property
    def hides(self) -> bool:
        """Whether tokens can be hidden from a causal model while the others keep their positions."""
        return self.hiding.offset is not None

    @property
    def first(self) -> int:
        """The shortest context that can be judged."""
        return 0 if self.prefix or self.masked else 1

    def check_context(self, length: int, tokenizer: Any = None) -> None:
        """Refuses contexts longer than what the model was trained on."""
        longest = self.longest_context(tokenizer)
        if longest is not None and length > longest:
            raise ValueError(
                f"max_context={length} is longer than what the model was trained on: with its special ids it reads at "
                f"most {longest} tokens of context"
            )
        if self.reader.longest is None:
            self.reader.check_length(length + self._num_special, f"max_context={length} needs")

    @property
    def _num_special(self) -> int:
        return len(self.prefix) + len(self.suffix) + self.masked

    def longest_context(self, tokenizer: Any = None) -> int | None:
        """Tokens of context that fit into the positions of the model, None where it sets no limit."""
        longest = [self.reader.longest, getattr(tokenizer, "model_max_length", None)]
        longest = [n for n in longest if n is not None and 0 < n < 10**9]  # astronomical where it is not known
        return min(longest) - self._num_special if longest else None

    def batch_size(self, length: int, targets: int) -> int:
        """Windows a call of the model."""
        size = BATCH_TOKENS[self.model.device.type if self.model.device.type in BATCH_TOKENS else "cpu"] // (
            length + 1
        )
        if not self.splits:
            size = min(size, LOGITS_BATCH // (self.num_ids * (targets if self.keeps else length + 2)))
        return max(1, size)

    @property
    def keeps(self) -> bool:
        """Whether the model can be asked for the last logits alone."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def one_pass(self, windows: torch.Tensor) -> torch.Tensor:
        """Losses `(batch, N + 1 - first)` of a causal model: the token after n others, for n = first .. N."""
        targets = windows[:, self.first :]
        return self._losses(self._with_prefix(windows[:, :-1]), targets)

    def truncated(self, windows: torch.Tensor, n: int) -> torch.Tensor:
        """Losses `(batch, targets)` of the last tokens of windows `(batch, n + targets)`.

        The first target is given the n tokens before it and no others, the next one also the first. A masked model
        has one target.
        """
        visible, target = windows[:, :-1], windows[:, n:]
        if not self.masked:
            return self._losses(self._with_prefix(visible), target)
        hidden = visible.new_full((len(windows), 1), self.mask)
        return self._masked_losses(torch.cat([visible, hidden], 1), target)[:, None]

    def truncated_in_place(self, windows: torch.Tensor, n: int) -> torch.Tensor:
        """The same with all tokens at their places in the window: the others are hidden, not left out.

        A masked model sees MASK there. A causal one has no attention to them: they keep their positions.
        """
        length = windows.shape[1] - 1
        target = windows[:, -1:]
        visible = torch.arange(length, device=windows.device) >= length - n
        if self.masked:
            shown = torch.where(visible, windows[:, :-1], self.mask)
            hidden = shown.new_full((len(windows), 1), self.mask)
            return self._masked_losses(torch.cat([shown, hidden], 1), target)
        inputs = self._with_prefix(windows[:, :-1])
        seen = torch.cat([visible.new_ones(len(self.prefix)), visible]).long().expand_as(inputs)
        positions = self.hiding.offset + torch.arange(inputs.shape[1], device=inputs.device)
        positions = positions.expand_as(inputs)
        return self._losses(inputs, target, attention_mask=seen, position_ids=positions)[:, 0]

    def _with_prefix(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([tokens.new_tensor(self.prefix).expand(len(tokens), -1), tokens], 1)

    def _masked_losses(self, shown: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        suffix = shown.new_tensor(self.suffix).expand(len(shown), -1)
        inputs = torch.cat([self._with_prefix(shown), suffix], 1)
        logits = self.reader.logits(inputs)
        place = inputs.shape[1] - 1 - len(self.suffix)
        return _checked(_cross_entropy(logits[:, place], target[:, 0]))

    def _losses(self, inputs: torch.Tensor, targets: torch.Tensor, **kwargs) -> torch.Tensor:
        """Losses of the last tokens that a causal model predicts, as many as there are targets."""
        last = targets.shape[1]
        if self.splits:
            hidden = _trunk(self.reader, inputs, **kwargs)[:, -last:].flatten(0, 1)
            head, size = self.model.get_output_embeddings(), max(1, LOGITS_CHUNK // self.num_ids)
            parts = zip(hidden.split(size), targets.flatten().split(size), strict=True)
            losses = torch.cat([_cross_entropy(head(states), ids) for states, ids in parts])
        else:
            keep = {"logits_to_keep": last} if self.keeps else {}
            logits = self.reader.logits(inputs, **keep, **kwargs)[:, -last:]
            losses = _cross_entropy(logits.flatten(0, 1), targets.flatten())
        return _checked(losses.view_as(targets))


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log q(target), in float32 or better, for logits `(k, ids)`."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0]


def _checked(losses: torch.Tensor) -> torch.Tensor:
    if (bad := losses.isnan()).any():
        raise ValueError(
            f"the model's logits give NaN for {int(bad.sum())} of {bad.numel()} targets of a batch: its weights, or "
            "the precision it runs in, are broken, and there is no loss"
        )
    return losses.double()


def _trunk(reader: ModelReader, inputs: torch.Tensor, attention_mask=None, **kwargs) -> torch.Tensor:
    """The last hidden states, in the dtype of the head (some trunks end in float32)."""
    trunk, head = reader.model.base_model, reader.model.get_output_embeddings()
    if reader.takes_mask:
        kwargs["attention_mask"] = torch.ones_like(inputs) if attention_mask is None else attention_mask
    hidden = trunk(input_ids=inputs, **reader.options, **kwargs).last_hidden_state
    return hidden.to(head.weight.dtype)


def _splits(reader: ModelReader, prefix: list[int], some_ids: tuple[int, ...]) -> bool:
    """Whether head(trunk(x)) is bit for bit what the model says, on a short input: some scale or cap their logits."""
    model = reader.model
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if getattr(head, "weight", None) is None or getattr(model, "base_model", model) is model:
        return False
    row = [*prefix, *some_ids][: reader.longest]
    with torch.no_grad(), evaluating(model):
        inputs = torch.tensor([row], device=model.device)
        own = reader.logits(inputs)
        try:
            return torch.equal(head(_trunk(reader, inputs)), own)
        except FAILURES:
            return False  # it takes other arguments, or more happens between the two


def _mask(config, tokenizer, mask_token_id, num_ids: int, known: set[int]) -> int:
    candidates = (mask_token_id, getattr(tokenizer, "mask_token_id", None), getattr(config, "mask_token_id", None))
    mask = next((m for m in candidates if m is not None), None)
    if mask is None or not 0 <= mask < num_ids or mask in known:
        raise ValueError(
            f"mask_token_id={mask!r}: a masked model needs its MASK, one of its ids (0 to {num_ids - 1}) that is no "
            "token of the text; pass mask_token_id="
        )
    return mask


def _around(config, tokenizer, bos, num_ids: int, known: set[int], masked: bool) -> tuple[list[int], list[int]]:
    """The ids before and after what is visible."""
    if bos is False:
        return [], []
    if bos != "auto":
        if isinstance(bos, bool) or not isinstance(bos, int) or not 0 <= bos < num_ids:
            raise ValueError(f"bos={bos!r} must be 'auto', False, or an id of the model (0 to {num_ids - 1})")
        return [bos], []
    if masked and getattr(tokenizer, "cls_token_id", None) is not None:
        return [tokenizer.cls_token_id], [] if tokenizer.sep_token_id is None else [tokenizer.sep_token_id]
    own = getattr(config, "bos_token_id", None)
    if own is not None and 0 <= own < num_ids and own not in known:
        return [own], []
    if masked:  # judged at the same targets without
        return [], []
    why = "has none" if own is None else f"is {own}, " + ("a token of the text" if own in known else "no id of it")
    raise ValueError(
        f"bos='auto' found no id to begin with: the model's bos_token_id {why}. Pass bos=<id> if texts began with one "
        "in training, or bos=False to begin at one visible token"
    )
