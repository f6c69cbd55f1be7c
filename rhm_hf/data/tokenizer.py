"""A tokenizer whose symbol k has id k: a stock `PreTrainedTokenizerFast`, which loads without this package."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..checks import MAX_VOCAB_SIZE, PositiveInt, check_integer, checked


BOS_TOKEN, PAD_TOKEN, MASK_TOKEN = "<s>", "<pad>", "<mask>"


@checked
def rhm_tokenizer(num_symbols: PositiveInt) -> PreTrainedTokenizerFast:
    """A tokenizer of sentences written as decimal numbers: `"3 1 4"` is `[3, 1, 4]`, and that is `" 3 1 4"`.

    Every symbol is written with a space before it, the first one too, so that pieces of a text join up: generation
    pipelines put what they decode right behind the prompt.

    Symbol k has id k; BOS = EOS = `num_symbols`, PAD = `num_symbols + 1`, MASK = `num_symbols + 2`, as in the oracle
    models. Other words are an error, not an unknown token. No special token is added by itself.

    Args:
        num_symbols (`int`): v, the number of leaf symbols (`grammar.vocab_size`).

    Returns:
        `PreTrainedTokenizerFast`: `save_pretrained` and `AutoTokenizer.from_pretrained` work as for any other.

    Raises:
        `ValueError`: if `num_symbols` is no positive integer.
    """
    num_symbols = check_integer("num_symbols", num_symbols, 1, MAX_VOCAB_SIZE)
    tokens = [*map(str, range(num_symbols)), BOS_TOKEN, PAD_TOKEN, MASK_TOKEN]
    backend = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.decoder = decoders.Sequence([decoders.Replace(Regex("^"), " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS_TOKEN,
        eos_token=BOS_TOKEN,
        pad_token=PAD_TOKEN,
        mask_token=MASK_TOKEN,
        clean_up_tokenization_spaces=False,
    )


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[np.ndarray]:
    """Ids `(length,)` of each document, without special tokens, for counting."""
    # verbose=False: the warning about texts longer than a model's context does not concern counting
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [np.asarray(ids, dtype=np.int64) for ids in encoded["input_ids"]]
