// The functions of the CPU kernels, f and f' together: one entry each, and nothing else to edit.
//
// kernels.cpp includes this file with FUNCTION defined in turn as a struct, as a row of a table and
// as a name. A name is one of dyt.FAMILY, whose formulas in PyTorch the tests compare these with.
// F is a vector of fp32, with the helpers of loops.h; the result is {f(z), f'(z)}.

// Through h = tanh(z / 2); n is z plus a small term, to round once less.
// At most 3.92 ulp for every float, 4.76 without fused multiply-adds; never above 1.
FUNCTION(tanh, {
  const F c = clip(z, 8.6f), u = c * c;
  const F n = fma(c * u, polynomial(u, 0.0297909584f, 0.000114637769f), c);
  const F q = polynomial(u, 1.f, 0.113124341f, 0.00120836019f, 1.23742882e-06f);
  const F t = doubled(n, q);
  return {t, 1.f - t * t};
})

// Through h = erf(z) / (1 + sqrt(1 - erf(z)^2)); at most 5.3 ulp, 6.2 without fused
// multiply-adds; never above 1, and 1 from the clip on. f' is off by at most 2.4 * 2^-24.
FUNCTION(erf, {
  const F c = clip(z, 3.827f), u = c * c;
  const F n = c * polynomial(u, 1.12837923f, 0.296989441f, 0.0322475731f, 0.00253555900f);
  const F q = polynomial(u, 1.f, 0.278224647f, 0.0484198742f, 0.00603794679f, 9.87119638e-05f);
  return {doubled(n, q), gaussian(at_most(z * z, 88.f))};
})

// z / sqrt(1 + z^2). At the clip, where squares do not overflow yet, f is 1 and f' rounds to 0.
FUNCTION(isru, {
  const F c = clip(z, 0x1p63f), r = 1.f / root(c * c + 1.f);
  return {c * r, r * r * r};
})

FUNCTION(hardtanh, {
  const F inside = magnitude(z) <= 1.f ? same(1.f) : F{};
  return {clip(z, 1.f), z != z ? z : inside};
})

// 2/pi atan(z), through atan(1/z) beyond 1. So is f', where the square of z would overflow.
FUNCTION(arctan, {
  const F a = magnitude(z);
  const F t = a > 1.f ? 1.f / a : a, u = t * t;
  const F d = (a > 1.f ? u : same(1.f)) * 0.636619772f;
  const F p = polynomial(u, -0.33333075f, 0.19992624f, -0.14203674f, 0.106410325f,
                             -0.075044796f, 0.042693507f, -0.01606976f, 0.0028501553f);
  const F near = p * u * t + t;
  const F angle = a > 1.f ? 1.57079633f - near : near;
  return {with_sign(angle * 0.636619772f, z), d / (u + 1.f)};
})

// sin(z) clipped at +-pi/2; minimax polynomials in between. From the clip on f' is exactly 0: what
// the polynomial leaves there, times large x, would outweigh the rest of alpha's gradient.
FUNCTION(satursin, {
  const F c = clip(z, 1.57079633f), u = c * c;
  const F s = polynomial(u, -0.16666657f, 0.0083330255f, -0.00019807428f, 2.6019188e-06f);
  const F d = polynomial(u, 0.5f, -0.041667037f, 0.0013896544f, -2.5288178e-05f,
                             3.6686586e-07f);
  const F slope = magnitude(z) >= 1.57079633f ? F{} : 1.f - d * u;
  return {clip(s * u * c + c, 1.f), slope};
})

// z / (1 + |z|). At the clip f is 1 and f' rounds to 0.
FUNCTION(softsign, {
  const F c = clip(z, 0x1p80f), r = 1.f / (magnitude(c) + 1.f);
  return {c * r, r * r};
})
