// The loops of native.cpp in vectors of WIDTH bytes: included once for each instruction set,
// inside its namespace and under its compiler options.
//
// Explicit vectors because the compiler's own are poor here: it turns each clamp into three
// masked blends, which doubles the work of a tanh.

constexpr int LANES = WIDTH / 4;

typedef float F __attribute__((vector_size(WIDTH), may_alias));
typedef uint32_t U __attribute__((vector_size(WIDTH), may_alias));
typedef uint16_t H __attribute__((vector_size(WIDTH / 2), may_alias));

// ---- numbers

INLINE F same(float value) { return F{} + value; }

template <class V, class T>
INLINE V read(const T* p) {
  V result;
  std::memcpy(&result, p, sizeof(V));
  return result;
}

// The first n of LANES elements; what is beyond them reads as 0 and is not written.
template <class T>
INLINE F load(const T* p, int n) {
  if (n < LANES) {
    T whole[LANES] = {};
    std::memcpy(whole, p, n * sizeof(T));
    return load(whole, LANES);
  }
  if constexpr (sizeof(T) == 4)
    return read<F>(p);
  else
    return F(__builtin_convertvector(read<H>(p), U) << 16);
}

template <class T>
INLINE void store(T* p, F value, int n) {
  if (n < LANES) {
    T whole[LANES];
    store(whole, value, LANES);
    std::memcpy(p, whole, n * sizeof(T));
  } else if constexpr (sizeof(T) == 4) {
    std::memcpy(p, &value, sizeof value);
  } else {
    // To nearest, ties to even; the carry would turn some NaNs into infinities.
    const U bits = U(value);
    const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const H halves = __builtin_convertvector(value != value ? U{} + 0x7fc0u : rounded, H);
    std::memcpy(p, &halves, sizeof halves);
  }
}

INLINE float sum(F value) {
  float total = 0;
  for (int i = 0; i < LANES; i++) total += value[i];
  return total;
}

// The smaller and the larger of two numbers (a NaN in z passes through), a square root, and
// a * b + c, rounded once where the processor can.
#if WIDTH == 64
INLINE F at_most(F z, float limit) { return _mm512_min_ps(same(limit), z); }
INLINE F at_least(F z, float limit) { return _mm512_max_ps(same(limit), z); }
INLINE F root(F z) { return _mm512_sqrt_ps(z); }
INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
#elif WIDTH == 32
INLINE F at_most(F z, float limit) { return _mm256_min_ps(same(limit), z); }
INLINE F at_least(F z, float limit) { return _mm256_max_ps(same(limit), z); }
INLINE F root(F z) { return _mm256_sqrt_ps(z); }
INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__SSE2__)
INLINE F at_most(F z, float limit) { return _mm_min_ps(same(limit), z); }
INLINE F at_least(F z, float limit) { return _mm_max_ps(same(limit), z); }
INLINE F root(F z) { return _mm_sqrt_ps(z); }
INLINE F fma(F a, F b, F c) { return a * b + c; }  // SSE2 has none
#elif defined(__aarch64__)
INLINE F at_most(F z, float limit) { return vminq_f32(z, same(limit)); }
INLINE F at_least(F z, float limit) { return vmaxq_f32(z, same(limit)); }
INLINE F root(F z) { return vsqrtq_f32(z); }
INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
#else
INLINE F at_most(F z, float limit) { return z > limit ? same(limit) : z; }
INLINE F at_least(F z, float limit) { return z < limit ? same(limit) : z; }
INLINE F root(F z) {
  F result;
  for (int i = 0; i < LANES; i++) result[i] = std::sqrt(z[i]);
  return result;
}
INLINE F fma(F a, F b, F c) { return a * b + c; }
#endif

INLINE F clip(F z, float limit) { return at_least(at_most(z, limit), -limit); }
INLINE F magnitude(F z) { return F(U(z) & 0x7fffffffu); }
INLINE F with_sign(F z, F sign) {
  return F((U(z) & 0x7fffffffu) | (U(sign) & 0x80000000u));
}

