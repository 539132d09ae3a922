// Proto-KD and D-Geo on the CPU: rows (norms, cosines, softmax, class sums), classes (means, cap,
// margin), backward. Definitions in neurogaze_fast/reference/proto_geo_loss.py.
//
// Sums over rows are made per chunk of rows and added in the order of the chunks, so the result does
// not depend on the number of threads.
#include <algorithm>
#include <tuple>

#include "proto_geo_loss_kernels.h"
#include "proto_geo_loss_tensors.h"
#include "scratch.h"

namespace ng {
namespace {

// Prototypes normalised and transposed to [D][Kp], padded with zeros; and their inverse norms.
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

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> rows(
    const Tensor& features, const Tensor& prototypes, const Tensor& cells, const Tensor& labels,
    double tau, int64_t classes, int64_t chunk) {
  const ProtoGeoRows t = proto_geo_rows(features, prototypes, cells, labels, classes, chunk);
  check_labels(t.labels, classes);
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const int64_t padded = round_up(t.width, kPad), columns = round_up(t.cells, kPad);
    T* by_column = scratch<T>(0, (t.width + 1) * columns);
    T* inverse_norms = by_column + t.width * columns;
    pack_columns(data<T>(t.prototypes), t.cells, t.width, by_column, inverse_norms);
    const Rows<In, T> a{data<In>(t.features),         by_column,
                        data<T>(t.target_cells),      inverse_norms,
                        data<int64_t>(t.labels),      t.batch,
                        t.width,                      t.cells,
                        chunk,                        classes,
                        T(1.0 / tau),                 mutable_data<T>(t.sums),
                        mutable_data<T>(t.counts),    mutable_data<T>(t.losses),
                        mutable_data<T>(t.unit),      mutable_data<T>(t.row_stats)};
    torch::stable::parallel_for(0, t.parts, 1, [&](int64_t begin, int64_t end) {
      T* block = scratch<T>(1, 8 * padded + 9 * columns + classes * padded);
      for (int64_t part = begin; part < end; ++part) rows_kernel<T>(a, part, block);
    });
  });
  return t.results();
}

std::tuple<Tensor, Tensor, Tensor, Tensor> classes(const Tensor& sums, const Tensor& counts,
                                                   const Tensor& losses, int64_t batch,
                                                   double variance_cap, double margin,
                                                   int64_t high_valence) {
  const ProtoGeoClasses t =
      proto_geo_classes(sums, counts, losses, batch, variance_cap, margin, high_valence);
  with_opmath_type(t.opmath, [&](auto zero) {
    using T = decltype(zero);
    const int64_t C = t.classes;
    T values[3], count[kMaxClasses];
    const Classes<T> a{data<T>(t.sums), data<T>(t.counts),
                       data<T>(t.losses), t.parts,
                       batch, C,
                       t.width, scratch<T>(0, C * t.width),
                       count, values,
                       mutable_data<T>(t.pull), t.geometry};
    const int64_t grain = t.parts * t.width < 8192 ? C : 1;
    torch::stable::parallel_for(0, C, grain, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) mean_kernel<T>(a, c);
    });
    classes_kernel<T>(a);
    *mutable_data<T>(t.proto) = values[0];
    *mutable_data<T>(t.cap) = values[1];
    *mutable_data<T>(t.margin) = values[2];
  });
  return t.results();
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& features, const Tensor& prototypes, const Tensor& cells, const Tensor& labels,
    double tau, double variance_cap, double margin, int64_t high_valence, int64_t num_classes,
    int64_t chunk) {
  const auto [sums, counts, losses, unit, row_stats] =
      rows(features, prototypes, cells, labels, tau, num_classes, chunk);
  const auto [proto, cap, margin_value, pull] =
      classes(sums, counts, losses, features.size(0), variance_cap, margin, high_valence);
  return {proto, cap, margin_value, unit, row_stats, pull};
}

Tensor backward(const Tensor& grad_proto, const Tensor& grad_cap, const Tensor& grad_margin,
                const Tensor& features, const Tensor& prototypes, const Tensor& labels,
                const Tensor& unit, const Tensor& row_stats, const Tensor& pull) {
  const ProtoGeoGradients t = proto_geo_gradients(grad_proto, grad_cap, grad_margin, features,
                                                  prototypes, labels, unit, row_stats, pull);
  check_labels(t.labels, t.classes);
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const int64_t C = t.classes, D = t.width, K = t.cells, padded = round_up(D, kPad);
    const T* by_row = pad_rows(data<T>(t.prototypes), K, D, scratch<T>(0, K * padded));
    T* weighted = scratch<T>(2, C * padded);
    const T *of_cap = data<T>(t.pull), *of_margin = of_cap + C * D;
    const T grad_cap = *data<T>(t.grad_cap), grad_margin = *data<T>(t.grad_margin);
    for (int64_t c = 0; c < C; ++c)
      for (int64_t d = 0; d < padded; ++d)
        weighted[c * padded + d] =
            d < D ? grad_cap * of_cap[c * D + d] + grad_margin * of_margin[c * D + d] : T(0);
    const Backward<In, T> a{data<In>(t.features), by_row,
                            data<T>(t.unit), data<T>(t.row_stats),
                            weighted, data<int64_t>(t.labels),
                            t.batch, D,
                            K, *data<T>(t.grad_proto),
                            mutable_data<In>(t.gradient)};
    // Rows are independent here, so the split over threads may follow their number.
    torch::stable::parallel_for(0, (t.batch + 23) / 24, 1, [&](int64_t begin, int64_t end) {
      T* block = scratch<T>(1, 16 * padded + 8 * K);
      backward_kernel<T>(a, begin * 24, std::min(end * 24, t.batch), block);
    });
  });
  return t.gradient;
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("proto_geo_loss", TORCH_BOX(&ng::forward));
  m.impl("proto_geo_loss_rows", TORCH_BOX(&ng::rows));
  m.impl("proto_geo_loss_classes", TORCH_BOX(&ng::classes));
  m.impl("proto_geo_loss_backward", TORCH_BOX(&ng::backward));
}
