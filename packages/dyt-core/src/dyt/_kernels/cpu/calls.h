// What the functions of kernels.cpp are called with: 64 bits for each field.
//
// A null parameter: the layer has none. A null gradient: it is not wanted.

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

constexpr int FUNCTION_BITS = 4;

// The function and the dtypes of a call in one number. Types: 0 for fp32, 1 for bf16.
struct Config {
  int function, x_type, parameter_type;

  static Config of(int64_t packed) {
    return {int(packed & ((1 << FUNCTION_BITS) - 1)), int(packed >> FUNCTION_BITS & 1),
            int(packed >> (FUNCTION_BITS + 1) & 1)};
  }

  int64_t packed() const {
    return function | int64_t(x_type) << FUNCTION_BITS |
           int64_t(parameter_type) << (FUNCTION_BITS + 1);
  }
};
