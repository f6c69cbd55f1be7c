"""N-gram models: counts of tokens after the tokens before, and after the latent symbols before."""
