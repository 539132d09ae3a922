// The kernels of proto_geo_loss on the CPU; proto_geo_loss.cpp says how they work together.
#pragma once

#include "proto_geo_math.h"
#include "simd.h"

namespace ng {
namespace {

// Columns of a tile of two vectors at every level. Rows are padded to a multiple of it, so no loop over
// columns may take more at a time.
constexpr int64_t kPad = 32;

template <class In, class T>
struct Rows {
  const In* features;
  const T *by_column, *target_cells;  // prototypes, normalised: [D][Kp]
  const T* inverse_norms;             // of the prototypes, [K]
  const int64_t* labels;
  int64_t batch, width, cells, chunk, classes;
  T inverse_tau;
  T *sums, *counts, *losses;  // [P, C, D], [P, C], [P]
  T *unit, *row_stats;        // [B, K]: d proto / d (z . p_k); [B, 2]: 1 / |f|, sum_k unit_k z . p_k
};

// Points `tile` at R rows of features as T, with at least round_up(width, kPad) readable columns;
// copies where the dtype, the width or the number of rows asks for it.
template <class T, class In, int R>
NG_INLINE const T* tile_of(const In* features, int64_t width, int64_t rows, T* copy,
                           int64_t& stride) {
  if constexpr (sizeof(In) == sizeof(T)) {
    if (rows == R && width % kPad == 0) {
      stride = width;
      return reinterpret_cast<const T*>(features);
    }
  }
  stride = round_up(width, kPad);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t d = 0; d < width; ++d) copy[r * stride + d] = to_opmath(features[r * width + d]);
  for (int64_t r = 0; r < R; ++r)
    for (int64_t d = r < rows ? width : 0; d < stride; ++d) copy[r * stride + d] = T(0);
  return copy;
}

template <class T, int BYTES, class In>
NG_INLINE void rows_body(Rows<In, T> a, int64_t chunk, T* scratch) {
  using S = Simd<T, BYTES>;
  constexpr int R = tile_rows(BYTES), V = 2;
  const int64_t padded = round_up(a.width, kPad), cells = round_up(a.cells, kPad);
  T* copy = scratch;                      // [R][padded]
  T* cosine = copy + R * padded;          // [R][cells]
  T* q = cosine + R * cells;              // [cells]
  T* sums = q + cells;                    // [C][padded]
  for (int64_t i = 0; i < a.classes * padded; ++i) sums[i] = T(0);
  for (int64_t k = 0; k < cells; ++k) q[k] = T(0);
  T* counts = a.counts + chunk * a.classes;
  for (int64_t c = 0; c < a.classes; ++c) counts[c] = T(0);

  const int64_t begin = chunk * a.chunk;
  const int64_t end = begin + a.chunk < a.batch ? begin + a.chunk : a.batch;
  const T gradient_scale = a.inverse_tau / T(a.batch);
  double loss = 0;
  for (int64_t row = begin; row < end; row += R) {
    const int64_t n = end - row < R ? end - row : R;
    int64_t stride;
    const T* f = tile_of<T, In, R>(a.features + row * a.width, a.width, n, copy, stride);
    for (int64_t k = 0; k < cells; k += V * S::W) {
      typename S::Vector c[R][V];
      multiply_tile<T, BYTES, R, V>(f, stride, a.by_column + k, cells, a.width, c);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) S::store(cosine + r * cells + k + v * S::W, c[r][v]);
    }
    for (int64_t r = 0; r < n; ++r) {
      const T* fr = f + r * stride;
      typename S::Vector square[V] = {};
      for (int64_t d = 0; d < padded; d += V * S::W)
        for (int v = 0; v < V; ++v) {
          const auto x = S::load(fr + d + v * S::W);
          square[v] += x * x;
        }
      const T inverse = inverse_norm(S::sum(square[0] + square[1]));

      T* s = cosine + r * cells;
      const T* target = a.target_cells + (row + r) * a.cells;
      T q_sum = 0, top = -__builtin_inff();
      for (int64_t k = 0; k < a.cells; ++k) q[k] = target[k];
#pragma omp simd reduction(+ : q_sum)
      for (int64_t k = 0; k < cells; ++k) {
        s[k] *= inverse;
        q_sum += q[k];
      }
      // Padding must not win the maximum nor add to the sum of exponentials.
      for (int64_t k = a.cells; k < cells; ++k) s[k] = -__builtin_inff();
#pragma omp simd reduction(max : top)
      for (int64_t k = 0; k < cells; ++k) top = s[k] > top ? s[k] : top;
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t k = 0; k < cells; ++k) total += exp_of((s[k] - top) * a.inverse_tau);
      const T log_total = top * a.inverse_tau + log_of(total), scale = T(1) / total;
      T* unit = a.unit + (row + r) * a.cells;
      T kl = 0, radial = 0;
      for (int64_t k = a.cells; k < cells; ++k) s[k] = top;  // finite from here on
#pragma omp simd reduction(+ : kl)
      for (int64_t k = 0; k < cells; ++k) kl += kl_term(q[k], s[k] * a.inverse_tau - log_total);
#pragma omp simd reduction(+ : radial)
      for (int64_t k = 0; k < a.cells; ++k) {
        const T p = exp_of((s[k] - top) * a.inverse_tau) * scale;
        const T slope = kl_gradient(p, q[k], q_sum, gradient_scale);
        radial += slope * s[k];
        unit[k] = slope * a.inverse_norms[k];
      }
      loss += double(kl);
      a.row_stats[2 * (row + r)] = inverse;
      a.row_stats[2 * (row + r) + 1] = norm_is_clamped(inverse) ? T(0) : radial;

      const int64_t label = a.labels[row + r];
      counts[label] += T(1);
      T* sum = sums + label * padded;
      for (int64_t d = 0; d < padded; d += S::W)
        S::store(sum + d, S::load(sum + d) + S::load(fr + d) * inverse);
    }
  }
  a.losses[chunk] = T(loss);
  T* out = a.sums + chunk * a.classes * a.width;
  for (int64_t c = 0; c < a.classes; ++c)
    for (int64_t d = 0; d < a.width; ++d) out[c * a.width + d] = sums[c * padded + d];
}

