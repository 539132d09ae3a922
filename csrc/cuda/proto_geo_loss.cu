// Proto-KD and D-Geo on CUDA: three launches, forward (rows, classes) and backward together.
//
// rows: one warp works on four rows at a time, each lane on four neighbouring columns, prototypes in
// shared memory; class sums are made per block, each column owned by one thread, so no atomics are
// needed and the order of every sum is fixed. classes: each block adds 32 columns over the blocks of
// `rows`; the last one to finish turns the Gram matrix of the class means into the two terms and their
// gradients. backward: the tile of `rows` the other way round.
#include <tuple>

#include "proto_geo_loss_kernels.cuh"
#include "proto_geo_loss_tensors.h"

namespace ng {
namespace {

template <class... P>
bool all_aligned(int64_t width, P... pointers) {
  return width % 4 == 0 && ((reinterpret_cast<size_t>(pointers) % 16 == 0) && ...);
}

// `finished` counts the blocks of `classes` that are done; the kernel of `rows` sets it to 0.
ProtoGeoRows rows_on(const OnDevice& device, const Tensor& features, const Tensor& prototypes,
                     const Tensor& cells, const Tensor& labels, double tau, int64_t classes,
                     int64_t chunk, const Tensor& finished) {
  const ProtoGeoRows t = proto_geo_rows(features, prototypes, cells, labels, classes, chunk);
  STD_TORCH_CHECK(t.batch > 0 && t.width > 0 && t.cells > 0 && t.cells <= kMaxCells,
                  "proto_geo_loss: a size is out of range");
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const bool aligned = all_aligned(t.width, data<In>(t.features), data<T>(t.prototypes));
    const Rows<In, T> a{data<In>(t.features),      data<T>(t.prototypes),
                        data<T>(t.target_cells),   data<int64_t>(t.labels),
                        t.batch,                   t.width,
                        t.cells,                   chunk,
                        int(classes),              aligned,
                        T(1.0 / tau),              mutable_data<T>(t.sums),
                        mutable_data<T>(t.counts), mutable_data<T>(t.losses),
                        mutable_data<T>(t.unit),   mutable_data<T>(t.row_stats),
                        mutable_data<int>(finished)};
    NG_LAUNCH((rows_kernel<In, T>), dim3(unsigned(t.parts)), dim3(kThreads), 0, device.stream(), a);
  });
  return t;
}

ProtoGeoClasses classes_on(const OnDevice& device, const Tensor& sums, const Tensor& counts,
                           const Tensor& losses, int64_t batch, double variance_cap, double margin,
                           int64_t high_valence, const Tensor& finished) {
  const ProtoGeoClasses t =
      proto_geo_classes(sums, counts, losses, batch, variance_cap, margin, high_valence);
  const int64_t C = t.classes, blocks = (t.width + 31) / 32;
  const Tensor mean = empty(sums, {C, t.width}, t.opmath);
  const Tensor gram = empty(sums, {blocks, C, C}, t.opmath);
  with_opmath_type(t.opmath, [&](auto zero) {
    using T = decltype(zero);
    const Classes<T> a{data<T>(t.sums),           data<T>(t.counts),
                       data<T>(t.losses),         t.parts,
                       batch,                     t.width,
                       mutable_data<T>(mean),     mutable_data<T>(gram),
                       mutable_data<T>(t.pull),   mutable_data<T>(t.proto),
                       mutable_data<T>(t.cap),    mutable_data<T>(t.margin),
                       mutable_data<int>(finished), t.geometry};
    NG_LAUNCH((classes_kernel<T>), dim3(unsigned(blocks)), dim3(kClassThreads), 0, device.stream(),
              a);
  });
  return t;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> rows(
    const Tensor& features, const Tensor& prototypes, const Tensor& cells, const Tensor& labels,
    double tau, int64_t classes, int64_t chunk) {
  const OnDevice device(features);
  const Tensor finished = empty(features, {1}, ScalarType::Int);
  return rows_on(device, features, prototypes, cells, labels, tau, classes, chunk, finished)
      .results();
}

std::tuple<Tensor, Tensor, Tensor, Tensor> classes(const Tensor& sums, const Tensor& counts,
                                                   const Tensor& losses, int64_t batch,
                                                   double variance_cap, double margin,
                                                   int64_t high_valence) {
  const OnDevice device(sums);
  const Tensor finished = torch::stable::new_zeros(sums, {1}, ScalarType::Int);
  return classes_on(device, sums, counts, losses, batch, variance_cap, margin, high_valence,
                    finished)
      .results();
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& features, const Tensor& prototypes, const Tensor& cells, const Tensor& labels,
    double tau, double variance_cap, double margin, int64_t high_valence, int64_t num_classes,
    int64_t chunk) {
  const OnDevice device(features);
  const Tensor finished = empty(features, {1}, ScalarType::Int);
  const ProtoGeoRows r = rows_on(device, features, prototypes, cells, labels, tau, num_classes,
                                 chunk, finished);
  const ProtoGeoClasses c = classes_on(device, r.sums, r.counts, r.losses, r.batch, variance_cap,
                                       margin, high_valence, finished);
  return {c.proto, c.cap, c.margin, r.unit, r.row_stats, c.pull};
}

Tensor backward(const Tensor& grad_proto, const Tensor& grad_cap, const Tensor& grad_margin,
                const Tensor& features, const Tensor& prototypes, const Tensor& labels,
                const Tensor& unit, const Tensor& row_stats, const Tensor& pull) {
  const OnDevice device(features);
  const ProtoGeoGradients t = proto_geo_gradients(grad_proto, grad_cap, grad_margin, features,
                                                  prototypes, labels, unit, row_stats, pull);
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const bool aligned =
        all_aligned(t.width, data<In>(t.features), data<T>(t.prototypes), data<T>(t.pull));
    const Backward<In, T> a{data<In>(t.features),    data<T>(t.prototypes),
                            data<T>(t.unit),         data<T>(t.row_stats),
                            data<T>(t.pull),         data<T>(t.grad_proto),
                            data<T>(t.grad_cap),     data<T>(t.grad_margin),
                            data<int64_t>(t.labels), t.batch,
                            t.width,                 t.cells,
                            int(t.classes),          aligned,
                            mutable_data<In>(t.gradient)};
    NG_LAUNCH((backward_kernel<In, T>), dim3(unsigned((t.batch + kGroup - 1) / kGroup)),
              dim3(kThreads), 0, device.stream(), a);
  });
  return t.gradient;
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) {
  m.impl("proto_geo_loss", TORCH_BOX(&ng::forward));
  m.impl("proto_geo_loss_rows", TORCH_BOX(&ng::rows));
  m.impl("proto_geo_loss_classes", TORCH_BOX(&ng::classes));
  m.impl("proto_geo_loss_backward", TORCH_BOX(&ng::backward));
}
