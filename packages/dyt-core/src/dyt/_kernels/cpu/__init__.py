"""The CPU backend: C++ kernels and their launcher."""
