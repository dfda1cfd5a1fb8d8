// What the functions of native.cpp are called with, 64 bits for each field. A null parameter is not
// there, a null gradient not wanted. config: the function's place in the table, 16 for an x of bf16
// rather than fp32, 32 for parameters of bf16.

#pragma once

#include <cstdint>

struct ForwardCall {
  const void *x, *alpha, *shift, *weight, *bias;
  void* y;
  int64_t outer, n, inner, x_ld, config, threads;
};

struct BackwardCall {
  const void *dy, *x, *alpha, *shift, *weight;
  void *dx, *dalpha, *dshift, *dweight, *dbias;
  int64_t outer, n, inner, x_ld, dy_ld, config, threads;
};