template <class T>
struct Classes {
  const T *sums, *counts, *losses;
  int64_t parts, batch, classes, width;
  T *mean, *count;       // [C, width], [C]
  T *values, *pull;      // [3]: proto, cap, margin; [2, C, width]
  Geometry geometry;
};

template <class T, int BYTES>
NG_INLINE void mean_body(Classes<T> a, int64_t c) {
  T n = 0;
  for (int64_t p = 0; p < a.parts; ++p) n += a.counts[p * a.classes + c];
  a.count[c] = n;
  T* mean = a.mean + c * a.width;
  const T scale = T(1) / (n < T(1) ? T(1) : n);
  for (int64_t d = 0; d < a.width; ++d) mean[d] = T(0);
  for (int64_t p = 0; p < a.parts; ++p) {
    const T* part = a.sums + (p * a.classes + c) * a.width;
#pragma omp simd
    for (int64_t d = 0; d < a.width; ++d) mean[d] += part[d];
  }
#pragma omp simd
  for (int64_t d = 0; d < a.width; ++d) mean[d] *= scale;
}

template <class T, int BYTES>
NG_INLINE T dot(const T* x, const T* y, int64_t n) {
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t d = 0; d < n; ++d) total += x[d] * y[d];
  return total;
}

template <class T>
NG_INLINE void add_scaled(T* out, const T* x, T scale, int64_t n) {
  if (scale == T(0)) return;
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) out[d] += scale * x[d];
}

template <class T, int BYTES>
NG_INLINE void classes_body(Classes<T> a) {
  const int C = a.geometry.classes;
  const int64_t D = a.width;
  T square[kMaxClasses], scale[kMaxClasses];
  for (int c = 0; c < C; ++c) {
    square[c] = dot<T, BYTES>(a.mean + c * D, a.mean + c * D, D);
    scale[c] = T(1) / (a.count[c] < T(1) ? T(1) : a.count[c]);
  }
  T *pull_cap = a.pull, *pull_margin = a.pull + C * D;
  for (int64_t i = 0; i < 2 * C * D; ++i) a.pull[i] = T(0);
  const int high = geo_high_classes(a.geometry, a.count), pairs = geo_pairs(a.geometry, a.count);
  T cap = 0;
  for (int c = 0; c < C; ++c) cap += square[c] * T(0);  // a NaN anywhere makes both terms NaN
  T margin = cap;
  for (int c = 0; c < C; ++c) {
    if (!geo_kept(a.count[c])) continue;
    if (a.geometry.high_valence >> c & 1) {
      T pull;
      cap += geo_cap(a.geometry, square[c], high, pull);
      add_scaled(pull_cap + c * D, a.mean + c * D, pull * scale[c], D);
    }
    for (int b = c + 1; b < C; ++b) {
      if (!geo_kept(a.count[b])) continue;
      T cross, own_c, own_b;
      const T inner = dot<T, BYTES>(a.mean + c * D, a.mean + b * D, D);
      margin += geo_margin(a.geometry, square[c], square[b], inner, pairs, cross, own_c, own_b);
      add_scaled(pull_margin + c * D, a.mean + b * D, cross * scale[c], D);
      add_scaled(pull_margin + c * D, a.mean + c * D, own_c * scale[c], D);
      add_scaled(pull_margin + b * D, a.mean + c * D, cross * scale[b], D);
      add_scaled(pull_margin + b * D, a.mean + b * D, own_b * scale[b], D);
    }
  }
  double proto = 0;
  for (int64_t p = 0; p < a.parts; ++p) proto += double(a.losses[p]);
  a.values[0] = a.batch ? T(proto / double(a.batch)) : T(0);
  a.values[1] = cap;
  a.values[2] = margin;
}

