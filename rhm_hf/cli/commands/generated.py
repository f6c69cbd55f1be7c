"""Sequences drawn from a causal model's own law."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..options import Json, ModelName, RulesSeed, Seed, Tokenizer
from ..output import json_text
from ..progress import counting


DEFAULT_LENGTH = 64  # tokens, of a model without sentences
BATCH = 64


def generate(
    model: ModelName,
    prompt: Annotated[str, typer.Option(help="What every sequence begins with: text, or token ids.")] = "",
    num: Annotated[int, typer.Option("--num", "-n", help="Sequences.")] = 8,
    length: Annotated[int | None, typer.Option(help="New tokens; a whole sentence of an oracle by default.")] = None,
    seed: Seed = 0,
    symbols_only: Annotated[bool, typer.Option("--symbols_only", help="Draw no special ids (BOS, EOS, ..).")] = False,
    tokenizer: Tokenizer = None,
    rules_seed: RulesSeed = None,
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also a file: .txt, .jsonl, or .npy for ids.")
    ] = None,
) -> None:
    """Draw sequences from a causal model's own law (temperature 1, nothing cut off)."""
    from ..operands import read_model

    if num < 1:
        raise ValueError(f"--num {num} must be at least 1")
    read = read_model(model, rules_seed)
    sequences = generated(read, prompt, num, length, seed, tokenizer, symbols_only)
    if out is not None:
        write_generated(sequences, out)
    if json:
        print(json_text({"model": model, "seed": seed, "sequences": sequences}))
    else:
        print("\n".join(sequence["text"] for sequence in sequences))


def generated(
    read: Any, prompt: str, num: int, length: int | None, seed: int, tokenizer: str | None, symbols_only: bool = False
) -> list[dict[str, Any]]:
    """Draws sequences.

    Args:
        read ([`~rhm_hf.cli.operands.NamedModel`]): a causal model.
        prompt (`str`): text, or decimal ids where the model has no tokenizer.
        num (`int`): sequences.
        length (`int`, *optional*): new tokens.
        seed (`int`): of torch's generator; the global random state stays as it is.
        tokenizer (`str`, *optional*): a folder or Hub id; by default the one beside the model.
        symbols_only (`bool`, *optional*, defaults to `False`): special ids are not drawn, and the rest of the law is
            renormalised.

    Returns:
        `list[dict]`: `input_ids`, the prompt included, without special ids; `text`.
    """
    import torch

    model = read.model
    if not getattr(model, "can_generate", lambda: False)():
        raise ValueError(f"{read.name} is a {type(model).__name__}, which does not generate: give a causal model")
    words = _tokenizer(read, tokenizer)
    ids = _prompt_ids(prompt, words, model)
    bos = model.config.bos_token_id
    start = ids if bos is None or (ids and ids[0] == bos) else [bos, *ids]
    if not start:
        raise ValueError(f"{read.name} has no BOS to begin with: give --prompt")
    length = _length(read, length, len(ids), len(start))
    found: list[dict[str, Any]] = []
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), counting(model, f"{read.name} generates"):
        torch.manual_seed(seed)
        for first in range(0, num, BATCH):
            rows = torch.tensor([start] * min(BATCH, num - first), device=model.device)
            drawn = model.generate(
                rows,
                attention_mask=torch.ones_like(rows),
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                max_new_tokens=length,
                pad_token_id=_pad(model),
                suppress_tokens=_specials(model, words) if symbols_only else None,
            )
            for row in drawn.tolist():
                found.append(_readable(row, model, words))
    return found


def _length(read, length: int | None, prompt: int, start: int) -> int:
    """New tokens: as asked, or the rest of a sentence of the model's grammar, or 64; no more than fit."""
    config = read.model.config.get_text_config()
    room = getattr(config, "max_position_embeddings", None)
    room = None if room is None or room <= 0 else room - start + 1  # the last token is drawn and not read
    whole = getattr(read.model.config, "sentence_length", None)
    if whole is None and read.path and (grammar := Path(read.path) / "grammar").is_dir():
        from ...data import resolve_grammar

        whole = getattr(resolve_grammar(str(grammar)), "sentence_length", None)
    if length is None:
        length = DEFAULT_LENGTH if whole is None else whole - prompt
        length = length if room is None else min(length, room)
    if length < 1:
        raise ValueError(f"--length {length}: there is nothing to generate after {prompt} tokens of prompt")
    if room is not None and length > room:
        raise ValueError(f"--length {length}: after {prompt} tokens of prompt the model has positions for {room}")
    return length


