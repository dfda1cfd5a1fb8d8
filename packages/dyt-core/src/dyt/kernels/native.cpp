// y = weight * f(alpha * x + shift) + bias and its gradients on a CPU, one pass over memory each.
//
// A plain C interface: pointers, sizes and a code for the types, so that building needs neither
// PyTorch nor Python. The loops are plain C++ that the compiler vectorises; on x86-64 the same
// loops are compiled three times and the widest that the processor has is chosen when loaded.
//
// Layout. x is (outer, n, inner) and element i meets parameter (i / inner) % n: inner is 1 for
// (..., N) and H * W for (N, C, H, W). Where parameters change from one element to the next
// ("columns") a short period is written out several times over, so that no row is too short to
// vectorise; where they stay for long ("rows") they are scalars of the loop.
//
// Determinism. Which thread computes what depends on the sizes and the number of threads alone,
// and partial sums are added in the order of the threads: no atomics.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

#define INLINE static inline __attribute__((always_inline))

namespace {

// Loop blocking, in elements. 2048 columns keep the parameters and both accumulators (24 KB)
// in a first-level cache; rows taken together load and store an accumulator once for all. A
// vector of bf16 widens to two of fp32: half the rows fill the registers.
constexpr int64_t CHUNK = 2048;
template <class T>
constexpr int ROWS = sizeof(T) == 4 ? 4 : 2;
// Rows summed in fp32 before the sum moves to fp64: bounds the error for any number of rows.
constexpr int64_t ROW_BLOCK = 512;
// Below this many elements a second thread costs more than it saves.
constexpr int64_t GRAIN = 16384;
// Parameters that stay for this many elements are scalars of the loop.
constexpr int64_t LONG_RUN = 32;
// Columns are repeated until a row has at least so many.
constexpr int64_t SHORT_ROW = 768;

// ---- numbers

struct bf16 {
  uint16_t bits;
};

template <class To, class From>
INLINE To bits_of(From value) {
  To result;
  static_assert(sizeof(To) == sizeof(From), "same size");
  std::memcpy(&result, &value, sizeof(To));
  return result;
}

INLINE float load(const float* p) { return *p; }
INLINE void store(float* p, float value) { *p = value; }
INLINE float load(const bf16* p) { return bits_of<float>(uint32_t(p->bits) << 16); }
INLINE void store(bf16* p, float value) {
  const uint32_t bits = bits_of<uint32_t>(value);
  // To nearest, ties to even; the carry would turn some NaNs into infinities.
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  p->bits = uint16_t(value != value ? 0x7fc0u : rounded);
}

// Written so that a NaN, of which every comparison is false, passes through.
INLINE float at_most(float z, float limit) { return z > limit ? limit : z; }
INLINE float at_least(float z, float limit) { return z < limit ? limit : z; }

// ---- f and its derivative, as dyt.family has them

struct Value {
  float f, df;
};

struct Exponential {
  float minus_one, scale;  // exp(-y) - 1, and the power of two in it
};

// For y >= 0: -y = n ln2 + r, |r| <= ln2/2, and a minimax polynomial of exp(r) - 1 with relative
// error 3e-9. Exact where it matters to tanh: near 0 nothing is added to the polynomial.
INLINE Exponential exponential(float y) {
  const float magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = -1.44269504f * y + magic;
  const float n = shifted - magic;
  float r = n * -0.69140625f - y;
  r = n * -0.0017409306f + r;
  float q = 0.0013882504f;
  q = q * r + 0.008366581f;
  q = q * r + 0.0416672f;
  q = q * r + 0.16666543f;
  q = q * r + 0.49999997f;
  const float p = (q * r) * r + r;
  const float scale = bits_of<float>((bits_of<uint32_t>(shifted) << 23) + 0x3f800000u);
  return {scale * p + (scale - 1.f), scale};
}

struct Tanh {  // with e = exp(-2|z|) - 1, tanh|z| = -e / (e + 2): within 3 ulp everywhere
  INLINE Value at(float z) {
    const float e = exponential(at_most(std::fabs(z) * 2.f, 40.f)).minus_one;
    const float t = std::copysign(e / (e + 2.f), z);
    return {t, 1.f - t * t};
  }
};

struct Erf {  // a rational minimax fit on |z| <= 3.95, beyond which erf rounds to 1
  INLINE Value at(float z) {
    const float c = at_least(at_most(z, 3.95f), -3.95f);
    const float u = c * c;
    float p = 2.0259267e-06f;
    p = p * u + 0.00028468532f;
    p = p * u + 0.0038080567f;
    p = p * u + 0.052875128f;
    p = p * u + 0.19154787f;
    p = p * u + 1.1283791f;
    float q = 3.7831865e-05f;
    q = q * u + 0.0011707002f;
    q = q * u + 0.015054882f;
    q = q * u + 0.114558615f;
    q = q * u + 0.5030876f;
    q = q * u + 1.f;
    const float f = at_least(at_most(c * p / q, 1.f), -1.f);
    const float square = z * z;
    const float slope = exponential(at_most(square, 80.f)).minus_one + 1.f;
    return {f, square > 80.f ? 0.f : 1.12837917f * slope};
  }
};

struct Arctan {  // 2/pi atan(z), through atan(1/z) beyond 1
  INLINE Value at(float z) {
    const float a = std::fabs(z);
    const float t = a > 1.f ? 1.f / a : a;
    const float u = t * t;
    float p = 0.0028501553f;
    p = p * u - 0.01606976f;
    p = p * u + 0.042693507f;
    p = p * u - 0.075044796f;
    p = p * u + 0.106410325f;
    p = p * u - 0.14203674f;
    p = p * u + 0.19992624f;
    p = p * u - 0.33333075f;
    p = (p * u) * t + t;
    const float angle = a > 1.f ? 1.57079633f - p : p;
    return {std::copysign(0.636619772f * angle, z), 0.636619772f / (1.f + z * z)};
  }
};

struct Isru {  // z / sqrt(1 + z^2); NaN at infinity, as the formula is
  INLINE Value at(float z) {
    const float r = 1.f / std::sqrt(1.f + z * z);
    return {z * r, r * r * r};
  }
};

struct Hardtanh {
  INLINE Value at(float z) {
    const float inside = std::fabs(z) <= 1.f ? 1.f : 0.f;
    return {at_least(at_most(z, 1.f), -1.f), z != z ? z : inside};
  }
};

struct Satursin {  // sin(z) clipped at +-pi/2; minimax polynomials there
  INLINE Value at(float z) {
    const float c = at_least(at_most(z, 1.57079633f), -1.57079633f);
    const float u = c * c;
    float s = 2.6019188e-06f;
    s = s * u - 0.00019807428f;
    s = s * u + 0.0083330255f;
    s = s * u - 0.16666657f;
    s = (s * u) * c + c;
    float d = 3.6686586e-07f;
    d = d * u - 2.5288178e-05f;
    d = d * u + 0.0013896544f;
    d = d * u - 0.041667037f;
    d = d * u + 0.5f;
    return {at_least(at_most(s, 1.f), -1.f), 1.f - d * u};
  }
};

struct Softsign {  // z / (1 + |z|); NaN at infinity, as the formula is
  INLINE Value at(float z) {
    const float r = 1.f / (1.f + std::fabs(z));
    return {z / (1.f + std::fabs(z)), r * r};
  }
};

// ---- one call's arguments

struct Problem {
  const void *x, *dy;
  void *y, *dx;
  const float *weight, *bias;  // of one row (columns) or of the n runs (rows)
  float alpha, shift;
  bool columns;
  int64_t numel;
  int64_t width;           // elements of a row of this problem
  int64_t group;           // rows that make one of x's, which are x_ld or dy_ld elements apart
  int64_t x_ld, dy_ld;
  int64_t n;               // parameters: row r meets parameter r % n unless columns
};

// What one thread has summed: gradients of the row's (or the n) parameters, and of two scalars.
struct Partial {
  double *dweight, *dbias;
  double dalpha = 0, dshift = 0;
};

INLINE int64_t offset(int64_t row, int64_t group, int64_t ld, int64_t width) {
  return group == 1 ? row * ld : (row / group) * ld + (row % group) * width;
}

// ---- loops over adjacent elements

template <class F, class T>
INLINE void forward_columns(const T* __restrict x, T* __restrict y, const float* __restrict weight,
                            const float* __restrict bias, int64_t count, float alpha, float shift) {
#pragma omp simd
  for (int64_t j = 0; j < count; j++)
    store(y + j, weight[j] * F::at(alpha * load(x + j) + shift).f + bias[j]);
}

template <class F, class T>
INLINE void forward_run(const T* __restrict x, T* __restrict y, float weight, float bias,
                        int64_t count, float alpha, float shift) {
#pragma omp simd
  for (int64_t j = 0; j < count; j++)
    store(y + j, weight * F::at(alpha * load(x + j) + shift).f + bias);
}

template <class F, class T, int R>
INLINE void backward_columns(const T* __restrict x, int64_t x_ld, const T* __restrict dy,
                             int64_t dy_ld, T* __restrict dx, int64_t dx_ld,
                             const float* __restrict weight, float* __restrict dweight,
                             float* __restrict dbias, int64_t count, float alpha, float shift,
                             Partial& partial) {
  float dalpha = 0, dshift = 0;
#pragma omp simd reduction(+ : dalpha, dshift)
  for (int64_t j = 0; j < count; j++) {
    const float w = weight[j];
    float dw = 0, db = 0, da = 0, ds = 0;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const float in = load(x + r * x_ld + j), g = load(dy + r * dy_ld + j);
      const Value value = F::at(alpha * in + shift);
      const float dz = g * w * value.df;
      store(dx + r * dx_ld + j, dz * alpha);
      dw += g * value.f;
      db += g;
      da += dz * in;
      ds += dz;
    }
    dweight[j] += dw;
    dbias[j] += db;
    dalpha += da;
    dshift += ds;
  }
  partial.dalpha += dalpha;
  partial.dshift += dshift;
}

