// Small helpers over the stable ABI's tensors. The Python wrappers check shapes and give the typed
// errors; what is checked here guards memory against a direct call.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "half.h"

namespace ng {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline ScalarType wide_type(const Tensor& t) {
  return t.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Tensor as(const Tensor& t, ScalarType type) {
  Tensor cast = t.scalar_type() == type ? t : torch::stable::to(t, type);
  return torch::stable::contiguous(cast);
}

inline Tensor make(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, type);
}

inline void check_shape(const Tensor& t, std::initializer_list<int64_t> sizes, const char* name) {
  bool same = t.dim() == static_cast<int64_t>(sizes.size());
  int64_t d = 0;
  for (int64_t size : sizes) {
    same = same && t.size(d) == size;
    ++d;
  }
  STD_TORCH_CHECK(same, name, " does not have the shape the other arguments ask for");
}

// `t` as this dtype, contiguous, and of this shape.
inline Tensor given(const Tensor& t, ScalarType type, std::initializer_list<int64_t> sizes,
                    const char* name) {
  check_shape(t, sizes, name);
  return as(t, type);
}

// Calls f with a value of the C++ type that `type` names.
template <class F>
auto with_float_type(ScalarType type, F&& f) {
  switch (type) {
    case ScalarType::Double: return f(double{});
    case ScalarType::Half: return f(f16{});
    case ScalarType::BFloat16: return f(bf16{});
    default: break;
  }
  STD_TORCH_CHECK(type == ScalarType::Float, "a floating dtype is needed");
  return f(float{});
}

}  // namespace ng
