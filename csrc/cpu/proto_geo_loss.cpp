// Proto-KD and D-Geo on the CPU: rows (norms, cosines, softmax, class sums), classes (means, cap,
// margin), backward. Definitions in neurogaze_fast/reference/proto_geo_loss.py.
//
// Sums over rows are made per chunk of rows and added in the order of the chunks, so the result does
// not depend on the number of threads.
#include <algorithm>
#include <tuple>

#include "proto_geo_math.h"
#include "scratch.h"
#include "simd.h"
#include "tensors.h"

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
    for (int64_t d = 0; d < width; ++d) copy[r * stride + d] = to_float(features[r * width + d]);
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
          a.gradient[(row + r) * a.width + d] = from_float<In>(out[r * padded + d]);
  }
}

NG_FOR_EACH_LEVEL(rows_kernel, rows_body)
NG_FOR_EACH_LEVEL(mean_kernel, mean_body)
NG_FOR_EACH_LEVEL(classes_kernel, classes_body)
NG_FOR_EACH_LEVEL(backward_kernel, backward_body)

// Prototypes normalised and turned, [D][Kp], padded with zeros; and their inverse norms.
template <class T>
void pack_columns(const T* prototypes, int64_t cells, int64_t width, T* by_column, T* inverse_norms) {
  const int64_t columns = round_up(cells, kPad);
  std::fill(by_column, by_column + width * columns, T(0));
  for (int64_t k = 0; k < cells; ++k) {
    const T* p = prototypes + k * width;
    T square[8] = {};
    int64_t d = 0;
    for (; d + 8 <= width; d += 8)
      for (int i = 0; i < 8; ++i) square[i] += p[d + i] * p[d + i];
    for (; d < width; ++d) square[0] += p[d] * p[d];
    T total = 0;
    for (T x : square) total += x;
    inverse_norms[k] = inverse_norm(total);
    for (d = 0; d < width; ++d) by_column[d * columns + k] = p[d] * inverse_norms[k];
  }
}

// Rows padded with zeros to a multiple of kPad columns; the rows themselves where that is no change.
template <class T>
const T* pad_rows(const T* rows, int64_t count, int64_t width, T* room) {
  const int64_t padded = round_up(width, kPad);
  if (padded == width) return rows;
  for (int64_t k = 0; k < count; ++k) {
    std::copy(rows + k * width, rows + (k + 1) * width, room + k * padded);
    std::fill(room + k * padded + width, room + (k + 1) * padded, T(0));
  }
  return room;
}

void check_labels(const Tensor& labels, int64_t classes) {
  const int64_t* values = labels.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < labels.numel(); ++i)
    STD_TORCH_CHECK(values[i] >= 0 && values[i] < classes, "labels must lie in 0..", classes - 1,
                    ", found ", values[i], " in row ", i);
}

using RowResults = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

RowResults rows(const Tensor& features_in, const Tensor& prototypes_in, const Tensor& cells_in,
                const Tensor& labels_in, double tau, int64_t classes, int64_t chunk) {
  const int64_t B = features_in.size(0), D = features_in.size(1), K = prototypes_in.size(0);
  STD_TORCH_CHECK(chunk > 0 && classes > 0 && classes <= kMaxClasses, "chunk or num_classes out of range");
  const ScalarType wide = wide_type(features_in);
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor prototypes = given(prototypes_in, wide, {K, D}, "prototypes");
  const Tensor cells = given(cells_in, wide, {B, K}, "target_cells");
  const Tensor labels = given(labels_in, ScalarType::Long, {B}, "labels");
  check_labels(labels, classes);
  const int64_t P = (B + chunk - 1) / chunk;
  Tensor sums = make(features, {P, classes, D}, wide), counts = make(features, {P, classes}, wide);
  Tensor losses = make(features, {P}, wide);
  Tensor unit = make(features, {B, K}, wide), stats = make(features, {B, 2}, wide);
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const int64_t padded = round_up(D, kPad), columns = round_up(K, kPad);
    T* by_column = scratch<T>(0, (D + 1) * columns);
    T* inverse_norms = by_column + D * columns;
    pack_columns(static_cast<const T*>(prototypes.const_data_ptr()), K, D, by_column, inverse_norms);
    const Rows<In, T> a{static_cast<const In*>(features.const_data_ptr()), by_column,
                        static_cast<const T*>(cells.const_data_ptr()), inverse_norms,
                        labels.const_data_ptr<int64_t>(), B, D, K, chunk, classes, T(1.0 / tau),
                        static_cast<T*>(sums.mutable_data_ptr()),
                        static_cast<T*>(counts.mutable_data_ptr()),
                        static_cast<T*>(losses.mutable_data_ptr()),
                        static_cast<T*>(unit.mutable_data_ptr()),
                        static_cast<T*>(stats.mutable_data_ptr())};
    torch::stable::parallel_for(0, P, 1, [&](int64_t begin, int64_t end) {
      const int64_t room = 8 * padded + 9 * columns + classes * padded;
      T* own = scratch<T>(1, room);
      for (int64_t chunk_index = begin; chunk_index < end; ++chunk_index)
        rows_kernel<T>(a, chunk_index, own);
    });
  });
  return {sums, counts, losses, unit, stats};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> classes(const Tensor& sums_in, const Tensor& counts_in,
                                                   const Tensor& losses_in, int64_t batch,
                                                   double variance_cap, double margin,
                                                   int64_t high_valence) {
  const int64_t P = sums_in.size(0), C = sums_in.size(1), D = sums_in.size(2);
  STD_TORCH_CHECK(C > 0 && C <= kMaxClasses, "num_classes out of range");
  const ScalarType wide = wide_type(sums_in);
  const Tensor sums = as(sums_in, wide), counts = given(counts_in, wide, {P, C}, "counts");
  const Tensor losses = given(losses_in, wide, {P}, "losses");
  Tensor proto = make(sums, {}, wide), cap = make(sums, {}, wide), spread = make(sums, {}, wide);
  Tensor pull = make(sums, {2, C, D}, wide);
  auto run = [&](auto zero) {
    using T = decltype(zero);
    T values[3], count[kMaxClasses];
    Classes<T> a{static_cast<const T*>(sums.const_data_ptr()),
                 static_cast<const T*>(counts.const_data_ptr()),
                 static_cast<const T*>(losses.const_data_ptr()), P, batch, C, D,
                 scratch<T>(0, C * D), count, values,
                 static_cast<T*>(pull.mutable_data_ptr()),
                 Geometry{int(C), variance_cap, margin, uint64_t(high_valence)}};
    torch::stable::parallel_for(0, C, P * D < 8192 ? C : 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) mean_kernel<T>(a, c);
    });
    classes_kernel<T>(a);
    *static_cast<T*>(proto.mutable_data_ptr()) = values[0];
    *static_cast<T*>(cap.mutable_data_ptr()) = values[1];
    *static_cast<T*>(spread.mutable_data_ptr()) = values[2];
  };
  if (wide == ScalarType::Double) run(double{});
  else run(float{});
  return {proto, cap, spread, pull};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& features, const Tensor& prototypes, const Tensor& cells, const Tensor& labels,
    double tau, double variance_cap, double margin, int64_t high_valence, int64_t num_classes,
    int64_t chunk) {
  auto [sums, counts, losses, unit, stats] =
      rows(features, prototypes, cells, labels, tau, num_classes, chunk);
  auto [proto, cap, spread, pull] =
      classes(sums, counts, losses, features.size(0), variance_cap, margin, high_valence);
  return {proto, cap, spread, unit, stats, pull};
}