template <class F, class T>
INLINE void backward_run(const T* __restrict x, const T* __restrict dy, T* __restrict dx,
                         float weight, int64_t count, float alpha, float shift, double& dweight,
                         double& dbias, Partial& partial) {
  float dw = 0, db = 0, dalpha = 0, dshift = 0;
#pragma omp simd reduction(+ : dw, db, dalpha, dshift)
  for (int64_t j = 0; j < count; j++) {
    const float in = load(x + j), g = load(dy + j);
    const Value value = F::at(alpha * in + shift);
    const float dz = g * weight * value.df;
    store(dx + j, dz * alpha);
    dw += g * value.f;
    db += g;
    dalpha += dz * in;
    dshift += dz;
  }
  dweight += dw;
  dbias += db;
  partial.dalpha += dalpha;
  partial.dshift += dshift;
}

// ---- a thread's share: elements begin..end of the whole, which may start and end within a row

template <class F, class T>
INLINE void forward_share(const Problem& p, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / p.width, column = i - row * p.width;
    const int64_t count = std::min(p.width - column, end - i);
    const T* from = x + offset(row, p.group, p.x_ld, p.width) + column;
    if (p.columns)
      forward_columns<F, T>(from, y + i, p.weight + column, p.bias + column, count, p.alpha,
                            p.shift);
    else
      forward_run<F, T>(from, y + i, p.weight[row % p.n], p.bias[row % p.n], count, p.alpha,
                        p.shift);
    i += count;
  }
}

