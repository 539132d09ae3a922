// The arithmetic of optimizer_step that both back ends share; formulas in reference/optimizer_step.py.
#pragma once

#include <cmath>

#include "fast_math.h"
#include "host_device.h"

namespace ng {

// What is the same for every element of a tensor. Worked out in float64, as torch does.
struct AdamW {
  float scale;             // of the gradient: 1, or less where its norm is clipped
  float keep;              // 1 - rate * weight decay
  float beta1, beta2, eps;
  float rate, root_scale;  // both corrected for the moments' start at zero
  float follow;            // share of the way that an average goes to the new weights
  bool skip;               // leave weights and moments alone
};

struct AdamWOptions {
  double weight_decay, beta1, beta2, eps, clip;
};

// `step`: number of the step that is made, from 1.
NG_HD AdamW adamw(const AdamWOptions& o, double step, double rate, double norm, bool skip,
                  double follow) {
  const double scale = o.clip / (norm + 1e-6);
  return {
      .scale = float(scale < 1.0 ? scale : 1.0),
      .keep = float(1.0 - rate * o.weight_decay),
      .beta1 = float(o.beta1),
      .beta2 = float(o.beta2),
      .eps = float(o.eps),
      .rate = float(rate / (1.0 - pow(o.beta1, step))),
      .root_scale = float(1.0 / sqrt(1.0 - pow(o.beta2, step))),
      .follow = float(follow),
      .skip = skip,
  };
}

NG_HD void adamw_element(const AdamW& a, float gradient, float& weight, float& mean,
                         float& square) {
  const float g = gradient * a.scale;
  mean += (1.0f - a.beta1) * (g - mean);
  square = a.beta2 * square + (1.0f - a.beta2) * g * g;
  weight = weight * a.keep - a.rate * mean / (sqrt_of(square) * a.root_scale + a.eps);
}

}  // namespace ng
