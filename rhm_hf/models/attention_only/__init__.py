"""Stacks of attention without residual connections, norms or MLPs."""
