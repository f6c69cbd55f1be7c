"""How many ids a model reads at once, under whichever name its configuration says it."""

import torch


# Fields that state it, each also reached through a configuration's own attribute map (GPT-2's n_positions, RWKV's
# context_length). XLNet says -1 for "no limit", some say None.
LIMITS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "max_seq_length",
    "max_target_positions",
    "n_ctx",
)
NO_LIMIT = 10**9


def stated_limit(model: torch.nn.Module) -> tuple[str, int] | None:
    """The field that limits the input and the ids it leaves room for; None where no field does."""
    config = model.config.get_text_config()
    found = [(name, getattr(config, name, None)) for name in LIMITS]
    found = [(name, n) for name, n in found if isinstance(n, int) and 0 < n < NO_LIMIT]
    if not found:
        return None
    name, limit = min(found, key=lambda entry: entry[1])
    return config.attribute_map.get(name, name), limit - reserved_positions(model, limit)


def check_stated_limit(model: torch.nn.Module, length: int, what: str = "this grammar's sentences need") -> None:
    """Refuses inputs of more ids than what the configuration says; `what` needs them, for the message."""
    limit = stated_limit(model)
    if limit is not None and length > limit[1]:
        raise ValueError(
            f"the model reads at most {limit[1]} ids ({limit[0]}) and {what} {length}: take shorter ones, or a model "
            "with a longer context"
        )


def reserved_positions(model: torch.nn.Module, limit: int) -> int:
    """Positions that no id gets, of a table with `limit`: RoBERTa and its kin count from the padding's id + 1."""
    try:
        words = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        words = None
    for module in model.modules():
        is_table = isinstance(module, torch.nn.Embedding) and module.num_embeddings == limit and module is not words
        if is_table and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0
