"""Small random models of any architecture: configurations shrunk field by field, also those of parts of a model."""

import copy
from typing import Any

import torch


BOS, PAD, MASK, IDS = 16, 17, 18, 19
MOST_PARAMETERS = 20_000_000
WIDTH, HEADS, LAYERS = 32, 4, 2

_SIZES = {
    WIDTH: "hidden_size d_model n_embd emb_dim dim embedding_size model_dim word_embed_proj_dim d_embed hidden_dim "
    "dim_model lru_width attention_hidden_size d_latents",
    HEADS: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_key_value_heads num_kv_heads n_kv_heads num_decoder_attention_heads num_encoder_attention_heads "
    "num_self_attention_heads num_cross_attention_heads",
    WIDTH // HEADS: "head_dim d_kv attention_head_size d_head global_head_dim rotary_dim",
    LAYERS: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
    "num_encoder_layers depth num_self_attends_per_block",
    48: "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff d_inner n_inner feed_forward_size "
    "ffn_hidden_size dim_ff inner_dim hidden_ffn_size",
}
SMALL: dict[str, Any] = {name: size for size, names in _SIZES.items() for name in names.split()} | {
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions", "n_ctx"), 32),
    **dict.fromkeys(("max_source_positions", "max_sequence_length"), 32),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "mamba_d_head", "mamba_head_dim"), 8),
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id", "cls_token_id", "sep_token_id"), BOS),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), IDS),
    **dict.fromkeys(("pad_token_id", "unk_token_id"), PAD),
    "mask_token_id": MASK,
    "type_vocab_size": 2,
    "dropout": 0.0,
    "entity_vocab_size": 5,
    "entity_emb_size": 8,
    "num_latents": 6,
    "mamba_d_ssm": 64,
}
ALSO_NONE = ("head_dim", "vocab_size", "num_experts_per_tok", "n_routed_experts", "n_group", "topk_group")


def shrink(config: Any) -> dict[str, Any]:
    """Keyword arguments for a small configuration of the same class."""
    values, own = config.to_dict(), {}
    depths = [value for name, value in values.items() if SMALL.get(name) == LAYERS and isinstance(value, int)]
    for name, value in values.items():
        if name.endswith("token_id") or name in ALSO_NONE:
            if name in SMALL:
                own[name] = SMALL[name]
        elif name in SMALL and isinstance(value, int | float) and not isinstance(value, bool):
            own[name] = SMALL[name]
        elif name in SMALL and isinstance(value, list):
            own[name] = [SMALL[name]] * (LAYERS if len(value) in depths else len(value))
        elif "drop" in name and isinstance(value, float):
            own[name] = 0.0
        elif isinstance(value, list) and len(value) in depths:
            own[name] = _first_of_each(value)
    for name in getattr(config, "sub_configs", {}):
        part = getattr(config, name, None)
        if part is not None:
            own[name] = shrink(part)
    return own


def _first_of_each(kinds: list) -> list:
    """Two entries, of two kinds where there are two."""
    different = list(dict.fromkeys(map(repr, kinds)))[:2]
    found = [next(kind for kind in kinds if repr(kind) == name) for name in different]
    return (found * LAYERS)[:LAYERS]


CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"head_dim": None},
    {"head_dim": 16},
    {"num_key_value_heads": 2},
    {"num_key_value_heads": 1},
    {"num_attention_heads": 2, "num_key_value_heads": 2},
    {"num_heads": 8},
    {"num_hidden_layers": 4},
    {"num_hidden_layers": 6},
    {"axial_pos_shape": [4, 8], "axial_pos_embds_dim": [16, 16], "is_decoder": True},
    {"axial_pos_shape": [4, 8], "axial_pos_embds_dim": [16, 16], "is_decoder": False},
    {"layer_types": None},
    {"default_language": "en_XX"},
    {"n_shared_experts": 1},
    {"num_kv_shared_layers": 0},
    {"layer_types": ["full_attention", "conv"]},
    {"num_experts_per_token": 2},
    {"num_experts_per_token": 2, "head_dim": 16},
    {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"]},
)


def build(config_class: type, model_class: type) -> torch.nn.Module:
    """A small random model, in float32; the first change of the configuration that works and can be run.

    Raises:
        `Exception`: the first error, where none does.
    """
    errors = []
    for change in CHANGES:
        try:
            plain = (model_class.config_class or config_class)()
            known = plain.to_dict().keys()
            config = type(plain)(**shrink(plain) | {k: v for k, v in change.items() if k in known})
            with torch.device("meta"):
                size = sum(p.numel() for p in model_class._from_config(copy.deepcopy(config)).parameters())
            if size > MOST_PARAMETERS:
                raise ValueError(f"{size} parameters, too many for a zoo")
            torch.manual_seed(0)
            model = model_class._from_config(config, dtype=torch.float32).eval()
            _scale_up(model)
            with torch.no_grad():
                model(torch.tensor([[BOS, *range(8)]]), use_cache=False)
            return model
        except Exception as error:  # whatever goes wrong in any of hundreds of classes
            errors.append(error)
    raise errors[0]


@torch.no_grad()
def _scale_up(model: torch.nn.Module) -> None:
    """Matrices of small random numbers become of order 1, so that layers change what goes through them."""
    for parameter in model.parameters():
        if parameter.ndim >= 2 and 0 < float(parameter.float().std()) < 0.1:
            parameter.mul_(0.15 / float(parameter.float().std()))
