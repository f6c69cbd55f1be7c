"""Random models that depend on what they read."""

import torch


def made(model_class, config, scale=6.0):
    """A model whose weights are large enough for it to read what it can."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    return model
