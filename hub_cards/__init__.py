"""Cards for the Hub, built by code from computed values. `python -m hub_cards.build` writes all of them."""
