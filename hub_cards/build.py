"""`python -m hub_cards.build` writes every card beside this file; `--check` says which ones are out of date."""

import sys
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import RepoCard

from hub_cards.belief_probe import belief_probe_card
from hub_cards.context_loss import context_loss_card
from hub_cards.effective_context import effective_context_card
from hub_cards.grammaticality import grammaticality_card
from hub_cards.in_context_kl import in_context_kl_card
from hub_cards.latent_probe import latent_probe_card
from hub_cards.memorisation import memorisation_card
from hub_cards.representation_probe import representation_probe_card
from hub_cards.rhm import dataset_card
from hub_cards.rhm_kl import metric_card
from hub_cards.synonym_sensitivity import synonym_sensitivity_card
from hub_cards.token_correlations import measurement_card


CARDS: dict[str, Callable[[], RepoCard]] = {  # file -> what builds it
    "belief_probe.md": belief_probe_card,
    "context_loss.md": context_loss_card,
    "effective_context.md": effective_context_card,
    "grammaticality.md": grammaticality_card,
    "in_context_kl.md": in_context_kl_card,
    "latent_probe.md": latent_probe_card,
    "memorisation.md": memorisation_card,
    "representation_probe.md": representation_probe_card,
    "rhm.md": dataset_card,
    "rhm_kl.md": metric_card,
    "synonym_sensitivity.md": synonym_sensitivity_card,
    "token_correlations.md": measurement_card,
}
FOLDER = Path(__file__).parent


def stale_cards() -> list[str]:
    """The cards whose file is not what the code builds."""
    return [name for name, build in CARDS.items() if _text(FOLDER / name) != str(build())]


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def main(arguments: list[str]) -> int:
    """Writes the cards, or with `--check` returns 1 where one of them is out of date."""
    stale = stale_cards()
    if "--check" in arguments:
        print(f"out of date: {', '.join(stale)}; run python -m hub_cards.build" if stale else "all up to date")
        return int(bool(stale))
    for name in stale:
        (FOLDER / name).write_text(str(CARDS[name]()), encoding="utf-8")
        print(f"wrote {FOLDER / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
