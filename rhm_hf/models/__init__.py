"""Laws over sequences as Hugging Face models: the oracles and the n-grams."""