// c[0] + c[1] u + c[2] u^2 + ...
template <int N>
INLINE F polynomial(F u, const float (&c)[N]) {
  F sum = same(c[N - 1]);
  for (int i = N - 2; i >= 0; i--) sum = fma(sum, u, same(c[i]));
  return sum;
}

// exp(-y) for 0 <= y <= 80: -y = n ln2 + r with |r| <= ln2 / 2, and a minimax polynomial of exp(r).
INLINE F exponential(F y) {
  const float magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  const F shifted = fma(y, same(-1.44269504f), same(magic));
  const F n = shifted - magic;
  const F r = fma(n, same(-0.0017409306f), fma(n, same(-0.69140625f), -y));
  const F p = polynomial(r, {1.f, 1.f, 0.49999997f, 0.16666543f, 0.0416672f, 0.008366581f,
                             0.0013882504f});
  return F((U(shifted) << 23) + U(p));  // p times 2^n
}

// ---- f and its derivative, as dyt.family has them

struct Value {
  F f, df;
};

// tanh(z) = 2 h / (1 + h^2) with h = tanh(z / 2) = n / 2q. An error in h hardly reaches a result
// near 1, so that five coefficients, fitted to this end, do what eight would otherwise; n is written
// as z plus a small term to round once less. At most 3.92 ulp for every float (4.76 without fused
// multiply-adds), and never above 1.
struct Tanh {
  INLINE Value at(F z) {
    const F c = clip(z, 8.6f), u = c * c;
    const F n = fma(c * u, polynomial(u, {0.0297909584f, 0.000114637769f}), c);
    const F q = polynomial(u, {1.f, 0.113124341f, 0.00120836019f, 1.23742882e-06f});
    const F t = n * q / fma(q, q, n * (n * 0.25f));
    return {t, 1.f - t * t};
  }
};

struct Erf {  // a rational minimax fit of erf(z) / z, beyond whose clip erf rounds to 1
  INLINE Value at(F z) {
    const F c = clip(z, 3.95f), u = c * c;
    const F p = polynomial(u, {1.1283791f, 0.19154787f, 0.052875128f, 0.0038080567f,
                               0.00028468532f, 2.0259267e-06f});
    const F q = polynomial(u, {1.f, 0.5030876f, 0.114558615f, 0.015054882f, 0.0011707002f,
                               3.7831865e-05f});
    const F slope = exponential(at_most(z * z, 80.f)) * 1.12837917f;
    return {clip(c * p / q, 1.f), z * z > 80.f ? F{} : slope};
  }
};

struct Arctan {  // 2/pi atan(z), through atan(1/z) beyond 1
  INLINE Value at(F z) {
    const F a = magnitude(z);
    const F t = a > 1.f ? 1.f / a : a, u = t * t;
    const F p = polynomial(u, {-0.33333075f, 0.19992624f, -0.14203674f, 0.106410325f,
                               -0.075044796f, 0.042693507f, -0.01606976f, 0.0028501553f});
    const F near = p * u * t + t;
    const F angle = a > 1.f ? 1.57079633f - near : near;
    return {with_sign(angle * 0.636619772f, z), 0.636619772f / (z * z + 1.f)};
  }
};

struct Isru {  // z / sqrt(1 + z^2); NaN at infinity, as the formula is
  INLINE Value at(F z) {
    const F r = 1.f / root(z * z + 1.f);
    return {z * r, r * r * r};
  }
};

struct Hardtanh {
  INLINE Value at(F z) {
    const F inside = magnitude(z) <= 1.f ? same(1.f) : F{};
    return {clip(z, 1.f), z != z ? z : inside};
  }
};

struct Satursin {  // sin(z) clipped at +-pi/2; minimax polynomials there
  INLINE Value at(F z) {
    const F c = clip(z, 1.57079633f), u = c * c;
    const F s = polynomial(u, {-0.16666657f, 0.0083330255f, -0.00019807428f, 2.6019188e-06f});
    const F d = polynomial(u, {0.5f, -0.041667037f, 0.0013896544f, -2.5288178e-05f,
                               3.6686586e-07f});
    return {clip(s * u * c + c, 1.f), 1.f - d * u};
  }
};

