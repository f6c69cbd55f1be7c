"""The correlation learner: latent symbols from the correlations of tuples."""
