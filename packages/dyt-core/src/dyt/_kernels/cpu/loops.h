// The loops of kernels.cpp in vectors of WIDTH bytes, with the functions of functions.h.
//
// Included once for each instruction set, inside its namespace and under its compiler options. The
// vectors are explicit because the compiler vectorizes these loops poorly: it turns each clamp into
// three masked blends, which doubles the work of a tanh.

constexpr int LANES = WIDTH / 4;

typedef float F __attribute__((vector_size(WIDTH), may_alias));
typedef uint32_t U __attribute__((vector_size(WIDTH), may_alias));
typedef uint16_t H __attribute__((vector_size(WIDTH / 2), may_alias));

INLINE F same(float value) { return value - F{}; }  // exact for -0 too, unlike a sum

// ---- operations that each instruction set names differently
//
// The smaller and the larger of two numbers (a NaN in z passes through); a square root; a * b + c,
// rounded once where the processor can; bf16 to fp32 and back, rounding to nearest, ties to even;
// a store past the caches, to an address that is a multiple of the vector's size.

// Adding to the bits rounds them; the carry would turn some NaNs into infinities.
INLINE U rounded(F value) {
  const U bits = U(value);
  const U half = bits + 0x7fffu + ((bits >> 16) & 1u);
  return (value != value ? U{} + 0x7fc00000u : half) >> 16;
}

#if WIDTH == 64
INLINE F at_most(F z, float limit) { return _mm512_min_ps(same(limit), z); }
INLINE F at_least(F z, float limit) { return _mm512_max_ps(same(limit), z); }
INLINE F root(F z) { return _mm512_sqrt_ps(z); }
INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F widen(H halves) { return F(_mm512_slli_epi32(_mm512_cvtepu16_epi32(__m256i(halves)), 16)); }
INLINE H narrow(F value) {
#if BF16  // an instruction that takes subnormal numbers for 0
  if (__builtin_expect(!_mm512_fpclass_ps_mask(value, 0x20), 1))
    return H(_mm512_cvtneps_pbh(value));
#endif
  return H(_mm512_cvtepi32_epi16(__m512i(rounded(value))));
}
INLINE void stream(float* p, F value) { _mm512_stream_ps(p, value); }
INLINE void stream(bf16* p, H value) { _mm256_stream_si256((__m256i*)p, __m256i(value)); }
INLINE void finish_streaming() { _mm_sfence(); }
#elif WIDTH == 32
INLINE F at_most(F z, float limit) { return _mm256_min_ps(same(limit), z); }
INLINE F at_least(F z, float limit) { return _mm256_max_ps(same(limit), z); }
INLINE F root(F z) { return _mm256_sqrt_ps(z); }
INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
INLINE F widen(H halves) { return F(_mm256_slli_epi32(_mm256_cvtepu16_epi32(__m128i(halves)), 16)); }
INLINE H narrow(F value) {
  const __m256i bits = __m256i(rounded(value));
  return H(_mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1)));
}
INLINE void stream(float* p, F value) { _mm256_stream_ps(p, value); }
INLINE void stream(bf16* p, H value) { _mm_stream_si128((__m128i*)p, __m128i(value)); }
INLINE void finish_streaming() { _mm_sfence(); }
#else
#if defined(__SSE2__)
INLINE F at_most(F z, float limit) { return _mm_min_ps(same(limit), z); }
INLINE F at_least(F z, float limit) { return _mm_max_ps(same(limit), z); }
INLINE F root(F z) { return _mm_sqrt_ps(z); }
INLINE F fma(F a, F b, F c) { return a * b + c; }
#elif defined(__aarch64__)
INLINE F at_most(F z, float limit) { return vminq_f32(z, same(limit)); }
INLINE F at_least(F z, float limit) { return vmaxq_f32(z, same(limit)); }
INLINE F root(F z) { return vsqrtq_f32(z); }
INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
#else
INLINE F at_most(F z, float limit) { return z > limit ? same(limit) : z; }
INLINE F at_least(F z, float limit) { return z < limit ? same(limit) : z; }
INLINE F root(F z) {
  for (int i = 0; i < LANES; i++) z[i] = std::sqrt(z[i]);
  return z;
}
INLINE F fma(F a, F b, F c) { return a * b + c; }
#endif
INLINE F widen(H halves) { return F(__builtin_convertvector(halves, U) << 16); }
INLINE H narrow(F value) { return __builtin_convertvector(rounded(value), H); }
template <class T, class V>
INLINE void stream(T* p, V value) { std::memcpy(p, &value, sizeof value); }
INLINE void finish_streaming() {}
#endif

