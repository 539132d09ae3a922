// proto_geo_loss's tensors, checked and allocated, for both kinds of kernel. The letters are those of
// reference/proto_geo_loss.py: B rows of width D, K prototypes, C classes; P parts of the batch.
#pragma once

#include <tuple>

#include "proto_geo_math.h"
#include "tensors.h"

namespace ng {
namespace {

// First stage: what each row gives, and the class sums of each part of the batch.
struct ProtoGeoRows {
  int64_t batch, width, cells, classes, chunk, parts;  // `chunk` rows make a part
  Tensor features, prototypes, target_cells, labels;
  Tensor sums, counts, losses, unit, row_stats;  // results

  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> results() const {
    return {sums, counts, losses, unit, row_stats};
  }
};

inline ProtoGeoRows proto_geo_rows(const Tensor& features, const Tensor& prototypes,
                                   const Tensor& target_cells, const Tensor& labels,
                                   int64_t classes, int64_t chunk) {
  const int64_t B = features.size(0), D = features.size(1), K = prototypes.size(0);
  STD_TORCH_CHECK(chunk > 0 && classes > 0 && classes <= kMaxClasses,
                  "chunk or num_classes out of range");
  const int64_t P = (B + chunk - 1) / chunk;
  const ScalarType opmath = opmath_type(features);
  return {
      .batch = B,
      .width = D,
      .cells = K,
      .classes = classes,
      .chunk = chunk,
      .parts = P,
      .features = torch::stable::contiguous(features),
      .prototypes = checked(prototypes, opmath, {K, D}, "prototypes"),
      .target_cells = checked(target_cells, opmath, {B, K}, "target_cells"),
      .labels = checked(labels, ScalarType::Long, {B}, "labels"),
      .sums = empty(features, {P, classes, D}, opmath),
      .counts = empty(features, {P, classes}, opmath),
      .losses = empty(features, {P}, opmath),
      .unit = empty(features, {B, K}, opmath),
      .row_stats = empty(features, {B, 2}, opmath),
  };
}

// Second stage: the class means of the whole batch and what they cost.
struct ProtoGeoClasses {
  int64_t batch, parts, classes, width;
  ScalarType opmath;
  Geometry geometry;
  Tensor sums, counts, losses;
  Tensor proto, cap, margin, pull;  // results

  std::tuple<Tensor, Tensor, Tensor, Tensor> results() const { return {proto, cap, margin, pull}; }
};

inline ProtoGeoClasses proto_geo_classes(const Tensor& sums, const Tensor& counts,
                                         const Tensor& losses, int64_t batch, double variance_cap,
                                         double margin, int64_t high_valence) {
  const int64_t P = sums.size(0), C = sums.size(1), D = sums.size(2);
  STD_TORCH_CHECK(C > 0 && C <= kMaxClasses, "num_classes out of range");
  const ScalarType opmath = opmath_type(sums);
  return {
      .batch = batch,
      .parts = P,
      .classes = C,
      .width = D,
      .opmath = opmath,
      .geometry = Geometry{int(C), variance_cap, margin, uint64_t(high_valence)},
      .sums = contiguous(sums, opmath),
      .counts = checked(counts, opmath, {P, C}, "counts"),
      .losses = checked(losses, opmath, {P}, "losses"),
      .proto = empty(sums, {}, opmath),
      .cap = empty(sums, {}, opmath),
      .margin = empty(sums, {}, opmath),
      .pull = empty(sums, {2, C, D}, opmath),
  };
}

struct ProtoGeoGradients {
  int64_t batch, width, cells, classes;
  Tensor features, prototypes, labels, unit, row_stats, pull;
  Tensor grad_proto, grad_cap, grad_margin;
  Tensor gradient;  // the result, in the dtype of the features
};

inline ProtoGeoGradients proto_geo_gradients(const Tensor& grad_proto, const Tensor& grad_cap,
                                             const Tensor& grad_margin, const Tensor& features,
                                             const Tensor& prototypes, const Tensor& labels,
                                             const Tensor& unit, const Tensor& row_stats,
                                             const Tensor& pull) {
  const int64_t B = features.size(0), D = features.size(1), K = prototypes.size(0);
  const int64_t C = pull.size(1);
  const ScalarType opmath = opmath_type(features);
  return {
      .batch = B,
      .width = D,
      .cells = K,
      .classes = C,
      .features = torch::stable::contiguous(features),
      .prototypes = checked(prototypes, opmath, {K, D}, "prototypes"),
      .labels = checked(labels, ScalarType::Long, {B}, "labels"),
      .unit = checked(unit, opmath, {B, K}, "unit"),
      .row_stats = checked(row_stats, opmath, {B, 2}, "row_stats"),
      .pull = checked(pull, opmath, {2, C, D}, "pull"),
      .grad_proto = checked(grad_proto, opmath, {}, "grad_proto"),
      .grad_cap = checked(grad_cap, opmath, {}, "grad_cap"),
      .grad_margin = checked(grad_margin, opmath, {}, "grad_margin"),
      .gradient = empty(features, {B, D}, features.scalar_type()),
  };
}

}  // namespace
}  // namespace ng
