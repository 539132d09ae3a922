// logit_loss's tensors, checked and allocated, for both kinds of kernel.
#pragma once

#include <tuple>

#include "logit_math.h"
#include "tensors.h"

namespace ng {
namespace {

struct LogitTensors {
  int64_t batch, classes;
  Kd kd;
  double smoothing, temperature;
  ScalarType opmath;
  Tensor logits, targets, weights, teacher;  // without distillation the teacher is never read
  Tensor ce, kd_loss, d_ce, d_kd;            // results; d_kd has no rows without distillation

  template <class T>
  LogitOptions<T> options() const {
    return {batch, int(classes), kd, T(smoothing), T(temperature)};
  }
  std::tuple<Tensor, Tensor, Tensor, Tensor> results() const { return {ce, kd_loss, d_ce, d_kd}; }
};

inline LogitTensors logit_tensors(const Tensor& logits, const Tensor& targets, const Tensor& weights,
                                  const std::optional<Tensor>& teacher, double smoothing,
                                  int64_t kd, double temperature) {
  const int64_t B = logits.size(0), C = logits.size(1);
  STD_TORCH_CHECK(B > 0 && C > 0, "logits must not be empty");
  const bool distils = teacher.has_value();
  const ScalarType opmath = opmath_type(logits);
  const Tensor target = checked(targets, opmath, {B, C}, "targets");
  return {
      .batch = B,
      .classes = C,
      .kd = distils ? Kd(kd) : Kd::kNone,
      .smoothing = smoothing,
      .temperature = temperature,
      .opmath = opmath,
      .logits = torch::stable::contiguous(logits),
      .targets = target,
      .weights = checked(weights, opmath, {C}, "class_weights"),
      .teacher = distils ? checked(*teacher, opmath, {B, C}, "teacher_logits") : target,
      .ce = empty(logits, {}, opmath),
      .kd_loss = empty(logits, {}, opmath),
      .d_ce = empty(logits, {B, C}, opmath),
      .d_kd = empty(logits, {distils ? B : 0, C}, opmath),
  };
}

// What the backward pass multiplies and adds, element by element.
struct LogitGradients {
  int64_t elements;
  bool distils;
  Tensor grad_ce, grad_kd, d_ce, d_kd;
  Tensor gradient;  // the result, in the dtype of the logits
};

inline LogitGradients logit_gradients(const Tensor& grad_ce, const Tensor& grad_kd,
                                      const Tensor& d_ce, const Tensor& d_kd,
                                      const Tensor& logits) {
  const int64_t B = logits.size(0), C = logits.size(1);
  const bool distils = d_kd.size(0) > 0;
  const ScalarType opmath = opmath_type(logits);
  return {
      .elements = B * C,
      .distils = distils,
      .grad_ce = checked(grad_ce, opmath, {}, "grad_ce"),
      .grad_kd = checked(grad_kd, opmath, {}, "grad_kd"),
      .d_ce = checked(d_ce, opmath, {B, C}, "d_ce"),
      .d_kd = checked(d_kd, opmath, {distils ? B : 0, C}, "d_kd"),
      .gradient = empty(logits, {B, C}, logits.scalar_type()),
  };
}

}  // namespace
}  // namespace ng