// ---- numbers

template <class V, class T>
INLINE V read(const T* p) {
  V result;
  std::memcpy(&result, p, sizeof(V));
  return result;
}

template <class T, class V>
INLINE void write(T* p, V value, bool past_caches) {
  if (past_caches)
    stream(p, value);
  else
    std::memcpy(p, &value, sizeof value);
}

template <class T>
INLINE F load(const T* p) {
  if constexpr (sizeof(T) == 4)
    return read<F>(p);
  else
    return widen(read<H>(p));
}

template <class T>
INLINE void store(T* p, F value, bool past_caches) {
  if constexpr (sizeof(T) == 4)
    write(p, value, past_caches);
  else
    write(p, narrow(value), past_caches);
}

// The first n of LANES elements; the others read as 0 and are not written.
template <class T>
INLINE F load(const T* p, int n) {
  if (n == LANES) return load(p);
  T whole[LANES] = {};
  std::memcpy(whole, p, n * sizeof(T));
  return load(whole);
}

template <class T>
INLINE void store(T* p, F value, int n, bool past_caches) {
  if (n == LANES) return store(p, value, past_caches);
  T whole[LANES];
  store(whole, value, false);
  std::memcpy(p, whole, n * sizeof(T));
}

INLINE float sum(F value) {
  float total = 0;
  for (int i = 0; i < LANES; i++) total += value[i];
  return total;
}

INLINE F clip(F z, float limit) { return at_least(at_most(z, limit), -limit); }
INLINE F magnitude(F z) { return F(U(z) & 0x7fffffffu); }
INLINE F with_sign(F z, F sign) {
  return F((U(z) & 0x7fffffffu) | (U(sign) & 0x80000000u));
}

// c + d u + e u^2 + ...
INLINE F polynomial(F, float c) { return same(c); }
template <class... Rest>
INLINE F polynomial(F u, float c, Rest... rest) {
  return fma(polynomial(u, rest...), u, same(c));
}

// 2/sqrt(pi) exp(-y) for 0 <= y <= 88, by 2^n 2^r with |r| <= 1/2; exactly 0 from 87.7 on.
INLINE F gaussian(F y) {
  // 1.5 * 2^23: adding it rounds to an integer; 127 more, and the last bits are those of the float
  // 2^n, which is 0 at n = -127.
  const float magic = 12582912.f + 127.f;
  const F shifted = fma(y, same(-1.44269504f), same(magic));
  const F r = fma(y, same(-1.44269504f), magic - shifted);
  const F p = polynomial(r, 1.1283792f, 0.78213245f, 0.2710606f, 0.062634915f, 0.010918059f,
                             0.0014938005f);
  return p * F(U(shifted) << 23);
}

// ---- f and its derivative, as dyt.FAMILY defines them

struct Value {
  F f, df;
};

// 2 h / (1 + h^2) with h = n / 2q. Where a function saturates at 1, an error in h hardly changes
// the result. So a short fit of h, weighted accordingly, is as accurate as a long fit of f; and the
// result never exceeds 1.
INLINE F doubled(F n, F q) { return n * q / fma(q, q, n * (n * 0.25f)); }

#define FUNCTION(NAME, ...) \
  struct NAME##_function {  \
    INLINE Value at(F z) __VA_ARGS__ \
  };
#include "functions.h"
#undef FUNCTION

// ---- loops over adjacent elements

