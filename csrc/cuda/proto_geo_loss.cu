// Proto-KD and D-Geo on CUDA: three launches, forward (rows, classes) and backward together.
//
// rows: one warp works on four rows at a time, each lane on four neighbouring columns, prototypes in
// shared memory; class sums are made per block, each column owned by one thread, so no atomics are
// needed and the order of every sum is fixed. classes: each block adds 32 columns over the blocks of
// `rows`; the last one to finish turns the Gram matrix of the class means into the two terms and their
// gradients. backward: the tile of `rows` the other way round.
#include <tuple>

#include "proto_geo_loss_kernels.cuh"

namespace ng {
namespace {

template <class... P>
bool all_aligned(int64_t width, P... pointers) {
  return width % 4 == 0 && ((reinterpret_cast<size_t>(pointers) % 16 == 0) && ...);
}

using RowResults = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

RowResults rows_on(const OnDevice& device, const Tensor& features_in, const Tensor& prototypes_in,
                   const Tensor& cells_in, const Tensor& labels_in, double tau, int64_t classes,
                   int64_t chunk, Tensor& finished) {
  const int64_t B = features_in.size(0), D = features_in.size(1), K = prototypes_in.size(0);
  STD_TORCH_CHECK(B > 0 && D > 0 && chunk > 0 && classes > 0 && classes <= kMaxClasses &&
                      K > 0 && K <= kMaxCells,
                  "proto_geo_loss: a size is out of range");
  const ScalarType wide = wide_type(features_in);
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor prototypes = given(prototypes_in, wide, {K, D}, "prototypes");
  const Tensor cells = given(cells_in, wide, {B, K}, "target_cells");
  const Tensor labels = given(labels_in, ScalarType::Long, {B}, "labels");
  const int64_t P = (B + chunk - 1) / chunk;
  Tensor sums = make(features, {P, classes, D}, wide), counts = make(features, {P, classes}, wide);
  Tensor losses = make(features, {P}, wide);
  Tensor unit = make(features, {B, K}, wide), stats = make(features, {B, 2}, wide);
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const Rows<In, T> a{
        static_cast<const In*>(features.const_data_ptr()),
        static_cast<const T*>(prototypes.const_data_ptr()),
        static_cast<const T*>(cells.const_data_ptr()), labels.const_data_ptr<int64_t>(), B, D, K,
        chunk, int(classes), all_aligned(D, features.const_data_ptr(), prototypes.const_data_ptr()),
        T(1.0 / tau), static_cast<T*>(sums.mutable_data_ptr()),
        static_cast<T*>(counts.mutable_data_ptr()), static_cast<T*>(losses.mutable_data_ptr()),
        static_cast<T*>(unit.mutable_data_ptr()), static_cast<T*>(stats.mutable_data_ptr()),
        static_cast<int*>(finished.mutable_data_ptr())};
    NG_LAUNCH((rows_kernel<In, T>), dim3(unsigned(P)), dim3(kThreads), 0, device.stream(), a);
  });
  return {sums, counts, losses, unit, stats};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> classes_on(const OnDevice& device, const Tensor& sums_in,
                                                      const Tensor& counts_in,
                                                      const Tensor& losses_in, int64_t batch,
                                                      double variance_cap, double margin,
                                                      int64_t high_valence, Tensor& finished) {
  const int64_t P = sums_in.size(0), C = sums_in.size(1), D = sums_in.size(2);
  STD_TORCH_CHECK(C > 0 && C <= kMaxClasses, "num_classes out of range");
  const ScalarType wide = wide_type(sums_in);
  const Tensor sums = as(sums_in, wide), counts = given(counts_in, wide, {P, C}, "counts");
  const Tensor losses = given(losses_in, wide, {P}, "losses");
  const int64_t blocks = (D + 31) / 32;
  Tensor proto = make(sums, {}, wide), cap = make(sums, {}, wide), spread = make(sums, {}, wide);
  Tensor pull = make(sums, {2, C, D}, wide), mean = make(sums, {C, D}, wide);
  Tensor gram = make(sums, {blocks, C, C}, wide);
  auto run = [&](auto zero) {
    using T = decltype(zero);
    const Classes<T> a{
        static_cast<const T*>(sums.const_data_ptr()), static_cast<const T*>(counts.const_data_ptr()),
        static_cast<const T*>(losses.const_data_ptr()), P, batch, D,
        static_cast<T*>(mean.mutable_data_ptr()), static_cast<T*>(gram.mutable_data_ptr()),
        static_cast<T*>(pull.mutable_data_ptr()), static_cast<T*>(proto.mutable_data_ptr()),
        static_cast<T*>(cap.mutable_data_ptr()), static_cast<T*>(spread.mutable_data_ptr()),
        static_cast<int*>(finished.mutable_data_ptr()),
        Geometry{int(C), variance_cap, margin, uint64_t(high_valence)}};
    NG_LAUNCH((classes_kernel<T>), dim3(unsigned(blocks)), dim3(kClassThreads), 0, device.stream(),
              a);
  };
  if (wide == ScalarType::Double) run(double{});
  else run(float{});
  return {proto, cap, spread, pull};
}

RowResults rows(const Tensor& features, const Tensor& prototypes, const Tensor& cells,
                const Tensor& labels, double tau, int64_t classes, int64_t chunk) {
  const OnDevice device(features);
  Tensor finished = make(features, {1}, ScalarType::Int);
  return rows_on(device, features, prototypes, cells, labels, tau, classes, chunk, finished);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> classes(const Tensor& sums, const Tensor& counts,
                                                   const Tensor& losses, int64_t batch,
                                                   double variance_cap, double margin,
                                                   int64_t high_valence) {
  const OnDevice device(sums);
  Tensor finished = torch::stable::new_zeros(sums, {1}, ScalarType::Int);
  return classes_on(device, sums, counts, losses, batch, variance_cap, margin, high_valence,
                    finished);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& features, const Tensor& prototypes, const Tensor& cells, const Tensor& labels,
    double tau, double variance_cap, double margin, int64_t high_valence, int64_t num_classes,
    int64_t chunk) {
  const OnDevice device(features);
  Tensor finished = make(features, {1}, ScalarType::Int);  // the first kernel sets it to 0
  auto [sums, counts, losses, unit, stats] = rows_on(device, features, prototypes, cells, labels,
                                                     tau, num_classes, chunk, finished);
  auto [proto, cap, spread, pull] = classes_on(device, sums, counts, losses, features.size(0),
                                               variance_cap, margin, high_valence, finished);
  return {proto, cap, spread, unit, stats, pull};
}

Tensor backward(const Tensor& grad_proto, const Tensor& grad_cap, const Tensor& grad_margin,
                const Tensor& features_in, const Tensor& prototypes_in, const Tensor& labels_in,
                const Tensor& unit_in, const Tensor& stats_in, const Tensor& pull_in) {
  const OnDevice device(features_in);
  const int64_t B = features_in.size(0), D = features_in.size(1), K = prototypes_in.size(0);
  const int64_t C = pull_in.size(1);
  const ScalarType wide = wide_type(features_in);
  const Tensor features = torch::stable::contiguous(features_in);
  const Tensor prototypes = given(prototypes_in, wide, {K, D}, "prototypes");
  const Tensor labels = given(labels_in, ScalarType::Long, {B}, "labels");
  const Tensor unit = given(unit_in, wide, {B, K}, "unit");
  const Tensor stats = given(stats_in, wide, {B, 2}, "row_stats");
  const Tensor pull = given(pull_in, wide, {2, C, D}, "pull");
  const Tensor gp = given(grad_proto, wide, {}, "grad_proto");
  const Tensor gc = given(grad_cap, wide, {}, "grad_cap");
  const Tensor gm = given(grad_margin, wide, {}, "grad_margin");
  Tensor gradient = make(features, {B, D}, features.scalar_type());
  with_float_type(features.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const bool aligned = all_aligned(D, features.const_data_ptr(), prototypes.const_data_ptr(),
                                     pull.const_data_ptr());
    const Backward<In, T> a{
        static_cast<const In*>(features.const_data_ptr()),
        static_cast<const T*>(prototypes.const_data_ptr()),
        static_cast<const T*>(unit.const_data_ptr()), static_cast<const T*>(stats.const_data_ptr()),
        static_cast<const T*>(pull.const_data_ptr()), static_cast<const T*>(gp.const_data_ptr()),
        static_cast<const T*>(gc.const_data_ptr()), static_cast<const T*>(gm.const_data_ptr()),
        labels.const_data_ptr<int64_t>(), B, D, K, int(C), aligned,
        static_cast<In*>(gradient.mutable_data_ptr())};
    NG_LAUNCH((backward_kernel<In, T>), dim3(unsigned((B + kGroup - 1) / kGroup)), dim3(kThreads), 0,
              device.stream(), a);
  });
  return gradient;
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) {
  m.impl("proto_geo_loss", TORCH_BOX(&ng::forward));
  m.impl("proto_geo_loss_rows", TORCH_BOX(&ng::rows));
  m.impl("proto_geo_loss_classes", TORCH_BOX(&ng::classes));
  m.impl("proto_geo_loss_backward", TORCH_BOX(&ng::backward));
}
