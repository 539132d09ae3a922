// exp, log and sqrt: the device's own there; on the host, branch-free so that loops over them
// vectorise (float), or the C library's (double).
#pragma once

#include <cmath>

#include "half.h"
#include "host_device.h"

namespace ng {

NG_HD double exp_of(double x) { return exp(x); }
NG_HD double log_of(double x) { return log(x); }
NG_HD double sqrt_of(double x) { return sqrt(x); }

#if NG_ON_DEVICE
NG_HD float exp_of(float x) { return expf(x); }
NG_HD float log_of(float x) { return logf(x); }
NG_HD float sqrt_of(float x) { return sqrtf(x); }
#else
NG_HD float sqrt_of(float x) { return __builtin_sqrtf(x); }

// exp(x) = 2^n exp(r), r in [-ln2/2, ln2/2]; Taylor's series to r^7, whose remainder is below half an
// ulp there. NaN passes through; below -87 the result is 0.
NG_HD float exp_of(float input) {
  float x = input < -87.0f ? -87.0f : input;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  const float value = (p + 1.0f) * bits_float((float_bits(shifted) + 127u) << 23);
  return input < -87.0f ? 0.0f : value;
}

// log(x) for x > 0 normal: x = 2^n m, m in [sqrt(1/2), sqrt(2)); 2 atanh((m - 1) / (m + 1)) to the
// ninth power. NaN and negative x give NaN; below 1.2e-38 (x log x is 0 there for every use here) the
// result is that of the exponent alone.
NG_HD float log_of(float x) {
  const uint32_t u = float_bits(x);
  const uint32_t e = u - 0x3f3504f3u;
  const float n = float(int32_t(e) >> 23);
  const float m = bits_float((e & 0x007fffffu) + 0x3f3504f3u);
  const float t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
  float p = 0.222222222f;
  p = p * t2 + 0.285714286f;
  p = p * t2 + 0.4f;
  p = p * t2 + 0.666666667f;
  p = p * t2 * t + 2.0f * t;
  const float value = n * 0.693145752f + (p + n * 1.42860677e-6f);
  return x >= 0.0f ? value : bits_float(0x7fc00000u);
}
#endif

// x log x with its limit 0 at 0, as torch.xlogy; NaN below 0.
template <class T>
NG_HD T x_log_x(T x) {
  const T value = x * log_of(x);
  return x == T(0) ? T(0) : value;
}

}  // namespace ng