// A parameter that changes with each column (with step 0 it is the same for all, in a vector), and
// one that is constant over a whole run.
template <class P>
struct Each {
  const P* p;
  int64_t step;
  Each(const void* first, int64_t column, int64_t each)
      : p(static_cast<const P*>(first) + column * each), step(each) {}
  INLINE F at(const Each& self, int64_t j, int n) { return load(self.p + j * self.step, n); }
};

struct Same {
  F value;
  INLINE F at(const Same& self, int64_t, int) { return self.value; }
};

template <class P>
INLINE float number(const void* first, int64_t i) {
  return load(static_cast<const P*>(first) + i, 1)[0];
}

// What is the same for all elements of a call: a copy, so that the compiler knows that no store to
// y changes it.
struct Uniform {
  F alpha, shift;
  bool past_caches;

  explicit Uniform(const Problem& p)
      : alpha(same(p.alpha)), shift(same(p.shift)), past_caches(p.past_caches) {}
};

// Prefetch what the loop needs `ahead` elements later; 0 where the share ends.
template <class T>
INLINE void prefetch_read(const T* p, int64_t ahead) {
  __builtin_prefetch(p + ahead);
}
template <class T>
INLINE void prefetch_write(const Uniform& u, T* p, int64_t ahead) {
  if (!u.past_caches) __builtin_prefetch(p + ahead, 1);
}

template <class Fn, class T, class Parameter>
INLINE void forward_step(const Uniform& u, const T* x, T* y, const Parameter& weight,
                         const Parameter& bias, int64_t j, int n, int64_t ahead) {
  prefetch_read(x + j, ahead);
  prefetch_write(u, y + j, ahead);
  const F f = Fn::at(load(x + j, n) * u.alpha + u.shift).f;
  store(y + j, f * Parameter::at(weight, j, n) + Parameter::at(bias, j, n), n, u.past_caches);
}

template <class Fn, class T, class Parameter>
INLINE void forward_row(const Uniform& u, const T* x, T* y, const Parameter& weight,
                        const Parameter& bias, int64_t count, int64_t ahead) {
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) forward_step<Fn>(u, x, y, weight, bias, j, LANES, ahead);
  if (j < count) forward_step<Fn>(u, x, y, weight, bias, j, int(count - j), ahead);
}

// Four sums in vectors: of one column each (weight, bias), or of all elements.
struct Sums {
  F weight{}, bias{}, alpha{}, shift{};
};

INLINE void add_scalars(Sums& sums, Partial& partial) {
  partial.dalpha += sum(sums.alpha);
  partial.dshift += sum(sums.shift);
  sums = Sums{};
}

struct Ahead {
  int64_t x, dy, dx;
};

template <class Fn, class T>
INLINE void backward_step(const Uniform& u, const T* x, const T* dy, T* dx, F weight, int n,
                          Sums& sums, const Ahead& ahead) {
  prefetch_read(x, ahead.x);
  prefetch_read(dy, ahead.dy);
  prefetch_write(u, dx, ahead.dx);
  const F in = load(x, n), g = load(dy, n);
  const Value value = Fn::at(in * u.alpha + u.shift);
  const F dz = g * weight * value.df;
  store(dx, dz * u.alpha, n, u.past_caches);
  sums.weight += g * value.f;
  sums.bias += g;
  sums.alpha += dz * in;
  sums.shift += dz;
}

template <class Fn, class T, class P>
INLINE void backward_column(const Uniform& u, const T* x, const T* dy, T* dx,
                            const Each<P>& weight, float* dweight, float* dbias, int64_t j, int n,
                            Sums& sums, const Ahead& ahead) {
  sums.weight = load(dweight + j, n), sums.bias = load(dbias + j, n);
  backward_step<Fn>(u, x + j, dy + j, dx + j, Each<P>::at(weight, j, n), n, sums, ahead);
  store(dweight + j, sums.weight, n, false);
  store(dbias + j, sums.bias, n, false);
}

