"""The exact grammar as Hugging Face models: logits are exact log probabilities, in nats.

Notable choices: rules and probabilities are buffers that no dtype conversion rounds; tables are derived from them at
the first call; a call reads the whole prefix (there is no key-value cache); the generation defaults that are saved
reproduce the law (sampling, no top-k).
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers.modeling_outputs import MaskedLMOutput, SequenceClassifierOutput

from ...checks import checked
from ...data.provenance import resolve_grammar
from ...grammar import NotSupported, Source
from ...grammar.registry import rebuilt
from ...inference import posteriors, prefix_probs
from ..derived import derived
from ..modeling_law import UNBOUNDED, LawForCausalLM, LawPreTrainedModel
from ..modeling_symbols import check_tensors
from .configuration_rhm import RHMConfig, identity, named


class RHMPreTrainedModel(LawPreTrainedModel):
    """What the three oracles share: the source as buffers, and saving it beside the weights."""

    config_class: type[RHMConfig] = RHMConfig

    def __init__(self, config: RHMConfig):
        super().__init__(config)
        for name, (dtype, shape) in config.buffer_shapes.items():
            self.register_buffer(name.replace(".", "_"), torch.zeros(shape, dtype=getattr(torch, dtype)))
        self.post_init()

    @classmethod
    @checked
    def from_grammar(cls, grammar: Any, **config_kwargs: Any) -> "RHMPreTrainedModel":
        """The oracle of a source.

        Args:
            grammar: a [`~rhm_hf.grammar.Source`] of any family, whose law the model is, or what
                [`~rhm_hf.data.resolve_grammar`] takes, such as a file of rules.
            config_kwargs: further fields of [`RHMConfig`]: `context_level=` or `context_length=` for a causal model
                with a shorter context, `dtype=torch.float32` to compute in single precision (float64 by default).
        """
        grammar = resolve_grammar(grammar)
        return cls(cls.config_class.from_grammar(grammar, **config_kwargs))._hold(grammar).eval()

    def _hold(self, grammar: Source) -> "RHMPreTrainedModel":
        """Copies the source of the configuration's shapes into the buffers."""
        for name, array in grammar.arrays().items():
            getattr(self, name.replace(".", "_")).copy_(torch.tensor(array))
        return self

    @property
    def grammar(self) -> Source:
        """The source that the buffers hold now; it has a name only where they hold what that name stands for."""
        return derived(self, "grammar", [name.replace(".", "_") for name in self.config.buffer_shapes], self._rebuilt)

    def _rebuilt(self) -> Source:
        record, names = self.config.source, self.config.buffer_shapes
        # Copies: the source is immutable, the buffers are not.
        arrays = {name: self._buffers[name.replace(".", "_")].detach().cpu().numpy().copy() for name in names}
        source = rebuilt({**record, "parameters": None}, arrays)
        parameters = record["parameters"]
        if parameters is None or record["identity"] != identity(parameters, source.fingerprint):
            return source
        return rebuilt(record, arrays)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """See `PreTrainedModel.from_pretrained`.

        Raises:
            `ValueError`: where weights, config.json and grammar/ are not of one law.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if not any(buffer.is_meta for buffer in model.buffers()):
            model._check_one_law(pretrained_model_name_or_path, kwargs)
        return loaded

    def _check_one_law(self, place: Any, options: dict[str, Any]) -> None:
        record, found = self.config.source, self.grammar
        said = record.get("fingerprint", found.fingerprint)
        parameters = record["parameters"]
        is_named = parameters is None or record["identity"] == identity(parameters, found.fingerprint)
        if said != found.fingerprint or not is_named:
            raise ValueError(
                f"{place} holds two laws: its weights are not the source that its config.json describes; make it "
                "again from its grammar, with from_grammar"
            )
        if self._beside(place, options) not in (None, found):
            raise ValueError(f"{place} holds two laws: its weights are not the grammar in its grammar/; remove one")

    def _beside(self, place: Any, options: dict[str, Any]) -> Source | None:
        """The grammar in the folder `grammar/` beside the weights, in a directory or in the same commit of the Hub."""
        if place is None:
            return None
        folder = Path(str(place), options.get("subfolder") or "")
        if folder.exists():
            return Source.from_pretrained(folder / "grammar") if (folder / "grammar").is_dir() else None
        hub = {name: options[name] for name in ("cache_dir", "token", "local_files_only") if name in options}
        revision = getattr(self.config, "_commit_hash", None) or options.get("revision")
        try:
            return Source.from_pretrained(str(place), revision=revision, **hub)
        except FileNotFoundError:  # none there, or none at hand without a network
            return None

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Saves the model, and the grammar in its folder `grammar/` for [`Grammar.from_pretrained`].

        Args:
            save_directory: the folder.
            push_to_hub (`bool`, *optional*, defaults to `False`): whether to upload both to the Hub, in one commit.
            kwargs: of `PreTrainedModel.save_pretrained`, and with `push_to_hub` of `PreTrainedModel.push_to_hub`
                (`repo_id`, by default the folder's name, `commit_message`, `private`, `token`, `create_pr`, ..).
        """
        hub = {name: kwargs.pop(name) for name in _OF_THE_HUB if name in kwargs}
        if "token" in hub:
            kwargs["token"] = hub["token"]
        record = self.config.source
        self.config.source = {**record, **named(self.grammar)}  # the buffers may hold another law by now
        try:
            super().save_pretrained(save_directory, **kwargs)
        finally:
            self.config.source = record
        if kwargs.get("is_main_process", True):
            self.grammar.save_pretrained(f"{save_directory}/grammar")
        if push_to_hub:  # it saves into a folder of its own, by this method, and uploads what is there
            self.push_to_hub(hub.pop("repo_id", Path(save_directory).resolve().name), **hub)


