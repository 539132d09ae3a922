// The arithmetic of topomap that both back ends share; formulas in reference/topomap.py.
#pragma once

#include "fast_math.h"
#include "host_device.h"

namespace ng {

// A map is matrix * ((v - shift) * scale) + offset inside the mask: because it is linear in v, its
// mean and variance over the mask follow from C + 1 numbers (eeg/interpolation.py), so z-scoring
// needs no pass over pixels.
template <class T>
struct MapScale {
  T shift, scale, offset;
};

// `mean` and `variance`: of the map of (v - shift); `largest`: of |v|.
template <class T>
NG_HD MapScale<T> zscore_scale(T shift, T mean, T variance, T largest) {
  const T rounding = T(1e-7) * largest;
  const T floor = rounding * rounding + T(1.17549435e-38);
  const T scale = T(1) / sqrt_of(variance < floor ? floor : variance);  // NaN stays NaN
  return {shift, scale, -mean * scale};
}

}  // namespace ng