// One row at a time. Several at once would load and store the columns' sums less often, but memory
// delivers a quarter less to twelve streams than to three.
template <class Fn, class T, class P>
INLINE void backward_row(const Uniform& u, const T* x, const T* dy, T* dx, const Each<P>& weight,
                         float* dweight, float* dbias, int64_t count, Sums& sums,
                         const Ahead& ahead) {
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES)
    backward_column<Fn>(u, x, dy, dx, weight, dweight, dbias, j, LANES, sums, ahead);
  if (j < count)
    backward_column<Fn>(u, x, dy, dx, weight, dweight, dbias, j, int(count - j), sums, ahead);
}

template <class Fn, class T>
INLINE void backward_run(const Uniform& u, const T* x, const T* dy, T* dx, float weight,
                         int64_t count, double& dweight, double& dbias, Partial& partial,
                         const Ahead& ahead) {
  const F w = same(weight);
  Sums sums;
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES)
    backward_step<Fn>(u, x + j, dy + j, dx + j, w, LANES, sums, ahead);
  if (j < count) backward_step<Fn>(u, x + j, dy + j, dx + j, w, int(count - j), sums, ahead);
  dweight += sum(sums.weight);
  dbias += sum(sums.bias);
  add_scalars(sums, partial);
}

// ---- sums in fp64

// So many of them as are in a vector, and as many in fp32.
constexpr int WIDE = LANES / 2;
typedef double D __attribute__((vector_size(WIDTH), may_alias));
typedef float Half __attribute__((vector_size(WIDTH / 2), may_alias));

// sums[j] += values[j] for j < n.
INLINE void add(double* sums, const float* values, int64_t n) {
  int64_t j = 0;
  for (; j + WIDE <= n; j += WIDE) {
    const D sum = read<D>(sums + j) + __builtin_convertvector(read<Half>(values + j), D);
    std::memcpy(sums + j, &sum, sizeof sum);
  }
  for (; j < n; j++) sums[j] += values[j];
}

// The sum for parameter c, of all shares, in their order.
INLINE double total(const Reduction& own, int64_t c) {
  double result = 0;
  for (int64_t i = 0; i < own.shares; i++)
    for (int64_t k = 0; k < own.repeats; k++)
      for (int64_t j = 0; j < own.run; j++)
        result += own.first[i * own.stride + (k * own.n + c) * own.run + j];
  return result;
}

// The same for WIDE parameters whose runs are one element long.
INLINE D totals(const Reduction& own, int64_t c) {
  D result{};
  for (int64_t i = 0; i < own.shares; i++)
    for (int64_t k = 0; k < own.repeats; k++)
      result += read<D>(own.first + i * own.stride + k * own.n + c);
  return result;
}

// The gradient of each parameter, in its type.
template <class P>
void reduce(const Reduction& own, void* gradient) {
  float single[ROW_BLOCK];
  for (int64_t c = 0; c < own.n; c += ROW_BLOCK) {
    const int64_t count = std::min(ROW_BLOCK, own.n - c);
    int64_t j = 0;
    if (own.run == 1)
      for (; j + WIDE <= count; j += WIDE) {
        const Half part = __builtin_convertvector(totals(own, c + j), Half);
        std::memcpy(single + j, &part, sizeof part);
      }
    for (; j < count; j++) single[j] = float(total(own, c + j));
    for (j = 0; j < count; j += LANES) {
      const int n = int(std::min<int64_t>(LANES, count - j));
      store(static_cast<P*>(gradient) + c + j, load(single + j, n), n, false);
    }
  }
}

// ---- a thread's share: elements begin..end of the whole, which may start and end within a row

