"""A tokenizer whose symbol k has id k: a stock `PreTrainedTokenizerFast`, which loads without this package."""

from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..checks import MAX_VOCAB_SIZE, PositiveInt, check_integer, check_memory, checked
from ..grammar import Source


BOS_TOKEN, PAD_TOKEN, MASK_TOKEN = "<s>", "<pad>", "<mask>"
BYTES_PER_TOKEN = 2000  # in the vocabulary, its files and transformers' copies of them


@checked
def rhm_tokenizer(num_symbols: PositiveInt | Source) -> PreTrainedTokenizerFast:
    """A tokenizer of sentences written as decimal numbers: `"3 1 4"` is `[3, 1, 4]`, and that is `" 3 1 4"`.

    Where a grammar has `terminals`, symbols are written as these: `rhm_tokenizer(grammar_of(dataset))` reads and
    writes the sentences of a data set as the rules do, `"( x + x )"`. Terminals are split at spaces; where some
    terminal has a space in it, spaces are written `%20` and a per cent sign `%25`.

    Every symbol is written with a space before it, the first one too, so that pieces of a text join up: generation
    pipelines put what they decode right behind the prompt.

    Symbol k has id k; BOS = EOS = `num_symbols`, PAD = `num_symbols + 1`, MASK = `num_symbols + 2`, as in the oracle
    models. Other words are an error, not an unknown token. No special token is added by itself.

    Args:
        num_symbols (`int` or [`~rhm_hf.grammar.Source`]): v, the number of leaf symbols (`grammar.vocab_size`), or the
            grammar itself.

    Returns:
        `PreTrainedTokenizerFast`: `save_pretrained` and `AutoTokenizer.from_pretrained` work as for any other.

    Raises:
        `ValueError`: if `num_symbols` is no positive integer.
    """
    symbols = _written(num_symbols)
    bos, pad, mask = (_unlike(symbols, token) for token in (BOS_TOKEN, PAD_TOKEN, MASK_TOKEN))
    tokens = [*symbols, bos, pad, mask]
    backend = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.decoder = decoders.Sequence([decoders.Replace(Regex("^"), " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=bos,
        pad_token=pad,
        mask_token=mask,
        clean_up_tokenization_spaces=False,
    )


def _written(num_symbols: int | Source) -> list[str]:
    """How symbol 0, 1, .. is written: without spaces, no two alike."""
    number = num_symbols.vocab_size if isinstance(num_symbols, Source) else num_symbols
    number = check_integer("num_symbols", number, 1, MAX_VOCAB_SIZE)
    check_memory(f"num_symbols={number}", BYTES_PER_TOKEN * number, "a tokenizer writes out all its tokens")
    terminals = getattr(num_symbols, "terminals", None) or [str(k) for k in range(number)]
    if any(character.isspace() for terminal in terminals for character in terminal):
        spaced = [terminal.replace("%", "%25") for terminal in terminals]
        return ["".join(quote(c) if c.isspace() else c for c in terminal) for terminal in spaced]
    return list(terminals)


def _unlike(symbols: list[str], token: str) -> str:
    """A special token that is in no symbol: special tokens are found first, wherever they stand."""
    while any(token in symbol for symbol in symbols):
        token += "_"
    return token


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[np.ndarray]:
    """Ids `(length,)` of each document, without special tokens, for counting."""
    # verbose=False: the warning about texts longer than a model's context does not concern counting
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [np.asarray(ids, dtype=np.int64) for ids in encoded["input_ids"]]
