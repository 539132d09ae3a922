// float16 and bfloat16 as plain bits, and the type that operators compute in ("opmath", as torch calls
// it): float64 for float64, float32 for the three others. Conversions have no branches, so that loops
// over them vectorise.
#pragma once

#include <cstdint>

#include "host_device.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace ng {

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

NG_HD uint32_t float_bits(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  return u;
}

NG_HD float bits_float(uint32_t u) {
  float x;
  __builtin_memcpy(&x, &u, 4);
  return x;
}

// To the type computed in.
NG_HD float to_opmath(float x) { return x; }
NG_HD double to_opmath(double x) { return x; }
NG_HD float to_opmath(bf16 x) { return bits_float(uint32_t(x.bits) << 16); }

NG_HD float to_opmath(f16 x) {
#if NG_ON_DEVICE
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16;
  const uint32_t rest = uint32_t(x.bits & 0x7fffu) << 13;
  // 2^112 moves the exponent from float16's bias to float32's, subnormals included.
  const float value = bits_float(rest) * 0x1p112f;
  // Infinity and NaN keep an exponent of all ones.
  const uint32_t special = rest >= 0x0f800000u ? 0x7f800000u : 0u;
  return bits_float(float_bits(value) | sign | special);
#endif
}

template <class T>
using opmath_t = decltype(to_opmath(T{}));

// And back, rounded to the type stored.
template <class To>
NG_HD To from_opmath(float x);

template <>
NG_HD float from_opmath<float>(float x) {
  return x;
}

template <>
NG_HD double from_opmath<double>(float x) {
  return x;
}

template <>
NG_HD bf16 from_opmath<bf16>(float x) {  // to nearest, ties to even
#if NG_ON_DEVICE
  return bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const uint32_t u = float_bits(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return bf16{uint16_t((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded)};
#endif
}

template <>
NG_HD f16 from_opmath<f16>(float x) {  // to nearest, ties to even
#if NG_ON_DEVICE
  return f16{__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t u = float_bits(x);
  const uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Adding 0.5 lets the float unit round a subnormal's bits into the lowest place.
  const uint32_t subnormal = float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t bits = magnitude < 0x38800000u ? subnormal : normal;
  bits = magnitude >= 0x477ff000u ? 0x7c00u : bits;  // rounds to infinity
  bits = magnitude > 0x7f800000u ? 0x7e00u : bits;   // NaN
  return f16{uint16_t(sign | bits)};
#endif
}

template <class To>
NG_HD To from_opmath(double x) {
  return from_opmath<To>(float(x));
}

template <>
NG_HD double from_opmath<double>(double x) {
  return x;
}

}  // namespace ng
