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

inline Tensor topomap_result(const Tensor& values, const Tensor& matrix, ScalarType dtype,
                             bool channels_last) {
  const int64_t N = values.size(0), F = values.size(1), P = matrix.size(1);
  return channels_last ? empty(values, {N, P, F}, dtype) : empty(values, {N, F, P}, dtype);
}

// `out`: of any floating dtype; what it holds is overwritten.
inline TopomapTensors topomap_tensors(const Tensor& values, const Tensor& matrix,
                                      const Tensor& mask, const Tensor& mean, const Tensor& factor,
                                      bool channels_last, const Tensor& out) {
  const int64_t N = values.size(0), F = values.size(1), C = values.size(2);
  const int64_t P = matrix.size(1);
  const ScalarType opmath = opmath_type(values);
  if (channels_last) check_shape(out, {N, P, F}, "out");
  else check_shape(out, {N, F, P}, "out");
  STD_TORCH_CHECK(out.is_contiguous() && out.get_device_index() == values.get_device_index(),
                  "out must be contiguous and on the values' device");
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
      .out = out,
  };
}

}  // namespace
}  // namespace ng
