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

// The dtype an operator computes in: float64 for float64 input, otherwise float32.
inline ScalarType opmath_type(const Tensor& t) {
  return t.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// `t` as this dtype and contiguous; `t` itself where it is both already.
inline Tensor contiguous(const Tensor& t, ScalarType type) {
  Tensor cast = t.scalar_type() == type ? t : torch::stable::to(t, type);
  return torch::stable::contiguous(cast);
}

// An uninitialised tensor on the device of `like`.
inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
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

// `t` as this dtype and contiguous, once its shape is known to be right.
inline Tensor checked(const Tensor& t, ScalarType type, std::initializer_list<int64_t> sizes,
                      const char* name) {
  check_shape(t, sizes, name);
  return contiguous(t, type);
}

// The elements of `t` as T, which the caller knows to be its dtype. torch's own accessors do not
// know the half types of half.h.
template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <class T>
T* mutable_data(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// Calls f with a value of the C++ type that `type` names.
template <class F>
void with_float_type(ScalarType type, F&& f) {
  switch (type) {
    case ScalarType::Double: return f(double{});
    case ScalarType::Half: return f(f16{});
    case ScalarType::BFloat16: return f(bf16{});
    default: break;
  }
  STD_TORCH_CHECK(type == ScalarType::Float, "a floating dtype is needed");
  f(float{});
}

// The same for a result of opmath_type.
template <class F>
void with_opmath_type(ScalarType type, F&& f) {
  if (type == ScalarType::Double) f(double{});
  else f(float{});
}

}  // namespace ng