template <class Fn, class T, class P>
void forward(const Problem& p, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const Uniform u(p);
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / p.width, column = i - row * p.width;
    const int64_t count = std::min({p.width - column, end - i, CHUNK});
    const int64_t ahead = end - i - count >= AHEAD ? AHEAD : 0;
    const T* from = x + offset(row, p.group, p.x_ld, p.width) + column;
    if (p.columns) {
      const Each<P> weight(p.weight, column, p.weight_step), bias(p.bias, column, p.bias_step);
      forward_row<Fn>(u, from, y + i, weight, bias, count, ahead);
    } else {
      const int64_t c = row % p.n;
      const Same weight{same(number<P>(p.weight, c * p.weight_step))},
          bias{same(number<P>(p.bias, c * p.bias_step))};
      forward_row<Fn>(u, from, y + i, weight, bias, count, ahead);
    }
    i += count;
  }
  if (p.past_caches) finish_streaming();
}

// `rows` rows from `row` on, `count` columns of each from `column` on.
template <class Fn, class T, class P>
INLINE void backward_block(const Problem& p, Partial& partial, int64_t row, int64_t rows,
                           int64_t column, int64_t count) {
  const Uniform u(p);
  float dweight[CHUNK], dbias[CHUNK];
  for (int64_t c = column; c < column + count; c += CHUNK) {
    const int64_t chunk = std::min(CHUNK, column + count - c);
    std::fill_n(dweight, chunk, 0.f);
    std::fill_n(dbias, chunk, 0.f);
    const Each<P> weight(p.weight, c, p.weight_step);
    Sums sums;
    int64_t summed = 0;
    const int64_t rows_ahead = (AHEAD + chunk - 1) / chunk;
    for (int64_t r = row; r < row + rows; r++) {
      const int64_t jump = r + rows_ahead < row + rows ? rows_ahead : 0;
      backward_row<Fn>(u, static_cast<const T*>(p.x) + r * p.x_ld + c,
                       static_cast<const T*>(p.dy) + r * p.dy_ld + c,
                       static_cast<T*>(p.dx) + r * p.width + c, weight, dweight, dbias, chunk,
                       sums, {jump * p.x_ld, jump * p.dy_ld, jump * p.width});
      summed += chunk;
      if (summed >= SCALAR_BLOCK || r + 1 == row + rows) {
        add_scalars(sums, partial);
        summed = 0;
      }
    }
    add(partial.dweight + c, dweight, chunk);
    add(partial.dbias + c, dbias, chunk);
  }
}

template <class Fn, class T, class P>
void backward(const Problem& p, Partial& partial, int64_t begin, int64_t end) {
  const Uniform u(p);
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / p.width, column = i - row * p.width;
    if (p.columns) {
      const int64_t full = (end - i) / p.width;
      const bool whole = column == 0 && full > 0;
      const int64_t rows = whole ? std::min(full, ROW_BLOCK) : 1;
      const int64_t count = whole ? p.width : std::min(p.width - column, end - i);
      backward_block<Fn, T, P>(p, partial, row, rows, column, count);
      i += rows * count;
    } else {
      const int64_t count = std::min({p.width - column, end - i, CHUNK});
      const int64_t ahead = end - i - count >= AHEAD ? AHEAD : 0;
      backward_run<Fn>(
          u, static_cast<const T*>(p.x) + offset(row, p.group, p.x_ld, p.width) + column,
          static_cast<const T*>(p.dy) + offset(row, p.group, p.dy_ld, p.width) + column,
          static_cast<T*>(p.dx) + i, number<P>(p.weight, row % p.n * p.weight_step), count,
          partial.dweight[row % p.n],
          partial.dbias[row % p.n], partial, {ahead, ahead, ahead});
      i += count;
    }
  }
  if (p.past_caches) finish_streaming();
}

const Kernels kernels = {
    {
#define OF(PASS, NAME, T) {PASS<NAME##_function, T, float>, PASS<NAME##_function, T, bf16>}
#define FUNCTION(NAME, ...) {OF(forward, NAME, float), OF(forward, NAME, bf16)},
#include "functions.h"
#undef FUNCTION
    },
    {
#define FUNCTION(NAME, ...) {OF(backward, NAME, float), OF(backward, NAME, bf16)},
#include "functions.h"
#undef FUNCTION
#undef OF
    },
    {reduce<float>, reduce<bf16>}};
