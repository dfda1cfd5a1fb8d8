// The layer and its gradients by their formulas, in double precision.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

struct Formula {
  const char* name;
  double (*f)(double);
  double (*df)(double);
};

constexpr double PI = 3.14159265358979323846;

inline const Formula FORMULAS[] = {
    {"tanh", [](double z) { return std::tanh(z); },
     [](double z) { return 1 - std::tanh(z) * std::tanh(z); }},
    {"erf", [](double z) { return std::erf(z); },
     [](double z) { return 2 / std::sqrt(PI) * std::exp(-z * z); }},
    {"isru", [](double z) { return z / std::sqrt(1 + z * z); },
     [](double z) { return std::pow(1 + z * z, -1.5); }},
    {"hardtanh", [](double z) { return std::clamp(z, -1.0, 1.0); },
     [](double z) { return std::fabs(z) <= 1 ? 1.0 : 0.0; }},
    {"arctan", [](double z) { return 2 / PI * std::atan(z); },
     [](double z) { return 2 / PI / (1 + z * z); }},
    {"satursin", [](double z) { return std::sin(std::clamp(z, -PI / 2, PI / 2)); },
     [](double z) { return std::fabs(z) < PI / 2 ? std::cos(z) : 0.0; }},
    {"softsign", [](double z) { return z / (1 + std::fabs(z)); },
     [](double z) { return 1 / ((1 + std::fabs(z)) * (1 + std::fabs(z))); }},
};

// By its name; null if there is none.
inline const Formula* formula_of(const char* name) {
  for (const Formula& formula : FORMULAS)
    if (!std::strcmp(formula.name, name)) return &formula;
  return nullptr;
}

// A sum and what bounds its error: the sum of the terms' magnitudes.
struct Sum {
  double value = 0, magnitude = 0;

  void add(double term) {
    value += term;
    magnitude += std::fabs(term);
  }
};