// `rows` rows from `row` on, `count` columns of each from `column` on.
template <class F, class T>
INLINE void backward_block(const Problem& p, Partial& partial, int64_t row, int64_t rows,
                           int64_t column, int64_t count) {
  const T *x = static_cast<const T*>(p.x), *dy = static_cast<const T*>(p.dy);
  T* dx = static_cast<T*>(p.dx);
  float dweight[CHUNK], dbias[CHUNK];
  for (int64_t c = column; c < column + count; c += CHUNK) {
    const int64_t chunk = std::min(CHUNK, column + count - c);
    std::fill_n(dweight, chunk, 0.f);
    std::fill_n(dbias, chunk, 0.f);
    int64_t r = row;
    for (; r + ROWS<T> <= row + rows; r += ROWS<T>)
      backward_columns<F, T, ROWS<T>>(x + r * p.x_ld + c, p.x_ld, dy + r * p.dy_ld + c, p.dy_ld,
                                   dx + r * p.width + c, p.width, p.weight + c, dweight, dbias,
                                   chunk, p.alpha, p.shift, partial);
    for (; r < row + rows; r++)
      backward_columns<F, T, 1>(x + r * p.x_ld + c, 0, dy + r * p.dy_ld + c, 0,
                                dx + r * p.width + c, 0, p.weight + c, dweight, dbias, chunk,
                                p.alpha, p.shift, partial);
    for (int64_t j = 0; j < chunk; j++) {
      partial.dweight[c + j] += dweight[j];
      partial.dbias[c + j] += dbias[j];
    }
  }
}

