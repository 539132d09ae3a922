// The arithmetic of proto_geo_loss that both back ends share; formulas in reference/proto_geo_loss.py.
#pragma once

#include <cstdint>

#include "fast_math.h"
#include "host_device.h"

namespace ng {

// As MAX_CLASSES and MAX_CELLS in ops/proto_geo_loss.py; beyond them the reference runs.
constexpr int kMaxClasses = 32, kMaxCells = 256;

// F.normalize's guard: x / max(|x|, 1e-12). Below it the norm is a constant to the gradient.
template <class T>
NG_HD T inverse_norm(T square_sum) {
  const T norm = sqrt_of(square_sum);
  return T(1) / (norm < T(1e-12) ? T(1e-12) : norm);  // NaN stays NaN
}

template <class T>
NG_HD bool norm_is_clamped(T inverse) {
  return inverse >= T(1e12);
}

// KL(q || softmax(s / tau)) of one cell, given s / tau minus its log-sum-exp.
template <class T>
NG_HD T kl_term(T q, T log_probability) {
  return x_log_x(q) - q * log_probability;
}

// d loss / d s of one cell, for a batch mean.
template <class T>
NG_HD T kl_gradient(T probability, T q, T q_sum, T inverse_tau_batch) {
  return (probability * q_sum - q) * inverse_tau_batch;
}

// As SHORTEST_MEAN in reference/proto_geo_loss.py: a shorter class mean has no direction to speak of.
constexpr double kShortestMean = 0.01;

// What D-Geo's two terms are, from the Gram matrix of the class means alone.
struct Geometry {
  int classes;
  double variance_cap, margin;
  uint64_t high_valence;  // bit c: the cap acts on class c
};

template <class T>
NG_HD bool geo_kept(T count) {
  return count >= T(2);
}

template <class T>
NG_HD int geo_high_classes(const Geometry& g, const T* counts) {
  int n = 0;
  for (int c = 0; c < g.classes; ++c) n += geo_kept(counts[c]) && (g.high_valence >> c & 1);
  return n < 1 ? 1 : n;
}

template <class T>
NG_HD int geo_pairs(const Geometry& g, const T* counts) {
  int n = 0;
  for (int c = 0; c < g.classes; ++c) n += geo_kept(counts[c]);
  return n < 2 ? 1 : n * (n - 1) / 2;
}

// Value of the cap for class c (to be summed), and d cap / d mu_c = pull * mu_c.
template <class T>
NG_HD T geo_cap(const Geometry& g, T square, int high_classes, T& pull) {
  const T excess = T(1) - square - T(g.variance_cap);
  pull = excess > T(0) ? T(-2) / T(high_classes) : T(0);
  return excess > T(0) || excess != excess ? excess / T(high_classes) : T(0);
}

// Value of the margin for one pair (to be summed) and
// d margin / d mu_a = cross * mu_b + own * mu_a (and the same with a and b exchanged, own_b).
template <class T>
NG_HD T geo_margin(const Geometry& g, T square_a, T square_b, T dot, int pairs, T& cross, T& own_a,
                   T& own_b) {
  const T norm_a = sqrt_of(square_a), norm_b = sqrt_of(square_b), shortest = T(kShortestMean);
  const bool short_a = norm_a < shortest, short_b = norm_b < shortest;  // NaN stays NaN
  const T inverse_a = T(1) / (short_a ? shortest : norm_a);
  const T inverse_b = T(1) / (short_b ? shortest : norm_b);
  const T cosine = dot * inverse_a * inverse_b;
  const T excess = T(g.margin) - (T(1) - cosine);
  const T weight = excess > T(0) ? T(1) / T(pairs) : T(0);
  cross = weight * inverse_a * inverse_b;
  own_a = short_a ? T(0) : -weight * cosine * inverse_a * inverse_a;
  own_b = short_b ? T(0) : -weight * cosine * inverse_b * inverse_b;
  return excess > T(0) || excess != excess ? excess / T(pairs) : T(0);
}

}  // namespace ng
