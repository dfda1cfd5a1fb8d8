"""The CPU kernels: C++ and its launcher."""
