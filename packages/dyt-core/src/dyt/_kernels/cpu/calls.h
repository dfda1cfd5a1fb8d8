// What the functions of kernels.cpp are called with, 64 bits for each field, and what they return.
//
// Which parameters a layer has, `config` says. A pointer cannot: a tensor may lack its memory, as a
// wrapper does or one whose storage was freed, and would be left out of the formula in silence.

#pragma once

#include <cstdint>

struct ForwardCall {
  const void *x, *alpha, *shift, *weight, *bias;
  void* y;
  int64_t outer, n, inner, x_ld, config, threads;
};

// Each parameter that the layer has gets its gradient.
struct BackwardCall {
  const void *dy, *x, *alpha, *shift, *weight;
  void *dx, *dalpha, *dshift, *dweight, *dbias;
  int64_t outer, n, inner, x_ld, dy_ld, config, threads;
};

constexpr int FUNCTION_BITS = 4;

// The function, the dtypes and the parameters of a call in one number. Types: 0 for fp32, 1 for
// bf16.
struct Config {
  int function, x_type, parameter_type;
  bool has_shift, has_weight, has_bias;

  static Config of(int64_t packed) {
    const auto bit = [&](int place) { return packed >> (FUNCTION_BITS + place) & 1; };
    return {int(packed & ((1 << FUNCTION_BITS) - 1)), int(bit(0)), int(bit(1)),
            bit(2) != 0,                              bit(3) != 0, bit(4) != 0};
  }

  int64_t packed() const {
    const int bits =
        x_type | parameter_type << 1 | has_shift << 2 | has_weight << 3 | has_bias << 4;
    return function | int64_t(bits) << FUNCTION_BITS;
  }
};

// ---- what a call returns

#define TENSORS(EACH) \
  EACH(x) EACH(alpha) EACH(shift) EACH(weight) EACH(bias) EACH(y) EACH(dy) EACH(dx) \
  EACH(dalpha) EACH(dshift) EACH(dweight) EACH(dbias)

// All but DONE: nothing was written. For each tensor, without its memory or not of this call.
enum Status : int {
  DONE,
  OUT_OF_MEMORY,
  UNKNOWN_FUNCTION,
#define STATUS(NAME) NULL_##NAME, STRAY_##NAME,
  TENSORS(STATUS)
#undef STATUS
  STATUSES
};

// A status in one sentence.
inline const char* sentence(int status) {
  static const char* const sentences[] = {
      "the CPU kernels did what they were called for",
      "there is no memory for what the CPU kernels keep: parameters and partial sums",
      "the CPU kernels have no function of this code: reinstall dyt-core",
#define SENTENCES(NAME)                                                                      \
  #NAME " has no memory: the CPU kernels take tensors whose elements lie at data_ptr(), and "      \
        "that is 0; restore a storage that was freed, or compute wrappers by backend='eager'",     \
      #NAME " is not of this call: the CPU kernels were prepared for a layer without it",
      TENSORS(SENTENCES)
#undef SENTENCES
  };
  static_assert(sizeof sentences / sizeof *sentences == STATUSES, "a sentence for each status");
  return status >= 0 && status < STATUSES ? sentences[status] : "unknown status";
}
