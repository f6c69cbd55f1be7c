"""The losses of two models on the same windows of a text: their difference, with the error of the difference."""

from typing import Any

from ..progress import counting


def compared_losses(
    pairs: Any, corpus: Any, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measures two models at the same context lengths, and on the same windows where their tokens are the same.

    Windows depend on the tokens, the length and the seed alone, so two models that cut the text into the same tokens
    read the same ones; the difference of every document (or block) is then free of how hard its text is.

    Args:
        pairs: two times a model and its tokenizer.
        corpus ([`~rhm_hf.cli.corpora.Corpus`]): the text.
        options (`dict`): of [`~rhm_hf.metrics.context_loss.by_context.loss_by_context`].

    Returns:
        The result, with `models`, `context_lengths`, `difference` and `difference_stderr` (second - first), or
        `no_difference`, why there is none; and the losses of every model by its name.
    """
    from ...metrics.context_loss.by_context import loss_by_context

    names = [read.name for read, _ in pairs]
    if names[0] == names[1]:
        names[1] += " (2)"
    refused = _why_not(pairs, corpus)
    if options.get("max_context") is None and options.get("windows") != "rows" and refused is None:
        options = options | {"max_context": _common_context(loss_by_context, pairs, corpus, options)}
    rows, losses = {}, {}
    for name, (read, tokenizer) in zip(names, pairs, strict=True):
        with counting(read.model, f"{name} reads {corpus.name}", options["num_windows"]):
            found = measured_loss(loss_by_context, read, tokenizer, corpus, options | {"return_rows": True})
        rows[name] = {key: found.pop(key) for key in ("row_sums", "row_counts")}
        losses[name] = found
    result: dict[str, Any] = {"models": losses}
    if refused is None and len({loss["mode"] for loss in losses.values()}) > 1:
        refused = "one model was read in one pass and the other with paired windows: add --set paired=true"
    if refused is not None:
        return result | {"no_difference": refused}, losses
    return result | _difference([rows[name] for name in names], [losses[name] for name in names]), losses


def _difference(rows: list[dict[str, Any]], losses: list[dict[str, Any]]) -> dict[str, Any]:
    """Second - first at the lengths that both have, from the sums of each document or block of windows."""
    from ...metrics.context_loss.saturation import curve

    lengths = [n for n in losses[0]["context_lengths"] if n in losses[1]["context_lengths"]]
    columns = [[loss["context_lengths"].index(n) for n in lengths] for loss in losses]
    sums = [entry["row_sums"][:, where].cpu() for entry, where in zip(rows, columns, strict=True)]
    difference, stderr = curve(sums[1] - sums[0], rows[0]["row_counts"].cpu())
    return {"context_lengths": lengths, "difference": difference, "difference_stderr": stderr}


def measured_loss(judge: Any, read: Any, tokenizer: Any, corpus: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The losses of one model on a corpus of texts or of ids."""
    if corpus.texts is not None:
        return judge(read.model, texts=corpus.texts, tokenizer=tokenizer, **options)
    return judge(read.model, corpus.ids, tokenizer=tokenizer, **options)


def _why_not(pairs, corpus) -> str | None:
    """Why windows are not the same; None where they are."""
    if corpus.texts is None:
        return None
    ids = [tokenizer(corpus.texts[0], add_special_tokens=False, verbose=False)["input_ids"] for _, tokenizer in pairs]
    if ids[0] != ids[1]:
        return "the two models cut the text into different tokens, so their windows differ; compare --per character"
    return None


def _common_context(judge, pairs, corpus, options) -> int:
    """The longest context that both have by themselves, found on two windows."""
    probe = {
        name: value for name, value in options.items() if name not in ("num_windows", "context_lengths", "fit_range")
    }
    longest = [
        measured_loss(judge, read, tokenizer, corpus, probe | {"num_windows": 2})["context_lengths"][-1]
        for read, tokenizer in pairs
    ]
    return min(longest)
