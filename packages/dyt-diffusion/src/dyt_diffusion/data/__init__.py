"""The data of diffusion: pixels of small images, latents of large ones, and the data module."""