template <class F, class T>
INLINE void backward_share(const Problem& p, Partial& partial, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / p.width, column = i - row * p.width;
    if (p.columns) {
      const int64_t full = (end - i) / p.width;
      const bool whole = column == 0 && full > 0;
      const int64_t rows = whole ? std::min(full, ROW_BLOCK) : 1;
      const int64_t count = whole ? p.width : std::min(p.width - column, end - i);
      backward_block<F, T>(p, partial, row, rows, column, count);
      i += rows * count;
    } else {
      const int64_t count = std::min({p.width - column, end - i, CHUNK});
      backward_run<F, T>(
          static_cast<const T*>(p.x) + offset(row, p.group, p.x_ld, p.width) + column,
          static_cast<const T*>(p.dy) + offset(row, p.group, p.dy_ld, p.width) + column,
          static_cast<T*>(p.dx) + i, p.weight[row % p.n], count, p.alpha, p.shift,
          partial.dweight[row % p.n], partial.dbias[row % p.n], partial);
      i += count;
    }
  }
}

// ---- the same loops for each instruction set

using Forward = void (*)(const Problem&, int64_t, int64_t);
using Backward = void (*)(const Problem&, Partial&, int64_t, int64_t);

struct Kernels {
  Forward forward[7][2];  // by function, then fp32, bf16
  Backward backward[7][2];
};

#define KERNELS(NAME, ATTRIBUTE)                                                               \
  namespace NAME {                                                                             \
  template <class F, class T>                                                                  \
  ATTRIBUTE void forward(const Problem& p, int64_t begin, int64_t end) {                       \
    forward_share<F, T>(p, begin, end);                                                        \
  }                                                                                            \
  template <class F, class T>                                                                  \
  ATTRIBUTE void backward(const Problem& p, Partial& partial, int64_t begin, int64_t end) {    \
    backward_share<F, T>(p, partial, begin, end);                                              \
  }                                                                                            \
  const Kernels kernels = {                                                                    \
      {PAIR(forward, Tanh), PAIR(forward, Erf), PAIR(forward, Isru), PAIR(forward, Hardtanh),  \
       PAIR(forward, Arctan), PAIR(forward, Satursin), PAIR(forward, Softsign)},               \
      {PAIR(backward, Tanh), PAIR(backward, Erf), PAIR(backward, Isru),                        \
       PAIR(backward, Hardtanh), PAIR(backward, Arctan), PAIR(backward, Satursin),             \
       PAIR(backward, Softsign)}};                                                             \
  }
#define PAIR(PASS, F) {PASS<F, float>, PASS<F, bf16>}

KERNELS(portable, )
#if defined(__x86_64__)
KERNELS(avx2, __attribute__((target("avx2,fma"))))
#if defined(__clang__)
KERNELS(avx512, __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))))
#else
// GCC's default is 256-bit vectors even where there are wider ones.
KERNELS(avx512, __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,"
                                      "prefer-vector-width=512"))))
#endif
#endif

const Kernels* const LEVELS[] = {
    &portable::kernels,
#if defined(__x86_64__)
    &avx2::kernels,
    &avx512::kernels,
#endif
};

int widest_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide ? 2 : 1;
#else
  return 0;
#endif
}

const Kernels* kernels = LEVELS[widest_level()];

// ---- threads

// The OpenMP runtime that PyTorch runs on, handed over by the caller: its threads are the ones
// that torch.set_num_threads counts, and a second pool would compete with them.
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

// body(0) ... body(shares - 1), each once, at the same time as far as there are threads.
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

int64_t shares_of(int64_t numel, int threads) {
  return std::max<int64_t>(1, std::min<int64_t>(threads, numel / GRAIN));
}

// Where share i begins: at a row where there are many, else at a multiple of 64 elements.
int64_t share_begin(const Problem& p, int64_t i, int64_t shares) {
  if (i == shares) return p.numel;
  const int64_t unit = p.numel / p.width >= 16 * shares ? p.width : 64;
  const int64_t units = p.numel / unit;
  return (units * i / shares) * unit;
}

// ---- parameters

struct Codes {  // config: function, x's type and the parameters' type (0 fp32, 1 bf16)
  int function, x_type, parameter_type;
  explicit Codes(int config)
      : function(config & 15), x_type(config >> 4 & 1), parameter_type(config >> 5 & 1) {}
};

float parameter(const void* p, int64_t i, int type) {
  return type ? load(static_cast<const bf16*>(p) + i) : static_cast<const float*>(p)[i];
}

void put_parameter(void* p, int64_t i, int type, double value) {
  if (type)
    store(static_cast<bf16*>(p) + i, float(value));
  else
    static_cast<float*>(p)[i] = float(value);
}

// Weight and bias as fp32 in the problem's order: as they are where that is what they are.
class Expanded {
 public:
  const float* values = nullptr;

