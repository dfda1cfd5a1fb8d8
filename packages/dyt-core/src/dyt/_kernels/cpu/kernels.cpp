// y = weight * f(alpha * x + shift) + bias and its gradients on a CPU, one pass over memory each.
//
// A plain C interface of pointers, sizes and a code for the types, so that building needs neither
// PyTorch nor Python. The loops are in loops.h, the functions f in functions.h. On x86-64 the loops
// are compiled four times, and the widest that the processor supports is chosen when the library is
// loaded.
//
// Layout. x is (outer, n, inner) and element i meets parameter (i / inner) % n: inner is 1 for
// (..., N) and H * W for (N, C, H, W). Where parameters change from one element to the next
// ("columns"), a short period is repeated, so that no row is too short for vectors. Where they are
// constant over many elements ("runs"), they are scalars of the loop.
//
// Determinism. Which thread computes what depends only on the sizes and the number of threads, and
// partial sums are added in the order of the threads: no atomics.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "calls.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace {

// Columns processed at once: their weights and both sums (24 KB) stay in a first-level cache.
constexpr int64_t CHUNK = 2048;
// Rows of a column, and elements of all columns, that are summed in fp32 before the sum is added to
// one in fp64. This bounds the error whatever the size of x.
constexpr int64_t ROW_BLOCK = 512;
constexpr int64_t SCALAR_BLOCK = 4096;
// Below this many elements a second thread costs more than it saves.
constexpr int64_t GRAIN = 16384;
// Parameters that are constant over this many elements are scalars of the loop.
constexpr int64_t LONG_RUN = 32;
// Results from this size on (in bytes) come from malloc as pages that the kernel has just zeroed:
// the largest threshold of glibc. They are in the caches for that reason, and are written there.
constexpr int64_t FRESH = 32 << 20;
// How many elements ahead the loops prefetch: a time, for the loops take as long for an element in
// a cache whatever its type, of about one access to memory. The processor's own prefetching starts
// again at every page of each stream, and in a model only dy is in the caches: without this,
// backward took 1.1 to 3 times as long there, and half or twice of it was no better.
constexpr int64_t AHEAD = 512;
// Columns are repeated until a row has at least this many.
constexpr int64_t SHORT_ROW = 128;

struct bf16 {
  uint16_t bits;
};

// ---- one call's arguments

struct Problem {
  const void *x, *dy;
  void *y, *dx;
  const void *weight, *bias;  // of one row (columns) or of the n runs, in the parameters' type
  int64_t weight_step, bias_step;  // 0: the layer has none, and each is the same number
  float alpha, shift;
  bool columns;
  bool past_caches;        // how to write the result
  int64_t numel;
  int64_t width;           // elements of a row of this problem
  int64_t group;           // rows of this problem in a row of x; those are x_ld or dy_ld apart
  int64_t x_ld, dy_ld;
  int64_t n;               // parameters: row r meets parameter r % n unless columns
};

// The sums of one thread: gradients of the row's (or the n) parameters, and of two scalars.
struct Partial {
  double *dweight, *dbias;
  double dalpha = 0, dshift = 0;
};

INLINE int64_t offset(int64_t row, int64_t group, int64_t ld, int64_t width) {
  return group == 1 ? row * ld : (row / group) * ld + (row % group) * width;
}

// ---- the table of functions

#define FUNCTION(NAME, ...) " " #NAME
const char NAMES[] =
#include "functions.h"
    ;
#undef FUNCTION

#define FUNCTION(NAME, ...) +1
constexpr int FUNCTIONS =
#include "functions.h"
    ;
#undef FUNCTION
static_assert(FUNCTIONS <= 1 << FUNCTION_BITS, "calls.h gives the function too few bits");

// ---- the loops, for each instruction set

using Forward = void (*)(const Problem&, int64_t, int64_t);
using Backward = void (*)(const Problem&, Partial&, int64_t, int64_t);

