"""A node of autograd's graph in C++, compiled on first use, for layers on a CPU."""