def _specials(model, tokenizer) -> list[int] | None:
    """Ids that are no symbols of a text: what the model or its tokenizer calls special, and ids beyond its symbols."""
    config = model.config.get_text_config()
    special = _named_ids(config, ("bos", "eos", "pad", "mask"))
    special |= set(getattr(tokenizer, "all_special_ids", []))
    number = getattr(model.config, "num_symbols", None)
    special |= set() if number is None else set(range(number, config.vocab_size))
    return sorted(i for i in special if 0 <= i < config.vocab_size) or None


def _tokenizer(read, tokenizer: str | None):
    """The model's own tokenizer; where it has none and knows its symbols, that of the symbols."""
    from ..operands import model_tokenizer

    found = model_tokenizer(read, tokenizer, needed=False)
    if found is not None or getattr(read.model.config, "num_symbols", None) is None:
        return found
    from ...data import rhm_tokenizer

    grammar = getattr(read.model, "grammar", None)
    return rhm_tokenizer(read.model.config.num_symbols if grammar is None else grammar)


def _prompt_ids(prompt: str, tokenizer, model) -> list[int]:
    if not prompt:
        return []
    if tokenizer is not None:
        try:
            return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        except Exception as error:  # tokenizers raises nothing more exact
            raise ValueError(f"--prompt {prompt!r} is no text of the model's tokenizer: {error}") from error
    try:
        return [int(word) for word in prompt.replace(",", " ").split()]
    except ValueError:
        raise ValueError(
            f"--prompt {prompt!r}: the model has no tokenizer, so give token ids, or --tokenizer"
        ) from None


def _pad(model) -> int:
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        value = getattr(model.config, name, None)
        if isinstance(value, int):
            return value
    return 0


def _readable(row: list[int], model, tokenizer) -> dict[str, Any]:
    """A row without the special ids at its ends; in a grammar's own words where it has some."""
    special = _named_ids(model.config, ("bos", "eos", "pad"))
    begin = 1 if row and row[0] == model.config.bos_token_id else 0
    end = next((i for i in range(begin, len(row)) if row[i] in special), len(row))
    ids = row[begin:end]
    terminals = getattr(getattr(model, "grammar", None), "terminals", None)
    if terminals is not None and all(i < len(terminals) for i in ids):
        text = " ".join(terminals[i] for i in ids)
    else:
        text = " ".join(map(str, ids)) if tokenizer is None else tokenizer.decode(ids)
    return {"input_ids": ids, "text": text.strip() if hasattr(model.config, "num_symbols") else text}


def _named_ids(config, names: tuple[str, ...]) -> set[int]:
    """Ids that a configuration names; some models have several of a kind."""
    named = [getattr(config, f"{name}_token_id", None) for name in names]
    return {i for entry in named if entry is not None for i in (entry if isinstance(entry, list) else [entry])}


def write_generated(sequences: list[dict[str, Any]], path: Path) -> None:
    """Writes texts (.txt), rows (.jsonl) or an array of ids (.npy; sequences of one length)."""
    import json

    import numpy as np

    from ...files import beside
    from ..output import write_text

    if path.suffix == ".npy":
        if len({len(sequence["input_ids"]) for sequence in sequences}) > 1:
            raise ValueError(f"--out {str(path)!r}: the sequences have several lengths, which .jsonl holds")
        with beside(path) as partial:
            np.save(partial, np.array([sequence["input_ids"] for sequence in sequences]))
    elif path.suffix == ".jsonl":
        write_text(path, "".join(json.dumps(sequence, ensure_ascii=False) + "\n" for sequence in sequences))
    elif path.suffix == ".txt":
        write_text(path, "".join(sequence["text"] + "\n" for sequence in sequences))
    else:
        raise ValueError(f"--out {str(path)!r} must end with .txt, .jsonl or .npy")