_OF_THE_HUB = (
    "repo_id",
    "commit_message",
    "commit_description",
    "private",
    "token",
    "revision",
    "create_pr",
    "tags",
)


class RHMForCausalLM(RHMPreTrainedModel, LawForCausalLM):
    """The exact next-token law as a causal language model: the best possible one, or the best with a shorter context.

    Logits are log P(x_i = . | x_<i) over the symbols, -inf elsewhere. After a complete sentence all mass is on EOS.
    After an impossible prefix, or one with a special id in it, there is no law: the row is uniform over the symbols.
    """

    def longest_generated(self) -> int:
        """The longest sentence, with its END where lengths vary."""
        source = self.config.source
        return UNBOUNDED if source["max_length"] is None else source["max_length"] + source["lengths_vary"]

    def next_probs(self, symbols: torch.Tensor, is_symbol: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
        config = self.config
        read = is_symbol.long().cumprod(1).bool()  # nothing special up to here
        context = {"context_level": config.context_level, "context_length": config.context_length}
        if config.sentence_length is None:
            return self._varying(symbols, read, is_end, context)
        probs, possible = prefix_probs(self.grammar, symbols, **context, dtype=self.dtype)
        possible = possible & F.pad(read[:, : probs.shape[1] - 1], (1, 0), value=True)
        return torch.where(possible[..., None], probs, 1 / config.num_symbols)

    def _varying(self, symbols, read, is_end, context) -> torch.Tensor:
        """`(batch, t + 1, v + 1)`: END is the last outcome, and all that follows it."""
        v, rows, longest = self.config.num_symbols, symbols.shape[1] + 1, self.config.source["max_length"]
        tokens = torch.where(read, symbols, v + 1)[:, :longest]
        probs, possible = prefix_probs(self.grammar, tokens, **context, dtype=self.dtype)
        probs, possible = probs[:, :rows], possible[:, :rows]
        missing = rows - probs.shape[1]  # prefixes longer than any sentence
        probs, possible = F.pad(probs, (0, 0, 0, missing)), F.pad(possible, (0, missing))
        possible = possible & F.pad(read, (1, 0), value=True)
        probs = torch.where(possible[..., None], probs, 1 / (v + 1))
        first = (possible & (probs[..., v] > 0))[:, :-1] & is_end  # the END of a sentence
        ended = F.pad(first.long().cumsum(1).bool(), (1, 0))
        end = F.one_hot(torch.tensor(v, device=probs.device), v + 1).to(probs)
        return torch.where(ended[..., None], end, probs)


class _RHMBidirectional(RHMPreTrainedModel):
    """Oracles that read a whole sentence; every id that is no symbol (MASK above all) hides its token."""

    @classmethod
    @checked
    def from_grammar(cls, grammar: Any, **config_kwargs: Any) -> "RHMPreTrainedModel":
        """See [`RHMPreTrainedModel.from_grammar`]; refuses families without posteriors."""
        grammar = resolve_grammar(grammar)
        grammar.laws.require("posteriors", f"an {cls.__name__}")
        return super().from_grammar(grammar, **config_kwargs)

    def __init__(self, config: RHMConfig):
        if config.context_level is not None or config.context_length is not None:
            raise ValueError(
                f"context_level={config.context_level}, context_length={config.context_length}: {type(self).__name__} "
                "reads whole sentences; only RHMForCausalLM has a shorter context"
            )
        super().__init__(config)

    def _posterior(self, input_ids, attention_mask, evidence, level) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The exact posterior of the nodes of a level, uniform where the evidence is impossible; and how many ids
        stand before every sentence."""
        if (input_ids is None) == (evidence is None):
            raise ValueError("give one of input_ids= (ids, MASK where a token is hidden) and evidence=")
        if evidence is not None:
            given, skipped = {"evidence": evidence}, None
        else:
            tokens, hidden, skipped = self._sentences(input_ids, attention_mask)
            given = {"tokens": tokens, "mask": hidden}
        laws, _ = posteriors(self.grammar, **given, dtype=self.dtype, return_log_evidence=True)
        return laws[level], skipped  # without return_log_evidence, impossible evidence would be an error

    def _sentences(self, input_ids, attention_mask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The tokens of every row (0 where hidden; PAD beyond the end where lengths vary), which are hidden, and how
        many ids stand before them."""
        input_ids = self._checked(input_ids)
        config, length = self.config, self.config.sentence_length
        visible, width = self._visible(input_ids, attention_mask), input_ids.shape[1]
        skipped = self._skipped(input_ids, attention_mask)
        if length is not None:
            if width < length:
                raise ValueError(
                    f"input_ids has shape {tuple(input_ids.shape)}: sentences of this grammar have {length} tokens, "
                    f"{length + 1} with BOS"
                )
            skipped = skipped.clamp(max=width - length)  # further special ids hide tokens
        ids = self._align(torch.where(visible, input_ids, config.mask_token_id), skipped, config.pad_token_id)
        hidden = ids >= config.num_symbols
        if length is not None:
            if not hidden[:, length:].all():
                raise ValueError(
                    f"input_ids has shape {tuple(input_ids.shape)} and holds more than the {length} tokens of a "
                    "sentence: beside them there may be padding and BOS before, EOS and padding after"
                )
            return torch.where(hidden, 0, ids)[:, :length], hidden[:, :length].contiguous(), skipped
        shown = self._align(visible, skipped, beyond=0).bool()
        after = (ids == config.pad_token_id) | (ids == config.eos_token_id) | ~shown.flip(1).cummax(1)[0].flip(1)
        beyond = after.long().cummax(1)[0].bool()
        tokens = torch.where(beyond, config.pad_token_id, torch.where(hidden, 0, ids))
        return tokens, hidden & ~beyond, skipped


class RHMForMaskedLM(_RHMBidirectional):
    """The exact posterior of every token given the visible ones: the best possible masked language model and denoiser.

    Logits are log P(x_i = . | visible tokens) over the symbols, -inf elsewhere; a visible token's row has all mass on
    it. Where the visible tokens are impossible together there is no law and the rows are uniform.
    """

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        evidence: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Exact log posteriors of the tokens.

        Args:
            input_ids (`torch.Tensor`): ids of sentences `(batch, length)`; there may be padding and BOS before and EOS
                and padding after them. MASK, or any other special id in a sentence, hides a token.
            attention_mask (`torch.Tensor`, *optional*): `(batch, length)`; 0 at padding of any id; within a sentence
                it hides a token, as MASK does.
            labels (`torch.Tensor`, *optional*): ids of the shape of `input_ids`, -100 left out.
            evidence (`torch.Tensor`, *optional*): instead of `input_ids`, non-negative soft evidence `(batch, d, v)`,
                such as the likelihood of every symbol under a noise process.

        Returns:
            `MaskedLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label. Ids before and
            after a sentence have all mass on themselves.
        """
        check_tensors(attention_mask=attention_mask, labels=labels, evidence=evidence)
        laws, skipped = self._posterior(input_ids, attention_mask, evidence, 0)
        logits = self._log_probs(laws, self.config.vocab_size)
        if skipped is not None:
            logits = self._in_place(logits, input_ids, attention_mask, skipped)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten().long(), ignore_index=-100)
        return MaskedLMOutput(loss, logits) if return_dict else tuple(x for x in (loss, logits) if x is not None)

    def _in_place(self, logits, input_ids, attention_mask, skipped) -> torch.Tensor:
        """Rows of tokens moved to where the tokens stand among the ids."""
        width, config = input_ids.shape[1], self.config
        place = torch.arange(width, device=logits.device) - skipped[:, None]
        if config.sentence_length is not None:
            inside = (place >= 0) & (place < config.sentence_length)
        else:
            tokens, _, _ = self._sentences(input_ids, attention_mask)
            length = (tokens != config.pad_token_id).sum(1)
            inside = (place >= 0) & (place < length[:, None])
        own = F.one_hot(input_ids.long(), config.vocab_size).to(logits).log()
        index = place.clamp(0, logits.shape[1] - 1)[..., None].expand(-1, -1, config.vocab_size)
        return torch.where(inside[..., None], logits.gather(1, index), own)


class RHMForSequenceClassification(_RHMBidirectional):
    """The exact posterior of the root given the tokens (those not hidden by MASK): the best possible classifier."""

    @classmethod
    @checked
    def from_grammar(cls, grammar: Any, **config_kwargs: Any) -> "RHMPreTrainedModel":
        """See [`RHMPreTrainedModel.from_grammar`]; refuses sentences without classes."""
        grammar = resolve_grammar(grammar)
        if grammar.num_classes == 1 and not grammar.has_blocks:
            raise NotSupported(f"an {cls.__name__}", grammar, "its sentences have no classes")
        return super().from_grammar(grammar, **config_kwargs)

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        evidence: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Exact log posteriors of the class.

        Args:
            input_ids, attention_mask, evidence: as in [`RHMForMaskedLM`].
            labels (`torch.Tensor`, *optional*): classes `(batch,)`.

        Returns:
            `SequenceClassifierOutput` with `logits` `(batch, num_classes)`; `loss` in nats per sentence.
        """
        check_tensors(attention_mask=attention_mask, labels=labels, evidence=evidence)
        logits = self._posterior(input_ids, attention_mask, evidence, -1)[0][:, 0].log()
        loss = None if labels is None else F.cross_entropy(logits, labels.long())
        if return_dict:
            return SequenceClassifierOutput(loss, logits)
        return tuple(x for x in (loss, logits) if x is not None)
