"""The loss of a language model as a function of the number n of tokens that it sees.

Two ways to measure it. *Paired*: the same targets for every n, each read again with its window cut to n tokens; what
differs between lengths is then free of the targets' own spread. *One pass* (fast, causal models): windows begin at
uniformly random places, and the token at depth n of a window has n visible ones before it, so that one pass gives
every n, each at targets of its own.
"""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from tqdm import tqdm

from rhm_hf.checks import NonNegativeInt, OwnCheck, PositiveInt, Seed, TokenIds, check_integer, checked
from rhm_hf.judging.bare import evaluating

from .approach import FEWEST_LENGTHS, fit_decay
from .lengths import left_for_later, log_spaced, where_it_bends
from .passes import Passes, longest_pass
from .reader import Reader
from .saturation import RELATIVE, Saturation, curve, differences, saturation
from .windows import Documents, as_documents, default_context, random_windows, refuse_padding, whole_rows


if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DEFAULT_CONTEXT = 1024  # of models without a limit of their own


@torch.no_grad()
@checked
def loss_by_context(
    model: "PreTrainedModel",
    input_ids: TokenIds | None = None,
    *,
    texts: Annotated[str | Sequence[str] | None, OwnCheck()] = None,
    tokenizer: "PreTrainedTokenizerFast | None" = None,
    max_context: PositiveInt | None = None,
    context_lengths: Sequence[int] | None = None,
    windows: str = "random",
    paired: bool | None = None,
    num_windows: PositiveInt = 512,
    targets_per_window: PositiveInt = 1,
    per: str = "token",
    seed: Seed = 0,
    fit_range: tuple[int, int] | None = None,
    bos: str | int | bool = "auto",
    mask_token_id: NonNegativeInt | None = None,
    batch_size: PositiveInt | None = None,
    accelerator: "Accelerator | None" = None,
    return_rows: bool = False,
) -> dict[str, Any]:
    """The mean loss L_n at n visible tokens, where it saturates, and its approach H_n - H_inf ~ n^-gamma.

    Args:
        model (`PreTrainedModel`): causal, or masked (it predicts the last token of a window from the n before it), on
            any device; see [`~rhm_hf.judging.models.read_model`].
        input_ids (*optional*): [`~rhm_hf.data.CharText`], one sequence of token ids, a sequence of them, each a
            document, without special tokens, or a `datasets.Dataset` with a column `input_ids`.
        texts (`str` or `Sequence[str]`, *optional*): instead, documents; each is tokenised as a whole, then cut.
        tokenizer (`PreTrainedTokenizerFast`, *optional*): for `texts`, and for the special ids of a masked model.
        max_context (`int`, *optional*): N. By default what the model has positions for, less one for a causal model
            (labels are shifted, so that many were never trained to predict from the last; 1024 where positions have no
            end), but at most what the documents that hold half of all tokens have room for, and an eighth of the text.
            Documents shorter than N + 1 tokens are left out.
        context_lengths (`Sequence[int]`, *optional*): the n to report, N among them; by default 0, 1, 2, 3, 4, 6, 8,
            11, 16, .. N, see [`log_spaced`]; above 64, paired, every other one of these, and the others only within
            and beside the intervals that these give for n_sat and n_sat_relative.
        windows (`str`, *optional*, defaults to `"random"`): where windows of N + 1 tokens begin: at uniformly random
            places of the documents, or (`"rows"`) at the beginning of documents of one length, which are the windows.
            For sentences of a grammar: nothing then loses its place in the sentence.
        paired (`bool`, *optional*): the same targets for every n (the default for random windows, and always of a
            masked model), or, the fast mode of causal models, one pass for all n. Differences between lengths are then
            those of different targets, and `n_sat` asks for many more windows. With `windows="rows"` the target is the
            last token of a row and hidden tokens keep their places: MASK stands there, or a causal model has no
            attention to them. (It was not trained so: where it uses tokens further back, its loss at n may be far
            above what n tokens allow; so by default these are read in one pass.)
        num_windows (`int`, *optional*, defaults to 512): random windows; all of them where there are not more.
        targets_per_window (`int`, *optional*, defaults to 1): K, a power of 2: the last K tokens of a random window
            are its targets, the same ones at every n. From n = 32 on one pass serves up to n / 16 of them, so that "n
            visible tokens" are n (1 +- 1/32) then; shorter contexts are exact. For the same errors of differences, a
            K-th of the windows with K = 8 takes a fifth of the time. Causal models, paired.
        per (`str`, *optional*, defaults to `"token"`): unit of the losses, nats per token or per character of the
            targets, which makes tokenizers comparable.
        seed (`int`, *optional*, defaults to 0): of the windows and of the intervals.
        fit_range (`tuple[int, int]`, *optional*, defaults to `(1, N)`): the n that gamma is fitted to.
        bos (`"auto"`, `False` or `int`, *optional*): the id before the visible tokens: with n = 0 the model sees it
            alone. `"auto"` takes the model's BOS (a masked model's [CLS] and [SEP]) if it is no token of the text.
            With `False` the losses of a causal model begin at n = 1.
        mask_token_id (`int`, *optional*): the masked model's MASK; by default its tokenizer's or its configuration's.
        batch_size (`int`, *optional*): windows a call of the model.
        accelerator (`accelerate.Accelerator`, *optional*): splits the windows over its processes; every process gets
            the whole result.
        return_rows (`bool`, *optional*, defaults to `False`): also give `row_sums` `(rows, lengths)` and `row_counts`
            `(rows,)`, float64 tensors: what is averaged, by document or block. Two models are compared by them.

    Returns:
        `dict`: lists over `context_lengths`: `loss`, `loss_stderr` (nats per `per`), `delta` and `delta_stderr`, the
        mean of l(n) - l(N) (None where both are infinite). `n_sat`: the smallest n from which on a loss that never
        rises, fitted to these, stays within 0.01 nats of its value at N; `n_sat_relative`: the same with 5 % of the
        whole fall. Both are None where the data do not decide them; each has `.._estimate`, `.._interval` (95 %, by
        resampling documents), `.._status`, `.._windows` (about how many would decide), and where the text is known
        `.._characters` and its interval: see [`Saturation`]. `gamma`, `loss_inf`, their intervals and more, see
        [`fit_decay`], and `fit_range`; None where no power law can be fitted. `mode`, `windows`, `per`, `read_as`
        (`"causal"` or `"masked"`, as the model was found to be), `bos`, `num_windows`, `targets_per_window`,
        `num_documents` (with a window), `num_too_short`, `num_rows` (documents, or their blocks where they are few,
        that errors take as independent), `characters_per_token`.

        One pass over `"rows"` judges every place of a row with its own targets, so that differences between them say
        nothing about context: `n_sat`, `n_sat_relative`, `gamma` and what belongs to them are None there.

    Raises:
        `ValueError`: for empty text, a single distinct token, documents shorter than a window, contexts longer than
            the model was trained on, NaN logits, special ids that cannot be told.
    """
    if per not in ("token", "character"):
        raise ValueError(f"per={per!r} must be 'token' or 'character'")
    if windows not in ("random", "rows"):
        raise ValueError(f"windows={windows!r} must be 'random' or 'rows'")
    documents = as_documents(input_ids, texts, tokenizer)
    if per == "character" and documents.characters is None:
        raise ValueError("per='character' needs texts= or a CharText: token ids do not say how long their text is")
    reader = Reader.of(model, np.unique(documents.ids), tokenizer=tokenizer, bos=bos, mask_token_id=mask_token_id)
    refuse_padding(documents, reader.model.config)
    with evaluating(reader.model):
        paired = _paired(reader, paired, windows)
        _check_targets(targets_per_window, reader, paired, windows)
        length = _length(reader, documents, max_context, tokenizer, windows, targets_per_window)
        lengths = _lengths(context_lengths, reader.first, length)
        later = left_for_later(lengths) if paired and context_lengths is None else []
        if windows == "rows":
            chosen = whole_rows(documents)
        else:
            num_windows = check_integer("num_windows", num_windows, 1)
            chosen = random_windows(documents, length + targets_per_window, num_windows, seed)
        measured, unmeasured = [n for n in lengths if n not in later], later
        how = paired, windows == "rows", per, batch_size, accelerator
        passes = Passes(reader, documents, chosen, length, targets_per_window, *how)
        with _progress(passes.tokens(measured)) as advance:
            sums, counts = passes.row_sums(measured, advance)
            while wanted := where_it_bends(measured, unmeasured, sums, counts, len(chosen.starts), seed):
                advance.total += passes.tokens(wanted)
                sums = torch.cat([sums, passes.row_sums(wanted, advance)[0]], 1)[:, np.argsort(measured + wanted)]
                measured, unmeasured = sorted(measured + wanted), [n for n in unmeasured if n not in wanted]
        lengths = measured
    rows = {"row_sums": sums, "row_counts": counts} if return_rows else {}
    return {
        **rows,
        **_summary(
            lengths, sums, counts, fit_range, seed, documents, len(chosen.starts), paired or windows == "random"
        ),
        "mode": "paired" if paired else "one pass",
        "windows": windows,
        "per": per,
        "read_as": reader.reader.read_as,
        "bos": reader.prefix[0] if reader.prefix else None,
        "num_windows": len(chosen.starts),
        "targets_per_window": targets_per_window,
        "num_documents": chosen.num_documents,
        "num_too_short": int((documents.sizes < passes.width).sum()),
        "num_rows": chosen.num_rows,
        "characters_per_token": documents.characters_per_token,
    }