  bool fill(const void* p, float fallback, int type, int64_t n, int64_t run, int64_t size) {
    if (p && !type && n * run == size && run == 1) {
      values = static_cast<const float*>(p);
      return true;
    }
    own_.reset(new (std::nothrow) float[size]);
    if (!own_) return false;
    const int64_t period = n * run;
    for (int64_t c = 0; c < n; c++)
      std::fill_n(own_.get() + c * run, run, p ? parameter(p, c, type) : fallback);
    for (int64_t done = period; done < size; done += period)
      std::memcpy(own_.get() + done, own_.get(), period * sizeof(float));
    values = own_.get();
    return true;
  }

 private:
  std::unique_ptr<float[]> own_;
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

constexpr int DONE = 0, OUT_OF_MEMORY = 1;

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// Use these of an OpenMP runtime (all or none), and no wider instructions than `level`:
// 0 portable, 1 AVX2, 2 AVX-512. Returns the level in use.
int dyt_init(ParallelRegion region, ThreadQuery index, ThreadQuery size, int level) {
  parallel_region = index && size ? region : nullptr;
  thread_index = index;
  team_size = size;
  const int chosen = std::max(0, std::min(level, widest_level()));
  kernels = LEVELS[chosen];
  return chosen;
}

// Rows of x, n * inner elements each, may be x_ld apart; y is dense. Null: no such parameter.
int dyt_forward(const void* x, const void* alpha, const void* shift, const void* weight,
                const void* bias, void* y, int64_t outer, int64_t n, int64_t inner, int64_t x_ld,
                int config, int threads) {
  const Codes codes(config);
  Problem p{};
  const Layout layout(p, outer, n, inner, x_ld, n * inner);
  if (p.numel == 0) return DONE;
  Expanded weights, biases;
  const int64_t size = layout.parameters(p);
  if (!weights.fill(weight, 1.f, codes.parameter_type, n, layout.run, size) ||
      !biases.fill(bias, 0.f, codes.parameter_type, n, layout.run, size))
    return OUT_OF_MEMORY;
  p.x = x, p.y = y, p.weight = weights.values, p.bias = biases.values;
  p.alpha = parameter(alpha, 0, codes.parameter_type);
  p.shift = shift ? parameter(shift, 0, codes.parameter_type) : 0.f;
  const Forward kernel = kernels->forward[codes.function][codes.x_type];
  const int64_t shares = shares_of(p.numel, threads);
  in_parallel(int(shares), [&](int i) {
    kernel(p, share_begin(p, i, shares), share_begin(p, i + 1, shares));
  });
  return DONE;
}

// dx is dense; a null gradient is not wanted. The gradients have the parameters' type.
int dyt_backward(const void* dy, const void* x, const void* alpha, const void* shift,
                 const void* weight, void* dx, void* dalpha, void* dshift, void* dweight,
                 void* dbias, int64_t outer, int64_t n, int64_t inner, int64_t x_ld,
                 int64_t dy_ld, int config, int threads) {
  const Codes codes(config);
  Problem p{};
  const Layout layout(p, outer, n, inner, x_ld, dy_ld);
  const int64_t size = layout.parameters(p);
  Expanded weights;
  if (!weights.fill(weight, 1.f, codes.parameter_type, n, layout.run, size)) return OUT_OF_MEMORY;
  p.x = x, p.dy = dy, p.dx = dx, p.weight = weights.values;
  p.alpha = parameter(alpha, 0, codes.parameter_type);
  p.shift = shift ? parameter(shift, 0, codes.parameter_type) : 0.f;
  const Backward kernel = kernels->backward[codes.function][codes.x_type];
  const int64_t shares = shares_of(p.numel, threads);
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
  put_parameter(dalpha, 0, codes.parameter_type, alpha_sum);
  if (dshift) put_parameter(dshift, 0, codes.parameter_type, shift_sum);
  // Parameter c was met `repeats` times, in runs of `run`, by every share.
  const auto reduce = [&](void* gradient, int64_t first) {
    if (!gradient) return;
    for (int64_t c = 0; c < n; c++) {
      double sum = 0;
      for (int64_t i = 0; i < shares; i++)
        for (int64_t k = 0; k < layout.repeats; k++)
          for (int64_t j = 0; j < layout.run; j++)
            sum += sums[i * stride + first + (k * n + c) * layout.run + j];
      put_parameter(gradient, c, codes.parameter_type, sum);
    }
  };
  reduce(dweight, 0);
  reduce(dbias, size);
  return DONE;
}
}
#pragma GCC visibility pop