template <class In, class T>
struct Backward {
  const In* features;
  const T *by_row, *unit, *row_stats, *pull;  // prototypes [K][Dp]; pull [C][Dp], already weighted
  const int64_t* labels;
  int64_t batch, width, cells;
  T grad_proto;
  In* gradient;
};

template <class T, int BYTES, class In>
NG_INLINE void backward_body(Backward<In, T> a, int64_t begin, int64_t end, T* scratch) {
  using S = Simd<T, BYTES>;
  constexpr int R = tile_rows(BYTES), V = 2;
  const int64_t padded = round_up(a.width, kPad);
  T* copy = scratch;            // [R][padded]
  T* out = copy + R * padded;   // [R][padded]
  T* unit_copy = out + R * padded;
  for (int64_t row = begin; row < end; row += R) {
    const int64_t n = end - row < R ? end - row : R;
    int64_t stride;
    const T* f = tile_of<T, In, R>(a.features + row * a.width, a.width, n, copy, stride);
    const T* unit = a.unit + row * a.cells;
    if (n < R) {
      for (int64_t i = 0; i < R * a.cells; ++i) unit_copy[i] = i < n * a.cells ? unit[i] : T(0);
      unit = unit_copy;
    }
    const T* pull[R];
    T inverse[R], radial[R];
    for (int64_t r = 0; r < R; ++r) {
      const int64_t i = row + (r < n ? r : 0);
      pull[r] = a.pull + a.labels[i] * padded;
      inverse[r] = a.row_stats[2 * i];
      typename S::Vector inner[2] = {};
      for (int64_t d = 0; d < padded; d += 2 * S::W)
        for (int j = 0; j < 2; ++j)
          inner[j] += S::load(f + r * stride + d + j * S::W) * S::load(pull[r] + d + j * S::W);
      const T along = norm_is_clamped(inverse[r]) ? T(0) : S::sum(inner[0] + inner[1]) * inverse[r];
      radial[r] = (a.grad_proto * a.row_stats[2 * i + 1] + along) * inverse[r];
    }
    constexpr bool same = sizeof(In) == sizeof(T);
    const bool direct = same && n == R && a.width % kPad == 0;
    T* to = direct ? reinterpret_cast<T*>(a.gradient + row * a.width) : out;
    const int64_t to_stride = direct ? a.width : padded;
    for (int64_t d = 0; d < padded; d += V * S::W) {
      typename S::Vector c[R][V];
      multiply_tile<T, BYTES, R, V>(unit, a.cells, a.by_row + d, padded, a.cells, c);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
          const int64_t j = d + v * S::W;
          const auto tangent = c[r][v] * a.grad_proto + S::load(pull[r] + j) -
                               S::load(f + r * stride + j) * radial[r];
          S::store(to + r * to_stride + j, tangent * inverse[r]);
        }
    }
    if (!direct)
      for (int64_t r = 0; r < n; ++r)
        for (int64_t d = 0; d < a.width; ++d)
          a.gradient[(row + r) * a.width + d] = from_opmath<In>(out[r * padded + d]);
  }
}

NG_FOR_EACH_LEVEL(rows_kernel, rows_body)
NG_FOR_EACH_LEVEL(mean_kernel, mean_body)
NG_FOR_EACH_LEVEL(classes_kernel, classes_body)
NG_FOR_EACH_LEVEL(backward_kernel, backward_body)

}  // namespace
}  // namespace ng
