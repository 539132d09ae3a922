// topomap's tensors, checked and allocated, for both kinds of kernel.
#pragma once

#include "tensors.h"

namespace ng {
namespace {

struct TopomapTensors {
  int64_t windows, features, channels, pixels, maps;  // windows * features maps
  ScalarType opmath;
  Tensor values, matrix, mask, mean, factor;  // the mask is of bool, the others of `opmath`
  Tensor out;
};

inline TopomapTensors topomap_tensors(const Tensor& values, const Tensor& matrix,
                                      const Tensor& mask, const Tensor& mean, const Tensor& factor,
                                      ScalarType dtype, bool channels_last) {
  const int64_t N = values.size(0), F = values.size(1), C = values.size(2);
  const int64_t P = matrix.size(1);
  const ScalarType opmath = opmath_type(values);
  return {
      .windows = N,
      .features = F,
      .channels = C,
      .pixels = P,
      .maps = N * F,
      .opmath = opmath,
      .values = contiguous(values, opmath),  // few beside the pixels they become
      .matrix = checked(matrix, opmath, {C, P}, "matrix"),
      .mask = checked(mask, ScalarType::Bool, {P}, "mask"),
      .mean = checked(mean, opmath, {C + 1}, "mean"),
      .factor = checked(factor, opmath, {C + 1, C + 1}, "factor"),
      .out = channels_last ? empty(values, {N, P, F}, dtype) : empty(values, {N, F, P}, dtype),
  };
}

}  // namespace
}  // namespace ng
