// The arithmetic of logit_loss that both back ends share; formulas in reference/logit_loss.py.
#pragma once

#include "fast_math.h"
#include "host_device.h"

namespace ng {

enum class Kd { kNone = 0, kMse = 1, kKl = 2 };

template <class T>
struct LogitOptions {
  int64_t batch;
  int classes;
  Kd kd;
  T smoothing, temperature;
};

// One class of the target, smoothed and weighted.
template <class T>
NG_HD T smoothed_target(const LogitOptions<T>& o, T target, T weight) {
  return (target * (T(1) - o.smoothing) + o.smoothing / T(o.classes)) * weight;
}

// d kd / d logit of one class; z and t are the logits (mse) or probabilities at temperature T (kl).
template <class T>
NG_HD T kd_gradient(const LogitOptions<T>& o, T z, T t) {
  return o.kd == Kd::kMse ? T(2) * (z - t) / (T(o.batch) * T(o.classes))
                          : o.temperature * (z - t) / T(o.batch);
}

// The factor from the sum over all rows to their mean.
template <class T>
NG_HD T kd_scale(const LogitOptions<T>& o) {
  return o.kd == Kd::kMse ? T(1) / (T(o.batch) * T(o.classes))
                          : o.temperature * o.temperature / T(o.batch);
}

}  // namespace ng