// Where one thread's sums for parameter c begin, and how they lie: `repeats` times `run` of them.
struct Reduction {
  const double* first;
  int64_t shares, stride, n, run, repeats;
};

using Reduce = void (*)(const Reduction&, void*);

struct Kernels {
  Forward forward[FUNCTIONS][2][2];  // by function, then x in fp32, bf16, then the parameters
  Backward backward[FUNCTIONS][2][2];
  Reduce reduce[2];  // by the parameters' type
};

namespace portable {  // 128 bits: SSE2 or NEON
#define WIDTH 16
#include "loops.h"
#undef WIDTH
}  // namespace portable

#if defined(__x86_64__)
#if defined(__clang__)
#define BEGIN_TARGET(NAMES) \
  PRAGMA(clang attribute push(__attribute__((target(NAMES))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop)
#else
#define BEGIN_TARGET(NAMES) PRAGMA(GCC push_options) PRAGMA(GCC target(NAMES))
#define END_TARGET PRAGMA(GCC pop_options)
#endif
#define PRAGMA(TEXT) _Pragma(#TEXT)

BEGIN_TARGET("avx2,fma,prfchw")
namespace avx2 {
#define WIDTH 32
#include "loops.h"
#undef WIDTH
}  // namespace avx2
END_TARGET

#define AVX512 "avx2,fma,prfchw,avx512f,avx512bw,avx512dq,avx512vl"
#define WIDTH 64
BEGIN_TARGET(AVX512)
namespace avx512 {
#include "loops.h"
}  // namespace avx512
END_TARGET

#define BF16 1
BEGIN_TARGET(AVX512 ",avx512bf16")
namespace avx512_bf16 {
#include "loops.h"
}  // namespace avx512_bf16
END_TARGET
#undef BF16
#undef WIDTH
#endif

// Instruction sets, narrowest first, and their names in the same order.
const Kernels* const LEVELS[] = {
    &portable::kernels,
#if defined(__x86_64__)
    &avx2::kernels,
    &avx512::kernels,
    &avx512_bf16::kernels,
#endif
};
const char LEVEL_NAMES[] =
    "portable"
#if defined(__x86_64__)
    " avx2"
    " avx512"
    " avx512_bf16"
#endif
    ;

int widest_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!wide) return 1;
  return __builtin_cpu_supports("avx512bf16") ? 3 : 2;
#else
  return 0;
#endif
}

const Kernels* kernels = LEVELS[widest_level()];

// ---- threads

// The OpenMP runtime that PyTorch runs on, passed by the caller: torch.set_num_threads counts its
// threads, and a second pool would compete with them.
using ParallelRegion = void (*)(void (*)(void*), void*, unsigned, unsigned);
using ThreadQuery = int (*)();
ParallelRegion parallel_region = nullptr;
ThreadQuery thread_index = nullptr, team_size = nullptr;

template <class Body>
struct Team {
  const Body& body;
  int shares;

  static void run(void* self) {
    const Team& team = *static_cast<Team*>(self);
    // A nested region may get fewer threads than it asked for.
    for (int i = thread_index(); i < team.shares; i += team_size()) team.body(i);
  }
};

// body(0) ... body(shares - 1), each once, in parallel as far as there are threads.
template <class Body>
void in_parallel(int shares, const Body& body) {
  if (shares == 1) {
    body(0);
  } else if (parallel_region) {
    Team<Body> team{body, shares};
    parallel_region(Team<Body>::run, &team, unsigned(shares), 0);
  } else {  // a PyTorch without OpenMP
    std::vector<std::thread> others;
    for (int i = 1; i < shares; i++) others.emplace_back([&body, i] { body(i); });
    body(0);
    for (std::thread& other : others) other.join();
  }
}

int64_t shares_of(int64_t numel, int64_t threads) {
  return std::max<int64_t>(1, std::min(threads, numel / GRAIN));
}

