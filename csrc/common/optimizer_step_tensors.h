// optimizer_step's tensors, checked, for both kinds of kernel.
#pragma once

#include <vector>

#include "tensors.h"

namespace ng {
namespace {

// One parameter and what belongs to it, as plain memory: all have its layout, so that element i of one
// goes with element i of the others whatever the order of the dimensions.
struct Slot {
  float* weight;
  const float* gradient;
  float *mean, *square;  // exponential moving averages of the gradient and of its square
  float* average;        // of the weights; null: none is kept
  float* step;
  int64_t size;
  bool aligned;  // float4 by float4, to the end
};

// Refuses what cannot be walked through from its first element to its last.
inline void check_dense(const Tensor& t, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == ScalarType::Float, name, " must be of float32");
  int64_t last = 0;
  for (int64_t d = 0; d < t.dim(); ++d) last += (t.size(d) - 1) * t.stride(d);
  STD_TORCH_CHECK(t.numel() == 0 || last + 1 == t.numel(), name, " must have no gaps in memory");
}

inline void check_like(const Tensor& t, const Tensor& parameter, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == ScalarType::Float, name, " must be of float32");
  bool same = t.dim() == parameter.dim() &&
              t.get_device_index() == parameter.get_device_index();
  for (int64_t d = 0; same && d < t.dim(); ++d)
    same = t.size(d) == parameter.size(d) &&
           (t.stride(d) == parameter.stride(d) || t.size(d) == 1 || t.numel() == 0);
  STD_TORCH_CHECK(same, name, " must have its parameter's shape, layout and device");
}

inline void check_scalar(const Tensor& t, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == ScalarType::Float && t.numel() == 1 &&
                      t.get_device_index() == like.get_device_index(),
                  name, " must be one float32 on the parameters' device");
}

// A step's own numbers, where they lie: those of a GPU are never read on the host.
struct Scalars {
  const float *rate, *norm, *skip, *follow;
};

inline Scalars optimizer_scalars(const Tensor& rate, const Tensor& norm, const Tensor& skip,
                                 const Tensor& follow, const Tensor& like) {
  for (const Tensor* t : {&rate, &norm, &skip, &follow}) check_scalar(*t, like, "a scalar");
  return {data<float>(rate), data<float>(norm), data<float>(skip), data<float>(follow)};
}

using Tensors = std::vector<Tensor>;

inline std::vector<Slot> optimizer_slots(const Tensors& parameters, const Tensors& gradients,
                                         const Tensors& means, const Tensors& squares,
                                         const Tensors& averages, const Tensors& steps) {
  const size_t n = parameters.size();
  STD_TORCH_CHECK(gradients.size() == n && means.size() == n && squares.size() == n &&
                      averages.size() == n && steps.size() == n,
                  "every parameter needs a gradient, two moments, an average and a step");
  std::vector<Slot> slots;
  slots.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const Tensor& p = parameters[i];
    check_dense(p, "a parameter");
    STD_TORCH_CHECK(p.get_device_index() == parameters[0].get_device_index(),
                    "parameters must be on one device");
    check_like(gradients[i], p, "a gradient");
    check_like(means[i], p, "a mean of gradients");
    check_like(squares[i], p, "a mean of squares");
    check_scalar(steps[i], p, "a step");
    const bool averaged = averages[i].numel() > 0;
    if (averaged) check_like(averages[i], p, "an average");
    Slot s{mutable_data<float>(p),
           data<float>(gradients[i]),
           mutable_data<float>(means[i]),
           mutable_data<float>(squares[i]),
           averaged ? mutable_data<float>(averages[i]) : nullptr,
           mutable_data<float>(steps[i]),
           p.numel(),
           false};
    const size_t together = reinterpret_cast<size_t>(s.weight) |
                            reinterpret_cast<size_t>(s.gradient) |
                            reinterpret_cast<size_t>(s.mean) | reinterpret_cast<size_t>(s.square) |
                            reinterpret_cast<size_t>(s.average);
    s.aligned = together % 16 == 0 && s.size % 4 == 0;
    slots.push_back(s);
  }
  return slots;
}

inline void check_gradients(const Tensors& gradients) {
  STD_TORCH_CHECK(!gradients.empty(), "there is no gradient");
  for (const Tensor& g : gradients) {
    check_dense(g, "a gradient");
    STD_TORCH_CHECK(g.get_device_index() == gradients[0].get_device_index(),
                    "gradients must be on one device");
  }
}

}  // namespace
}  // namespace ng
