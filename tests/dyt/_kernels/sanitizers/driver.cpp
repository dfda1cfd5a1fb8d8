// Random calls of kernels.cpp, to be run under a compiler's sanitizers: no Python, no PyTorch.
//
//   driver SEED CALLS [RUNTIME]
//
// RUNTIME is an OpenMP library to run on, libgomp.so.1 for one; without it the kernels start
// threads of their own. Every call is made twice, in memory that lies differently, a quarter of
// them at the same time. Results must be those of the formulas in double precision, and the same
// bits both times. Calls with a pointer too few or too many must be refused.

#include "kernels.cpp"

#include <dlfcn.h>

#include <cstdio>
#include <random>
#include <string>

#include "memory.h"
#include "truth.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEEPS_ALLOCATOR 1  // clang's ThreadSanitizer: its own cannot be replaced
#endif
#endif

// Allocations of the kernels on this thread until one fails; negative: none does.
thread_local int64_t until_failure = -1;

#ifndef KEEPS_ALLOCATOR
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return until_failure < 0 || until_failure-- > 0 ? std::malloc(size) : nullptr;
}
void* operator new[](size_t size) { return std::malloc(size); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
#endif

namespace driver {

// ---- what is called

struct Case {
  int level, function, x_type, type;
  bool has_shift, has_weight, has_bias;
  int64_t outer, n, inner, x_ld, dy_ld;
  int threads;
  int64_t cache;    // bytes of the caches a thread; 0: not known
  bool raw;         // of random bits, NaN among them: no formula to compare with
  bool aligned;     // as PyTorch's tensors are
  bool concurrent;  // both calls at once

  int64_t period() const { return n * inner; }
  int64_t numel() const { return outer * period(); }
  Config config() const { return {function, x_type, type, has_shift, has_weight, has_bias}; }
};

std::vector<std::string> function_names() {
  std::vector<std::string> names;
  for (const char* at = NAMES; *at; at += std::strcspn(at, " ")) {
    at += std::strspn(at, " ");
    names.emplace_back(at, std::strcspn(at, " "));
  }
  return names;
}

class Random {
 public:
  Random(unsigned seed, unsigned call) : engine_(seed * 1000003u + call) {}

  int64_t below(int64_t end) { return int64_t(engine_() % uint64_t(end)); }
  bool one_in(int64_t chances) { return below(chances) == 0; }

  // Sizes at which the kernels change what they do, and some between.
  int64_t size(int64_t limit) {
    const int64_t near[] = {1, 2, 4, 8, 16, 32, 64, LONG_RUN, SHORT_ROW, ROW_BLOCK, AHEAD, CHUNK,
                            2 * CHUNK, SCALAR_BLOCK};
    int64_t found;
    do {
      found = one_in(3) ? below(100) : near[below(std::size(near))] + below(3) - 1;
    } while (found > limit);
    return found;
  }

  void fill(Bytes& bytes) {
    for (size_t i = 0; i < bytes.size(); i++) bytes.data()[i] = uint8_t(engine_());
  }

  // Multiples of 1/16 of seven bits: numbers of both types, and their products and sums are exact.
  double number() { return double(below(255) - 127) / 16; }

 private:
  std::mt19937_64 engine_;
};

// Few elements, or so many that eight threads have a share.
void choose_sizes(Random& random, Case& c) {
  const int64_t limit = random.one_in(8) ? 9 * GRAIN : 8192;
  c.inner = random.one_in(2) ? 1 : random.size(limit);
  c.n = random.one_in(8) ? 1 : random.size(std::max<int64_t>(1, limit / (c.inner + 1)));
  const int64_t rows = limit / (c.period() + 1);
  c.outer = random.one_in(3) ? rows : random.size(std::max<int64_t>(1, rows));
  c.x_ld = c.period() + (random.one_in(3) ? random.size(100) : 0);
  c.dy_ld = c.period() + (random.one_in(3) ? random.size(100) : 0);
}

// So many elements that y and dx are written past caches so small, where rows begin on their lines.
void choose_large_sizes(Random& random, Case& c) {
  c.x_type = int(random.below(2));
  c.inner = random.one_in(2) ? 1 : 64;
  c.n = random.one_in(3) ? 50 + random.below(200) : 32 * (1 + random.below(8));
  c.cache = (1 + random.below(64)) << 10;
  c.outer = c.cache * c.threads / itemsize(c.x_type) / c.period() + 1;
  c.x_ld = c.dy_ld = c.period();
}

Case choose(Random& random, int functions, bool large) {
  Case c{};
  c.level = int(random.below(widest_level() + 1));
  c.function = int(random.below(functions));
  c.x_type = int(random.below(2));
  c.type = int(random.below(2));
  c.has_shift = random.one_in(2);
  c.has_weight = !random.one_in(3);
  c.has_bias = !random.one_in(3);
  c.threads = 1 + int(random.below(8));
  c.raw = random.one_in(8);
  c.aligned = !random.one_in(large ? 4 : 2);
  c.concurrent = random.one_in(4);
  large ? choose_large_sizes(random, c) : choose_sizes(random, c);
  return c;
}

// ---- its memory

enum Place { X, DY, ALPHA, SHIFT, WEIGHT, BIAS, INPUTS };
enum Made { Y, DX, DALPHA, DSHIFT, DWEIGHT, DBIAS, OUTPUTS };

int64_t pitched(const Case& c, int64_t ld) {
  return c.numel() ? (c.outer - 1) * ld + c.period() : 0;
}

// The tensors of one call of each function. Where there is no such parameter: no memory.
struct Tensors {
  Bytes in[INPUTS], out[OUTPUTS];

  Tensors(const Case& c, Random& random, bool fenced) {
    const auto bytes = [&](int64_t numel, int type) {
      // Any address: torch.frombuffer makes tensors that lie at odd ones.
      const int64_t offset = c.aligned ? 0 : random.below(64) & (random.one_in(3) ? -1 : -4);
      return Bytes(numel * itemsize(type), offset, fenced);
    };
    in[X] = bytes(pitched(c, c.x_ld), c.x_type);
    in[DY] = bytes(pitched(c, c.dy_ld), c.x_type);
    out[Y] = bytes(c.numel(), c.x_type);
    out[DX] = bytes(c.numel(), c.x_type);
    const struct {
      int in, out;
      bool has;
      int64_t numel;
    } parameters[] = {{ALPHA, DALPHA, true, 1},
                      {SHIFT, DSHIFT, c.has_shift, 1},
                      {WEIGHT, DWEIGHT, c.has_weight, c.n},
                      {BIAS, DBIAS, c.has_bias, c.n}};
    for (const auto& p : parameters) {
      if (!p.has) continue;
      in[p.in] = bytes(p.numel, c.type);
      out[p.out] = bytes(p.numel, c.type);
    }
  }

  void fill(const Case& c, Random& random) {
    if (c.raw) {
      for (Bytes& bytes : in) random.fill(bytes);
      return;
    }
    for (int64_t row = 0; row < c.outer; row++)  // the NaNs between rows stay
      for (int64_t j = 0; j < c.period(); j++) {
        put(in[X], row * c.x_ld + j, c.x_type, random.number());
        put(in[DY], row * c.dy_ld + j, c.x_type, random.number());
      }
    for (int place : {ALPHA, SHIFT, WEIGHT, BIAS})
      for (size_t i = 0; i < in[place].size() / itemsize(c.type); i++)
        put(in[place], i, c.type, random.number());
  }

  void copy_inputs(const Tensors& other) {
    for (int i = 0; i < INPUTS; i++)
      if (in[i].size()) std::memcpy(in[i].data(), other.in[i].data(), in[i].size());
  }

  bool intact() const {
    return std::all_of(in, in + INPUTS, [](const Bytes& b) { return b.intact(); }) &&
           std::all_of(out, out + OUTPUTS, [](const Bytes& b) { return b.intact(); });
  }

  ForwardCall forward(const Case& c) const {
    return {in[X].data(),    in[ALPHA].data(), in[SHIFT].data(), in[WEIGHT].data(),
            in[BIAS].data(), out[Y].data(),    c.outer,          c.n,
            c.inner,         c.x_ld,           c.config().packed(), c.threads};
  }

  BackwardCall backward(const Case& c) const {
    return {in[DY].data(),       in[X].data(),       in[ALPHA].data(),    in[SHIFT].data(),
            in[WEIGHT].data(),   out[DX].data(),     out[DALPHA].data(),  out[DSHIFT].data(),
            out[DWEIGHT].data(), out[DBIAS].data(),  c.outer,             c.n,
            c.inner,             c.x_ld,             c.dy_ld,             c.config().packed(),
            c.threads};
  }

  int compute(const Case& c) const {
    const ForwardCall forth = forward(c);
    const BackwardCall back = backward(c);
    const int status = dyt_forward(&forth);
    return status ? status : dyt_backward(&back);
  }
};

// ---- what must come out

// The first result that is wrong, and where; empty if none is.
class Comparison {
 public:
  std::string wrong;

  // `magnitude` bounds the error in fp32; a number of the result's type is half an ulp off at most.
  void near(const char* name, const Bytes& made, int64_t i, int type, double value,
            double magnitude) {
    const double found = get(made, i, type);
    const double bound = 8e-6 * magnitude + (type ? std::fabs(value) / 256 : 0) + 1e-30;
    if (!(std::fabs(found - value) <= bound)) say(name, i, found, value);
  }

  void equal(const char* name, const Bytes& made, int64_t i, int type, double value) {
    const double found = get(made, i, type);
    if (!(found == rounded(value, type))) say(name, i, found, value);
  }

 private:
  void say(const char* name, int64_t i, double found, double value) {
    if (!wrong.empty()) return;
    char line[200];
    std::snprintf(line, sizeof line, "%s[%lld] is %.9g, by the formula %.9g", name, (long long)i,
                  found, value);
    wrong = line;
  }
};

std::string compare(const Case& c, const Tensors& t, const Formula& formula) {
  const auto parameter = [&](int place, int64_t i, double fallback) {
    return t.in[place].size() ? get(t.in[place], i, c.type) : fallback;
  };
  const double alpha = parameter(ALPHA, 0, 1), shift = parameter(SHIFT, 0, 0);
  Comparison found;
  Sum dalpha, dshift;
  std::vector<Sum> dweight(c.n), dbias(c.n);
  for (int64_t i = 0; i < c.numel(); i++) {
    const int64_t row = i / c.period(), j = i % c.period(), k = j / c.inner;
    const double x = get(t.in[X], row * c.x_ld + j, c.x_type);
    const double g = get(t.in[DY], row * c.dy_ld + j, c.x_type);
    const double weight = c.has_weight ? parameter(WEIGHT, k, 1) : 1;
    const double bias = c.has_bias ? parameter(BIAS, k, 0) : 0;
    const double z = alpha * x + shift, f = formula.f(z), dz = g * weight * formula.df(z);
    found.near("y", t.out[Y], i, c.x_type, weight * f + bias, std::fabs(weight) + std::fabs(bias));
    found.near("dx", t.out[DX], i, c.x_type, dz * alpha, std::fabs(g * weight * alpha));
    dalpha.add(dz * x), dalpha.magnitude += std::fabs(g * weight * x);
    dshift.add(dz), dshift.magnitude += std::fabs(g * weight);
    dweight[k].add(g * f);
    dbias[k].add(g);
  }
  found.near("dalpha", t.out[DALPHA], 0, c.type, dalpha.value, dalpha.magnitude);
  if (c.has_shift) found.near("dshift", t.out[DSHIFT], 0, c.type, dshift.value, dshift.magnitude);
  for (int64_t k = 0; k < c.n; k++) {
    if (c.has_weight)
      found.near("dweight", t.out[DWEIGHT], k, c.type, dweight[k].value, dweight[k].magnitude);
    // Exact, so that an element too few or too many is found in a sum of any length.
    if (c.has_bias) found.equal("dbias", t.out[DBIAS], k, c.type, dbias[k].value);
  }
  return found.wrong;
}

std::string differences(const Tensors& first, const Tensors& second) {
  const char* const inputs[] = {"x", "dy", "alpha", "shift", "weight", "bias"};
  const char* const outputs[] = {"y", "dx", "dalpha", "dshift", "dweight", "dbias"};
  for (int i = 0; i < INPUTS; i++)
    if (!(first.in[i] == second.in[i])) return std::string(inputs[i]) + " was written to";
  for (int i = 0; i < OUTPUTS; i++)
    if (!(first.out[i] == second.out[i])) return std::string(outputs[i]) + " differs in its bits";
  if (!first.intact() || !second.intact()) return "the memory around a tensor was written to";
  return "";
}

// ---- what must be refused

struct Pointer {
  Status missing;
  bool present, filled;
};

// Every pointer of `call` in turn too few, or too many: `pointers` are its first fields.
template <class Call>
std::string refusals(const Call& call, int (*function)(const Call*),
                     std::initializer_list<Pointer> pointers) {
  size_t place = 0;
  for (const Pointer& pointer : pointers) {
    Call wrong = call;
    void* const other = pointer.present ? nullptr : &wrong;
    std::memcpy(reinterpret_cast<char*>(&wrong) + 8 * place++, &other, 8);
    if (pointer.present && !pointer.filled) continue;  // whatever the pointer is, it is right
    const int expected = pointer.missing + (pointer.present ? 0 : 1), found = function(&wrong);
    if (found != expected)
      return std::string("a wrong pointer gives: ") + sentence(found) +
             "; it should: " + sentence(expected);
  }
  Call wrong = call;
  if (FUNCTIONS < 1 << FUNCTION_BITS) {
    Config config = Config::of(call.config);
    config.function = FUNCTIONS;
    wrong.config = config.packed();
    if (function(&wrong) != UNKNOWN_FUNCTION) return "an unknown function is not refused";
  }
  return "";
}

// Each allocation fails in turn, until the call needs no more.
template <class Call>
std::string lacks(const Call& call, int (*function)(const Call*), const Bytes* made) {
  for (int64_t allocations = 0;; allocations++) {
    until_failure = allocations;
    const int status = function(&call);
    until_failure = -1;
    if (status == DONE) return "";
    if (status != OUT_OF_MEMORY) return sentence(status);
    if (!made->untouched()) return "a call without memory wrote a result";
  }
}

std::string check_refusals(const Case& c, const Tensors& t) {
  const bool some = c.numel() != 0, filled = c.n != 0;
  std::string wrong = refusals(t.forward(c), dyt_forward,
                               {{NULL_x, true, some},
                                {NULL_alpha, true, true},
                                {NULL_shift, c.has_shift, true},
                                {NULL_weight, c.has_weight, filled},
                                {NULL_bias, c.has_bias, filled},
                                {NULL_y, true, some}});
  if (wrong.empty())
    wrong = refusals(t.backward(c), dyt_backward,
                     {{NULL_dy, true, some},
                      {NULL_x, true, some},
                      {NULL_alpha, true, true},
                      {NULL_shift, c.has_shift, true},
                      {NULL_weight, c.has_weight, filled},
                      {NULL_dx, true, some},
                      {NULL_dalpha, true, true},
                      {NULL_dshift, c.has_shift, true},
                      {NULL_dweight, c.has_weight, filled},
                      {NULL_dbias, c.has_bias, filled}});
  for (const Bytes& bytes : t.out)
    if (wrong.empty() && !bytes.untouched()) wrong = "a refused call wrote a result";
  if (wrong.empty()) wrong = lacks(t.forward(c), dyt_forward, &t.out[Y]);
  if (wrong.empty()) wrong = lacks(t.backward(c), dyt_backward, &t.out[DX]);
  return wrong;
}

// ---- one call

std::string check(const Case& c, Random& random, const Formula& formula) {
  Tensors first(c, random, false), second(c, random, true);
  first.fill(c, random);
  second.copy_inputs(first);
  std::string wrong = check_refusals(c, first);
  if (!wrong.empty()) return wrong;
  int status[2];
  if (c.concurrent) {
    std::thread other([&] { status[1] = second.compute(c); });
    status[0] = first.compute(c);
    other.join();
  } else {
    status[0] = first.compute(c);
    status[1] = second.compute(c);
  }
  for (int each : status)
    if (each) return sentence(each);
  wrong = differences(first, second);
  return wrong.empty() && !c.raw ? compare(c, first, formula) : wrong;
}

void print(const Case& c, const char* function) {
  std::fprintf(stderr,
               "  %s at level %d, x %s, parameters %s, shift %d, weight %d, bias %d, outer %lld, "
               "n %lld, inner %lld, x_ld %lld, dy_ld %lld, threads %d, cache %lld, raw %d, "
               "aligned %d, concurrent %d\n",
               function, c.level, c.x_type ? "bf16" : "fp32", c.type ? "bf16" : "fp32",
               c.has_shift, c.has_weight, c.has_bias, (long long)c.outer, (long long)c.n,
               (long long)c.inner, (long long)c.x_ld, (long long)c.dy_ld, c.threads, (long long)c.cache,
               c.raw, c.aligned, c.concurrent);
}

// The functions of an OpenMP runtime; null if it lacks one.
struct Runtime {
  ParallelRegion region = nullptr;
  ThreadQuery index = nullptr, size = nullptr;

  bool open(const char* path) {
    void* const library = dlopen(path, RTLD_NOW);
    if (!library) return false;
    region = reinterpret_cast<ParallelRegion>(dlsym(library, "GOMP_parallel"));
    index = reinterpret_cast<ThreadQuery>(dlsym(library, "omp_get_thread_num"));
    size = reinterpret_cast<ThreadQuery>(dlsym(library, "omp_get_num_threads"));
    return region && index && size;
  }
};

int run(unsigned seed, unsigned calls, const char* path) {
  Runtime runtime;
  if (path && !runtime.open(path)) {
    std::fprintf(stderr, "%s is no OpenMP runtime: %s\n", path, dlerror());
    return 2;
  }
  const std::vector<std::string> names = function_names();
  for (unsigned call = 0; call < calls; call++) {
    Random random(seed, call);
    const Case c = choose(random, int(names.size()), call % 50 == 25);
    const char* const name = names[c.function].c_str();
    const Formula* const formula = formula_of(name);
    if (!formula) {
      std::fprintf(stderr, "there is no formula of %s to compare with: add it to truth.h\n", name);
      return 2;
    }
    dyt_init(runtime.region, runtime.index, runtime.size, c.level, c.cache);
    const std::string wrong = check(c, random, *formula);
    if (!wrong.empty()) {
      std::fprintf(stderr, "call %u of seed %u: %s\n", call, seed, wrong.c_str());
      print(c, name);
      return 1;
    }
  }
  std::printf("%u calls at %d levels, on %s: as by the formulas\n", calls, widest_level() + 1,
              path ? path : "threads of their own");
  return 0;
}

}  // namespace driver

int main(int count, char** arguments) {
  if (count < 3 || count > 4) {
    std::fprintf(stderr, "usage: driver SEED CALLS [RUNTIME]\n");
    return 2;
  }
  return driver::run(unsigned(std::atoi(arguments[1])), unsigned(std::atoi(arguments[2])),
                     count == 4 ? arguments[3] : nullptr);
}