def _progress(tokens: int) -> tqdm:
    """One bar for all lengths, in a terminal: tokens of context."""
    return tqdm(
        total=tokens,
        desc="loss by context",
        unit="token",
        unit_scale=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    )


def _paired(reader: Reader, paired: bool | None, windows: str) -> bool:
    if paired not in (None, True, False):
        raise ValueError(f"paired={paired!r} must be True, False or None")
    if reader.masked and paired is False:
        raise ValueError("paired=False: a masked model needs a pass for every n, so that targets are always paired")
    sentence_length = getattr(reader.model.config, "sentence_length", None)
    if sentence_length is not None and windows == "random":
        raise ValueError(
            f"windows='random': the model reads sentences of {sentence_length} tokens from their beginning; give rows "
            "that are sentences and windows='rows'"
        )
    if paired and windows == "rows" and not reader.masked and not reader.hides:
        raise ValueError(
            f"paired=True with windows='rows' hides tokens by attention and position_ids, which "
            f"{type(reader.model).__name__} does not allow: {reader.hiding.reason}; use paired=False"
        )
    return reader.masked or (windows == "random" if paired is None else paired)


def _check_targets(targets: int, reader: Reader, paired: bool, windows: str) -> None:
    if targets & (targets - 1):
        raise ValueError(f"targets_per_window={targets} must be a power of 2")
    if targets > 1 and (reader.masked or not paired or windows == "rows"):
        raise ValueError(
            f"targets_per_window={targets}: only passes of a causal model over random windows, paired, serve several "
            "targets; drop it"
        )


