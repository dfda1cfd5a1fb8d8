"""The Triton kernels: device code and its launcher."""