struct Softsign {  // z / (1 + |z|); NaN at infinity, as the formula is
  INLINE Value at(F z) {
    const F d = magnitude(z) + 1.f;
    return {z / d, 1.f / (d * d)};
  }
};

// ---- loops over adjacent elements

// What the loops prefetch ahead of the element they are at, in bytes: the processor's own
// prefetching stops at each page of 4 KB.
constexpr int64_t AHEAD = 6144;

template <class T>
INLINE void prefetch(const T* p) {
  __builtin_prefetch(p + AHEAD / sizeof(T));
}

// A parameter of each column, and one that stays for a whole run.
struct Each {
  const float* p;
  INLINE F at(const Each& self, int64_t j, int n) { return load(self.p + j, n); }
};

struct Same {
  F value;
  INLINE F at(const Same& self, int64_t, int) { return self.value; }
};

template <class Fn, class T, class Parameter>
INLINE void forward_step(const T* x, T* y, const Parameter& weight, const Parameter& bias,
                         int64_t j, int n, float alpha, float shift) {
  const F f = Fn::at(load(x + j, n) * alpha + shift).f;
  store(y + j, f * Parameter::at(weight, j, n) + Parameter::at(bias, j, n), n);
}

template <class Fn, class T, class Parameter>
INLINE void forward_row(const T* x, T* y, const Parameter& weight, const Parameter& bias,
                        int64_t count, float alpha, float shift) {
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) {
    prefetch(x + j);
    forward_step<Fn>(x, y, weight, bias, j, LANES, alpha, shift);
  }
  if (j < count) forward_step<Fn>(x, y, weight, bias, j, int(count - j), alpha, shift);
}

// Sums of one step or row, to be added to what is there.
struct Sums {
  F weight{}, bias{}, alpha{}, shift{};
};

template <class Fn, class T>
INLINE void backward_step(const T* x, const T* dy, T* dx, F weight, int n, float alpha,
                          float shift, Sums& sums) {
  const F in = load(x, n), g = load(dy, n);
  const Value value = Fn::at(in * alpha + shift);
  const F dz = g * weight * value.df;
  store(dx, dz * alpha, n);
  sums.weight += g * value.f;
  sums.bias += g;
  sums.alpha += dz * in;
  sums.shift += dz;
}

// R rows at once, so that a column's two sums are loaded and stored once for all of them.
template <class Fn, class T, int R>
INLINE void backward_columns(const Rows<T>& rows, const float* weight, float* dweight,
                             float* dbias, int64_t j, int n, float alpha, float shift,
                             Sums& scalars) {
  const F w = load(weight + j, n);
  Sums sums;
  sums.alpha = scalars.alpha, sums.shift = scalars.shift;
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
    const T *x = rows.x + r * rows.x_ld + j, *dy = rows.dy + r * rows.dy_ld + j;
    backward_step<Fn>(x, dy, rows.dx + r * rows.dx_ld + j, w, n, alpha, shift, sums);
  }
  store(dweight + j, load(dweight + j, LANES) + sums.weight, LANES);
  store(dbias + j, load(dbias + j, LANES) + sums.bias, LANES);
  scalars.alpha = sums.alpha, scalars.shift = sums.shift;
}

template <class Fn, class T, int R>
INLINE void backward_rows(const Rows<T>& rows, const float* weight, float* dweight, float* dbias,
                          int64_t count, float alpha, float shift, Partial& partial) {
  Sums scalars;
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES)
    backward_columns<Fn, T, R>(rows, weight, dweight, dbias, j, LANES, alpha, shift, scalars);
  if (j < count)
    backward_columns<Fn, T, R>(rows, weight, dweight, dbias, j, int(count - j), alpha, shift,
                               scalars);
  partial.dalpha += sum(scalars.alpha);
  partial.dshift += sum(scalars.shift);
}

template <class Fn, class T>
INLINE void backward_run(const T* x, const T* dy, T* dx, float weight, int64_t count, float alpha,
                         float shift, double& dweight, double& dbias, Partial& partial) {
  const F w = same(weight);
  Sums sums;
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) {
    prefetch(x + j);
    prefetch(dy + j);
    backward_step<Fn>(x + j, dy + j, dx + j, w, LANES, alpha, shift, sums);
  }
  if (j < count)
    backward_step<Fn>(x + j, dy + j, dx + j, w, int(count - j), alpha, shift, sums);
  dweight += sum(sums.weight);
  dbias += sum(sums.bias);
  partial.dalpha += sum(sums.alpha);
  partial.dshift += sum(sums.shift);
}

