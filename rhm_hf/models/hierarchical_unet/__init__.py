"""The hierarchical U-Net of the papers on diffusion."""