def _length(reader: Reader, documents: Documents, max_context, tokenizer, windows: str, targets: int) -> int:
    if windows == "rows":
        length = int(documents.sizes.max()) - 1
        if max_context not in (None, length):
            raise ValueError(f"max_context={max_context}: with windows='rows' it is the rows' {length}; drop it")
    elif max_context is not None:
        length = check_integer("max_context", max_context, 1)
    else:
        longest = reader.longest_context(tokenizer)
        longest = DEFAULT_CONTEXT if longest is None else longest - (not reader.masked)
        length = min(longest - targets // 2, default_context(documents) - (targets - 1))
    if length <= reader.first:
        raise ValueError(
            f"the documents have {documents.sizes.max()} tokens at most, which leaves a context of {length}: windows "
            f"need at least {reader.first + 2} tokens"
        )
    reader.check_context(longest_pass(length, targets), tokenizer)
    return length


def _lengths(context_lengths, first: int, length: PositiveInt) -> list[int]:
    if context_lengths is None:
        return [n for n in log_spaced(length) if n >= first]
    lengths = sorted({check_integer("context_lengths", n, 0) for n in context_lengths} | {length})
    if lengths[0] < first or lengths[-1] > length or len(lengths) < 2:
        raise ValueError(
            f"context_lengths={list(context_lengths)!r} must hold lengths from {first} to max_context={length}"
            + (": without BOS nothing is predicted from no token" if lengths[0] < first else "")
        )
    return lengths


def _summary(
    lengths: list[int],
    sums: torch.Tensor,
    counts: torch.Tensor,
    fit_range: tuple[int, int] | None,
    seed: Seed,
    documents: Documents,
    num_windows: PositiveInt,
    comparable: bool,
) -> dict:
    loss, loss_stderr = curve(sums, counts)
    delta, delta_stderr = differences(sums, counts)
    low, high = fit_range or (max(1, lengths[0]), lengths[-1])
    fitted = [i for i, n in enumerate(lengths) if max(1, low) <= n <= high]
    if fit_range is not None and len(fitted) < FEWEST_LENGTHS:
        raise ValueError(f"fit_range={fit_range} holds {len(fitted)} of the context lengths {lengths}: 4 are needed")
    found = [Saturation(None, None, "targets", None)] * 2
    if comparable:
        options = {"num_windows": num_windows, "seed": seed}
        found = [
            saturation(lengths, sums, counts, **options),
            saturation(lengths, sums, counts, tolerance=RELATIVE, relative=True, **options),
        ]
    characters = documents.characters_per_token
    return {
        "context_lengths": lengths,
        "loss": loss,
        "loss_stderr": loss_stderr,
        "delta": [None if math.isnan(value) else value for value in delta],
        "delta_stderr": [None if math.isnan(value) else value for value in delta_stderr],
        **found[0].to_dict("n_sat", characters),
        **found[1].to_dict("n_sat_relative", characters),
        **fit_decay([lengths[i] for i in fitted] if comparable else [], sums[:, fitted], counts),
        "fit_range": (low, high),
    }