// ---- a thread's share: elements begin..end of the whole, which may start and end within a row

template <class Fn, class T>
void forward(const Problem& p, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / p.width, column = i - row * p.width;
    const int64_t count = std::min(p.width - column, end - i);
    const T* from = x + offset(row, p.group, p.x_ld, p.width) + column;
    if (p.columns) {
      const Each weight{p.weight + column}, bias{p.bias + column};
      forward_row<Fn>(from, y + i, weight, bias, count, p.alpha, p.shift);
    } else {
      const Same weight{same(p.weight[row % p.n])}, bias{same(p.bias[row % p.n])};
      forward_row<Fn>(from, y + i, weight, bias, count, p.alpha, p.shift);
    }
    i += count;
  }
}

// `rows` rows from `row` on, `count` columns of each from `column` on.
template <class Fn, class T>
INLINE void backward_block(const Problem& p, Partial& partial, int64_t row, int64_t rows,
                           int64_t column, int64_t count) {
  alignas(64) float dweight[CHUNK], dbias[CHUNK];
  for (int64_t c = column; c < column + count; c += CHUNK) {
    const int64_t chunk = std::min(CHUNK, column + count - c);
    std::fill_n(dweight, CHUNK, 0.f);
    std::fill_n(dbias, CHUNK, 0.f);
    Rows<T> at{static_cast<const T*>(p.x) + row * p.x_ld + c,
               static_cast<const T*>(p.dy) + row * p.dy_ld + c,
               static_cast<T*>(p.dx) + row * p.width + c, p.x_ld, p.dy_ld, p.width};
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS, at.next(ROWS))
      backward_rows<Fn, T, ROWS>(at, p.weight + c, dweight, dbias, chunk, p.alpha, p.shift,
                                 partial);
    for (; r < rows; r++, at.next(1))
      backward_rows<Fn, T, 1>(at, p.weight + c, dweight, dbias, chunk, p.alpha, p.shift, partial);
    for (int64_t j = 0; j < chunk; j++) {
      partial.dweight[c + j] += dweight[j];
      partial.dbias[c + j] += dbias[j];
    }
  }
}

template <class Fn, class T>
void backward(const Problem& p, Partial& partial, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / p.width, column = i - row * p.width;
    if (p.columns) {
      const int64_t full = (end - i) / p.width;
      const bool whole = column == 0 && full > 0;
      const int64_t rows = whole ? std::min(full, ROW_BLOCK) : 1;
      const int64_t count = whole ? p.width : std::min(p.width - column, end - i);
      backward_block<Fn, T>(p, partial, row, rows, column, count);
      i += rows * count;
    } else {
      const int64_t count = std::min({p.width - column, end - i, CHUNK});
      backward_run<Fn>(
          static_cast<const T*>(p.x) + offset(row, p.group, p.x_ld, p.width) + column,
          static_cast<const T*>(p.dy) + offset(row, p.group, p.dy_ld, p.width) + column,
          static_cast<T*>(p.dx) + i, p.weight[row % p.n], count, p.alpha, p.shift,
          partial.dweight[row % p.n], partial.dbias[row % p.n], partial);
      i += count;
    }
  }
}

#define BOTH(PASS, FUNCTION) {PASS<FUNCTION, float>, PASS<FUNCTION, bf16>}
const Kernels kernels = {
    {BOTH(forward, Tanh), BOTH(forward, Erf), BOTH(forward, Isru), BOTH(forward, Hardtanh),
     BOTH(forward, Arctan), BOTH(forward, Satursin), BOTH(forward, Softsign)},
    {BOTH(backward, Tanh), BOTH(backward, Erf), BOTH(backward, Isru), BOTH(backward, Hardtanh),
     BOTH(backward, Arctan), BOTH(backward, Satursin), BOTH(backward, Softsign)}};
#undef BOTH
