"""An autograd node in C++ for layers on a CPU, compiled on first use."""