Tensor backward(const Tensor& grad_proto, const Tensor& grad_cap, const Tensor& grad_margin,
                const Tensor& features_in, const Tensor& prototypes_in, const Tensor& labels_in,
                const Tensor& unit_in, const Tensor& stats_in, const Tensor& pull_in) {
  const int64_t B = features_in.size(0), D = features_in.size(1), K = prototypes_in.size(0);
  const int64_t C = pull_in.size(1);
  const ScalarType wide = wide_type(features_in);
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor prototypes = given(prototypes_in, wide, {K, D}, "prototypes");
  const Tensor labels = given(labels_in, ScalarType::Long, {B}, "labels");
  const Tensor unit = given(unit_in, wide, {B, K}, "unit");
  const Tensor stats = given(stats_in, wide, {B, 2}, "row_stats");
  const Tensor pull = given(pull_in, wide, {2, C, D}, "pull");
  check_labels(labels, C);
  const Tensor gp = given(grad_proto, wide, {}, "grad_proto");
  const Tensor gc = given(grad_cap, wide, {}, "grad_cap");
  const Tensor gm = given(grad_margin, wide, {}, "grad_margin");
  Tensor gradient = make(features, {B, D}, features.scalar_type());
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const int64_t padded = round_up(D, kPad);
    const T* by_row = pad_rows(static_cast<const T*>(prototypes.const_data_ptr()), K, D,
                               scratch<T>(0, K * padded));
    T* weighted = scratch<T>(2, C * padded);
    const T* pulls = static_cast<const T*>(pull.const_data_ptr());
    const T weights[2] = {*static_cast<const T*>(gc.const_data_ptr()),
                          *static_cast<const T*>(gm.const_data_ptr())};
    for (int64_t c = 0; c < C; ++c)
      for (int64_t d = 0; d < padded; ++d)
        weighted[c * padded + d] =
            d < D ? weights[0] * pulls[c * D + d] + weights[1] * pulls[(C + c) * D + d] : T(0);
    const Backward<In, T> a{static_cast<const In*>(features.const_data_ptr()), by_row,
                            static_cast<const T*>(unit.const_data_ptr()),
                            static_cast<const T*>(stats.const_data_ptr()), weighted,
                            labels.const_data_ptr<int64_t>(), B, D, K,
                            *static_cast<const T*>(gp.const_data_ptr()),
                            static_cast<In*>(gradient.mutable_data_ptr())};
    // Rows are independent here, so the split over threads may follow their number.
    torch::stable::parallel_for(0, (B + 23) / 24, 1, [&](int64_t begin, int64_t end) {
      T* own = scratch<T>(1, 16 * padded + 8 * K);
      backward_kernel<T>(a, begin * 24, std::min(end * 24, B), own);
    });
  });
  return gradient;
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("proto_geo_loss", TORCH_BOX(&ng::forward));
  m.impl("proto_geo_loss_rows", TORCH_BOX(&ng::rows));
  m.impl("proto_geo_loss_classes", TORCH_BOX(&ng::classes));
  m.impl("proto_geo_loss_backward", TORCH_BOX(&ng::backward));
}
