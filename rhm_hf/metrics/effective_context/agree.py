"""A model's effective context as its text shows it, beside that of the corpus and of the model's loss."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from rhm_hf.checks import NonNegativeInt, PositiveInt, Seed, TokensOrTexts, check_ids, check_integer, checked
from rhm_hf.data import CharText
from rhm_hf.data.reading import dataset_tokens
from rhm_hf.metrics.context_loss import loss_by_context
from rhm_hf.metrics.context_loss.reader import Reader
from rhm_hf.metrics.token_correlations.measure import default_distances, encode_texts, is_text
from rhm_hf.statistics import compare_correlations, token_correlations
from rhm_hf.statistics.pairs.agreement import TOLERANCE
from rhm_hf.statistics.pairs.token_inputs import drawn_from

from .generation import BATCH, generate


SATURATION = tuple(
    name + part
    for name in ("n_sat", "n_sat_relative")
    for part in ("", "_estimate", "_interval", "_status", "_windows")
)
LENGTH_DISTANCES = 4  # generated sequences are so many times as long as the largest distance, where they may be


@checked
def effective_context(
    corpus: TokensOrTexts,
    generated: TokensOrTexts | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    distances: Iterable[int] | None = None,
    vocab_size: PositiveInt | None = None,
    num_tokens: PositiveInt = 2**18,
    length: PositiveInt | None = None,
    prompt_length: NonNegativeInt | None = None,
    seed: Seed = 0,
    bos: str | int | bool = "auto",
    batch_size: PositiveInt = BATCH,
    tolerance: float = TOLERANCE,
    loss_context: bool = True,
    num_windows: PositiveInt = 512,
    targets_per_window: PositiveInt = 1,
) -> dict[str, Any]:
    """Up to which distance correlations of a generated text agree with those of a corpus.

    A text of n generated tokens can disagree only where its own noise floor lies below the signal of the corpus: see
    `t_res`, and generate more where the result is `censored`.

    Args:
        corpus: one text or a list of them, documents; [`~rhm_hf.data.CharText`]; or token ids: one text `(n,)`,
            documents, or rows `(n, d)` of equal length, which are taken for sentences: pairs that end with their last
            token, and the model generates whole sentences; also as a `datasets.Dataset` with `input_ids`.
        generated (*optional*): samples, of the same kind as the corpus.
        model (`PreTrainedModel`, *optional*): causal, instead of samples: it generates them from its own law, see
            [`generate`].
        tokenizer (`PreTrainedTokenizerFast`, *optional*): of texts, which need it.
        distances (`Iterable[int]`, *optional*): t, tokens, ascending; by default 1 .. 32, or as far as documents and
            the model's positions allow.
        vocab_size (`int`, *optional*): v; by default the tokenizer's, or the largest id of both texts + 1.
        num_tokens (`int`, *optional*, defaults to 262 144): tokens to generate.
        length (`int`, *optional*): tokens of a generated sequence; by default four times the largest distance, or as
            many as the model has positions for. Sentences have their own length.
        prompt_length (`int`, *optional*, defaults to 0, or 1 for a model without BOS): tokens from random places of
            the corpus that each sequence begins with; they are not counted. For models that take BOS for the beginning
            of a document, so that what they generate is compared with all of the corpus.
        seed (`int`, *optional*, defaults to 0): of prompts, samples and windows.
        bos (`"auto"`, `False` or `int`, *optional*): see [`~rhm_hf.metrics.context_loss.loss_by_context`].
        batch_size (`int`, *optional*, defaults to 256): sequences generated together.
        tolerance (`float`, *optional*, defaults to 0.1): relative difference that counts as agreement.
        loss_context (`bool`, *optional*, defaults to `True`): also where the model's loss on the corpus saturates.
        num_windows, targets_per_window (`int`, *optional*, default to 512 and 1): of that, as in `context_loss`; 64
            and 8 have the same errors in a fraction of the time. Sentences have one target each.

    Returns:
        `dict`: `t_agree`, `t_agree_interval`, `t_res`, `censored` and, lists over `distances`, `difference`,
        `difference_stderr`, `difference_interval`, `relative_difference`, `agrees`: see
        [`~rhm_hf.statistics.Agreement`]; `corpus` and `generated`, each with its `correlation`, `noise_floor`,
        `signal`, `effective_context` (t*), `effective_context_interval`, `effective_context_is_bound` and
        `num_tokens`; `n_sat`, `n_sat_relative` with all that belongs to them, and `n_max` of the model's loss, as
        `context_loss` gives them (None without a model, and for sentences where it takes no position_ids: tokens are
        hidden from it in place); `vocab_size`, `tolerance`, `seed`, and of a model's samples `length`,
        `prompt_length`, `read_as` and `bos`.

    Raises:
        `ValueError`: for both or neither of `generated` and `model`; empty text, text shorter than a distance, one
            distinct token; a masked model; sequences longer than the model's positions.
    """
    if (generated is None) == (model is None):
        raise ValueError("generated= and model=: give one of the two")
    for name, text in (("corpus", corpus), ("generated", generated)):
        if text is not None and not isinstance(text, CharText | str) and not is_text(text):
            check_ids(name, text)
    ids, known_size = _ids(corpus, tokenizer, "corpus")
    is_rows, symbols = _is_rows(ids), _distinct(ids)
    if not len(symbols):
        raise ValueError("corpus is empty: give texts or token ids")
    context = dict.fromkeys((*SATURATION, "n_max"))
    if model is None:
        samples, _ = _ids(generated, tokenizer, "generated")
        if is_rows and not isinstance(samples, np.ndarray):
            raise ValueError("generated has documents of several lengths: the corpus holds rows of one length")
        distances, sizes = _distances(distances, min(_longest(ids), _longest(samples))), {}
    else:
        reader = Reader.of(model, symbols, tokenizer=tokenizer, bos=bos)
        sizes = _sizes(reader, ids, tokenizer, distances, length, prompt_length)
        distances = sizes.pop("distances")
        prompts = _prompts(ids, sizes["prompt_length"], -(-num_tokens // sizes["length"]), seed)
        allowed = _symbols(reader, symbols, tokenizer, known_size or vocab_size)
        sizes |= {"read_as": reader.reader.read_as, "bos": reader.prefix[0] if reader.prefix else None}
        samples = generate(reader, prompts, sizes["length"], allowed, seed, batch_size)
        if loss_context and (reader.hides or not is_rows):
            options = {"num_windows": num_windows, "seed": seed, "bos": bos, "tokenizer": tokenizer, "paired": True}
            if is_rows:
                found = loss_by_context(model, ids[:num_windows], windows="rows", **options)
            else:  # texts as `context_loss` reads them, which then knows characters, too
                text = {"input_ids": corpus if isinstance(corpus, CharText) else ids}
                text = {"texts": corpus} if is_text(corpus) else text
                found = loss_by_context(model, **text, targets_per_window=targets_per_window, **options)
            context = {name: found[name] for name in found if name.startswith("n_sat")}
            context["n_max"] = found["context_lengths"][-1]
    if vocab_size is None:
        vocab_size = known_size or 1 + int(max(symbols[-1], _distinct(samples)[-1]))
    anchor = "last" if is_rows else "all"
    theirs, ours = (
        token_correlations(text, distances, vocab_size, anchor, population=drawn_from(given, anchor))
        for text, given in ((ids, corpus), (samples, generated))
    )
    found = compare_correlations(ours, theirs, tolerance)
    names = ("distances", "difference", "difference_stderr", "difference_interval", "relative_difference", "agrees")
    return {
        **{name: getattr(found, name) for name in ("t_agree", "t_agree_interval", "t_res", "censored")},
        **context,
        **{name: getattr(found, name).tolist() for name in names},
        "corpus": _facts(theirs),
        "generated": _facts(ours),
        "vocab_size": vocab_size,
        "tolerance": tolerance,
        "seed": seed,
        **sizes,
    }


def _facts(text) -> dict[str, Any]:
    lists = {name: getattr(text, name).tolist() for name in ("correlation", "noise_floor", "signal")}
    return {
        **lists,
        "effective_context": text.effective_context,
        "effective_context_interval": text.effective_context_interval(),
        "effective_context_is_bound": text.effective_context_is_bound,
        "num_tokens": text.counts.num_tokens,
    }


def _ids(text: Any, tokenizer: Any, name: str) -> tuple[Any, int | None]:
    """Ids: an array `(n,)` or `(n, d)`, or a list of documents, and the size of their vocabulary where known."""
    if isinstance(text, CharText):
        documents = [document for document in text.documents if len(document)]
        return (documents[0] if len(documents) == 1 else documents), None
    if is_text(text):
        texts = [text] if isinstance(text, str) else list(text)
        if tokenizer is None:
            raise ValueError("tokenizer=None: texts of a model need its tokenizer; two texts need a common one")
        return encode_texts(texts, tokenizer)
    if hasattr(text, "column_names"):
        if not hasattr(text, "__len__"):
            raise ValueError("a streaming dataset can be read only once: take(..) what fits into memory")
        text = dataset_tokens(text, "input_ids")
    elif not isinstance(text, list | tuple | np.ndarray):
        text = list(text)  # a column of a dataset, a tensor
    if not len(text):
        raise ValueError(f"{name} is empty: there is no token to count")
    if isinstance(text, np.ndarray) or np.ndim(text[0]) == 0 or len({len(row) for row in text}) == 1:
        return np.asarray(text), None
    return [np.asarray(document) for document in text if len(document)], None


def _documents(ids: Any) -> list[np.ndarray]:
    return ids if isinstance(ids, list) else [ids]


def _is_rows(ids: Any) -> bool:
    return isinstance(ids, np.ndarray) and ids.ndim == 2


def _distinct(ids: Any) -> np.ndarray:
    return np.unique(np.concatenate([np.unique(document) for document in _documents(ids)]))


def _longest(ids: Any) -> int:
    return max(document.shape[-1] for document in _documents(ids))


def _symbols(reader: Reader, present: np.ndarray, tokenizer: Any, size: int | None) -> np.ndarray:
    """The ids that a text can hold: those of the corpus, and others of the vocabulary that are not special."""
    config = reader.model.config.get_text_config()
    named = [getattr(config, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "mask")]
    special = [i for entry in named if entry is not None for i in (entry if isinstance(entry, list) else [entry])]
    special += [*reader.prefix, *getattr(tokenizer, "all_special_ids", [])]
    if size is None:
        size = getattr(reader.model.config, "num_symbols", None) or int(present[-1]) + 1
    return np.union1d(np.setdiff1d(np.arange(min(size, reader.num_ids)), special), present)


def _distances(distances: Iterable[int] | None, longest: int) -> list[int]:
    return list(default_distances(longest)) if distances is None else sorted(distances)


def _sizes(
    reader: Reader,
    ids: Any,
    tokenizer: Any,
    distances,
    length: PositiveInt | None,
    prompt_length: NonNegativeInt | None,
) -> dict:
    """The distances, the length of generated sequences and of their prompts."""
    if reader.masked:
        raise ValueError(f"model is a {type(reader.model).__name__}: only causal models generate; pass generated=")
    least = 0 if reader.prefix else 1
    prompt_length = check_integer("prompt_length", least if prompt_length is None else prompt_length, least)
    longest = reader.longest_context(tokenizer)
    room = np.inf if longest is None else longest - prompt_length
    if _is_rows(ids):  # sentences are generated whole
        length = ids.shape[1] - prompt_length if length is None else length
    distances = _distances(distances, int(min(_longest(ids), room, length or np.inf)))
    length = min(LENGTH_DISTANCES * distances[-1], room) if length is None else length
    length = check_integer("length", int(length), 2)
    if length > room:
        raise ValueError(f"length={length}: after BOS and prompt the model was trained on at most {room} positions")
    if distances[-1] >= length:
        raise ValueError(
            f"distances={distances} reach beyond generated sequences of length={length}: give smaller distances, or a "
            "larger length where the model has positions for it"
        )
    return {"distances": distances, "length": length, "prompt_length": prompt_length}


def _prompts(ids: Any, prompt_length: NonNegativeInt, count: int, seed: Seed) -> np.ndarray:
    """Stretches of the corpus `(count, prompt_length)`: beginnings of rows, or from anywhere within documents."""
    rng = np.random.default_rng(seed)
    if _is_rows(ids):
        return ids[rng.integers(0, len(ids), count), :prompt_length]
    documents = [document for document in _documents(ids) if len(document) >= max(1, prompt_length)]
    if not documents:
        raise ValueError(f"prompt_length={prompt_length}: the longest document has {_longest(ids)} tokens")
    last = np.cumsum([len(document) - prompt_length + 1 for document in documents])
    places = rng.integers(0, last[-1], count)
    chosen = np.searchsorted(last, places, side="right")
    starts = places - np.append(0, last)[chosen]
    return np.array([documents[i][a : a + prompt_length] for i, a in zip(chosen, starts, strict=True)])
