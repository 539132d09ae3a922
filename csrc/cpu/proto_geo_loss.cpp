// Proto-KD and D-Geo on the CPU: rows (norms, cosines, softmax, class sums), classes (means, cap,
// margin), backward. Definitions in neurogaze_fast/reference/proto_geo_loss.py.
//
// Sums over rows are made per chunk of rows and added in the order of the chunks, so the result does
// not depend on the number of threads.
#include <algorithm>
#include <tuple>

#include "proto_geo_loss_kernels.h"
#include "scratch.h"
#include "tensors.h"

namespace ng {
namespace {

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