// Where share i begins: at a row if there are many rows, else at a multiple of 64 elements.
int64_t share_begin(const Problem& p, int64_t i, int64_t shares) {
  if (i == shares) return p.numel;
  const int64_t unit = p.numel / p.width >= 16 * shares ? p.width : 64;
  const int64_t units = p.numel / unit;
  return (units * i / shares) * unit;
}

// Bytes of the caches that one thread can count on; 0: not known, and nothing is written past them.
int64_t cache_bytes = 0;

// Whether to write a result past the caches, which could not hold the `tensors` of its size. That
// saves reading each of its lines first, and was faster even where the next operation reads the
// result at once. Each row must begin on a cache line.
bool past_caches(const Problem& p, const void* result, int x_type, int tensors, int64_t shares) {
  const int64_t itemsize = x_type ? 2 : 4, size = p.numel * itemsize;
  const bool aligned = uintptr_t(result) % 64 == 0 && p.width * itemsize % 64 == 0;
  return aligned && cache_bytes && tensors * size >= cache_bytes * shares && size < FRESH;
}

// ---- parameters

float parameter(const void* p, int64_t i, int type) {
  if (type) return portable::load(static_cast<const bf16*>(p) + i, 1)[0];
  return portable::read<float>(static_cast<const float*>(p) + i);
}

void put_parameter(void* p, int64_t i, int type, double value) {
  const portable::F single = portable::same(float(value));
  if (type)
    portable::store(static_cast<bf16*>(p) + i, single, 1, false);
  else
    portable::store(static_cast<float*>(p) + i, single, 1, false);
}

// So many equal numbers that each instruction set can load a vector of them.
constexpr int CONSTANTS = 16;
template <class T>
struct Constant {
  T values[CONSTANTS];
  explicit Constant(T value) { std::fill_n(values, CONSTANTS, value); }
};

// What stands for a weight or a bias that the layer does not have, in the type of the others.
const void* constant(float value, int type) {
  static const Constant<float> ones(1.f), zeros(0.f);
  static const Constant<bf16> short_ones(bf16{0x3f80}), short_zeros(bf16{0});
  if (type) return value != 0 ? short_ones.values : short_zeros.values;
  return value != 0 ? ones.values : zeros.values;
}

// Weight or bias in the problem's order; not copied where they lie so already.
class Expanded {
 public:
  const void* values = nullptr;
  int64_t step = 0;

  bool fill(const void* p, bool present, float fallback, int type, int64_t n, int64_t run,
            int64_t size) {
    step = present;
    values = present ? p : constant(fallback, type);
    if (!present || (n * run == size && run == 1)) return true;
    return type ? repeat<uint16_t>(p, n, run, size) : repeat<uint32_t>(p, n, run, size);
  }

 private:
  std::unique_ptr<char[]> own_;

  template <class Bits>
  bool repeat(const void* p, int64_t n, int64_t run, int64_t size) {
    own_.reset(new (std::nothrow) char[size * sizeof(Bits)]);
    if (!own_) return false;
    values = own_.get();
    const int64_t period = n * run;
    for (int64_t c = 0; c < n; c++)
      for (int64_t j = 0; j < run; j++)
        std::memcpy(own_.get() + (c * run + j) * sizeof(Bits),
                    static_cast<const char*>(p) + c * sizeof(Bits), sizeof(Bits));
    for (int64_t done = period; done < size; done += period)
      std::memcpy(own_.get() + done * sizeof(Bits), own_.get(), period * sizeof(Bits));
    return true;
  }
};

struct Layout {
  int64_t run, repeats;  // columns: elements per parameter, periods per row

  Layout(Problem& p, int64_t outer, int64_t n, int64_t inner, int64_t x_ld, int64_t dy_ld) {
    const int64_t period = n * inner;
    const bool dense = x_ld == period && dy_ld == period;
    p.numel = outer * period;
    p.n = n;
    p.columns = inner < LONG_RUN && period > 1;
    run = p.columns ? inner : 1;
    repeats = 1;
    if (p.columns && dense && period < SHORT_ROW)
      repeats = std::max<int64_t>(1, std::min(outer, (SHORT_ROW + period - 1) / period));
    p.width = std::max<int64_t>(1, p.columns ? period * repeats : inner);
    p.group = p.columns ? 1 : n;
    p.x_ld = x_ld * repeats;
    p.dy_ld = dy_ld * repeats;
  }

  int64_t parameters(const Problem& p) const { return p.columns ? p.width : p.n; }
};

// ---- what is refused

// The status of the first tensor that is amiss: without its memory though it has elements, or there
// though the call has none.
struct Check {
  int status;

  explicit Check(const Config& codes)
      : status(codes.function < FUNCTIONS ? DONE : UNKNOWN_FUNCTION) {}

  Check& tensor(const void* p, bool present, bool filled, Status missing) {
    const bool lacks = !p && present && filled, strays = p && !present;
    if (status == DONE && (lacks || strays)) status = missing + strays;
    return *this;
  }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// Names of the functions, in the order of their codes, and of the instruction sets, narrowest
// first: separated by spaces.
const char* dyt_functions() { return NAMES; }
const char* dyt_levels() { return LEVEL_NAMES; }

// The number of 64-bit fields of a ForwardCall and of a BackwardCall.
int dyt_forward_fields() { return sizeof(ForwardCall) / 8; }
int dyt_backward_fields() { return sizeof(BackwardCall) / 8; }

// The field `config` of a call; types are 0 for fp32, 1 for bf16, the others 0 or 1.
int64_t dyt_config(int function, int x_type, int parameter_type, int has_shift, int has_weight,
                   int has_bias) {
  return Config{function, x_type, parameter_type, has_shift != 0, has_weight != 0, has_bias != 0}
      .packed();
}

// In one sentence, what dyt_forward or dyt_backward returned.
const char* dyt_sentence(int status) { return sentence(status); }

// Use these functions of an OpenMP runtime (all or none), no wider instructions than those of
// `level`, a place in dyt_levels, and so many bytes of the caches a thread. Returns the level.
int dyt_init(ParallelRegion region, ThreadQuery index, ThreadQuery size, int level,
             int64_t cache) {
  cache_bytes = cache;
  parallel_region = index && size ? region : nullptr;
  thread_index = index;
  team_size = size;
  const int chosen = std::max(0, std::min(level, widest_level()));
  kernels = LEVELS[chosen];
  return chosen;
}

// Rows of x, n * inner elements each, may be x_ld apart; y is dense.
int dyt_forward(const ForwardCall* call) {
  const auto [x, alpha, shift, weight, bias, y, outer, n, inner, x_ld, config, threads] = *call;
  const Config codes = Config::of(config);
  Problem p{};
  const Layout layout(p, outer, n, inner, x_ld, n * inner);
  const bool some = p.numel != 0;
  const Check check = Check(codes)
                          .tensor(x, true, some, NULL_x)
                          .tensor(alpha, true, true, NULL_alpha)
                          .tensor(shift, codes.has_shift, true, NULL_shift)
                          .tensor(weight, codes.has_weight, n != 0, NULL_weight)
                          .tensor(bias, codes.has_bias, n != 0, NULL_bias)
                          .tensor(y, true, some, NULL_y);
  if (check.status) return check.status;
  if (!some) return DONE;
  Expanded weights, biases;
  const int64_t size = layout.parameters(p);
  const int type = codes.parameter_type;
  if (!weights.fill(weight, codes.has_weight, 1.f, type, n, layout.run, size) ||
      !biases.fill(bias, codes.has_bias, 0.f, type, n, layout.run, size))
    return OUT_OF_MEMORY;
  p.x = x, p.y = y, p.weight = weights.values, p.bias = biases.values;
  p.weight_step = weights.step, p.bias_step = biases.step;
  const int64_t shares = shares_of(p.numel, threads);
  p.past_caches = past_caches(p, y, codes.x_type, 1, shares);
  p.alpha = parameter(alpha, 0, type);
  p.shift = codes.has_shift ? parameter(shift, 0, type) : 0.f;
  const Forward kernel = kernels->forward[codes.function][codes.x_type][type];
  in_parallel(int(shares), [&](int i) {
    kernel(p, share_begin(p, i, shares), share_begin(p, i + 1, shares));
  });
  return DONE;
}

// dx is dense. The gradients have the parameters' type.
int dyt_backward(const BackwardCall* call) {
  const auto [dy, x, alpha, shift, weight, dx, dalpha, dshift, dweight, dbias, outer, n, inner,
              x_ld, dy_ld, config, threads] = *call;
  const Config codes = Config::of(config);
  Problem p{};
  const Layout layout(p, outer, n, inner, x_ld, dy_ld);
  const bool some = p.numel != 0;
  const Check check = Check(codes)
                          .tensor(dy, true, some, NULL_dy)
                          .tensor(x, true, some, NULL_x)
                          .tensor(alpha, true, true, NULL_alpha)
                          .tensor(shift, codes.has_shift, true, NULL_shift)
                          .tensor(weight, codes.has_weight, n != 0, NULL_weight)
                          .tensor(dx, true, some, NULL_dx)
                          .tensor(dalpha, true, true, NULL_dalpha)
                          .tensor(dshift, codes.has_shift, true, NULL_dshift)
                          .tensor(dweight, codes.has_weight, n != 0, NULL_dweight)
                          .tensor(dbias, codes.has_bias, n != 0, NULL_dbias);
  if (check.status) return check.status;
  const int64_t size = layout.parameters(p);
  const int type = codes.parameter_type;
  Expanded weights;
  if (!weights.fill(weight, codes.has_weight, 1.f, type, n, layout.run, size))
    return OUT_OF_MEMORY;
  p.x = x, p.dy = dy, p.dx = dx, p.weight = weights.values, p.weight_step = weights.step;
  const int64_t shares = shares_of(p.numel, threads);
  p.past_caches = past_caches(p, dx, codes.x_type, 3, shares);
  p.alpha = parameter(alpha, 0, type);
  p.shift = codes.has_shift ? parameter(shift, 0, type) : 0.f;
  const Backward kernel = kernels->backward[codes.function][codes.x_type][type];
  const int64_t stride = 2 * size;
  std::unique_ptr<double[]> sums(new (std::nothrow) double[shares * stride]);
  std::unique_ptr<Partial[]> partials(new (std::nothrow) Partial[shares]);
  if (!sums || !partials) return OUT_OF_MEMORY;
  in_parallel(int(shares), [&](int i) {
    double* own = sums.get() + i * stride;
    std::fill_n(own, stride, 0.0);
    Partial partial{own, own + size};  // on this thread's stack: no shared cache line
    kernel(p, partial, share_begin(p, i, shares), share_begin(p, i + 1, shares));
    partials[i] = partial;
  });
  double alpha_sum = 0, shift_sum = 0;
  for (int64_t i = 0; i < shares; i++) {
    alpha_sum += partials[i].dalpha;
    shift_sum += partials[i].dshift;
  }
  put_parameter(dalpha, 0, type, alpha_sum);
  if (codes.has_shift) put_parameter(dshift, 0, type, shift_sum);
  const auto reduce = [&](void* gradient, int64_t first) {
    kernels->reduce[type](
        {sums.get() + first, shares, stride, p.n, layout.run, layout.repeats}, gradient);
  };
  if (codes.has_weight) reduce(dweight, 0);
  if (codes.has_bias) reduce(dbias, size);
  return DONE;
}
}
#pragma GCC visibility pop
