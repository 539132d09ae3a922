// Four neighbouring values in one wide access to memory: a quarter of the instructions of four.
#pragma once

#include "half.h"
#include "host_device.h"

namespace ng {

// Up to 16 bytes, the widest access that a GPU has.
template <class T>
struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) Vector4 {
  T x[4];
};

// x[i] = from[i], and 0 from i = `left` on. `aligned`: `from` is aligned as a Vector4, and where any
// of the four is left, all are.
template <class T, class In>
NG_HD void load4(const In* from, int64_t left, bool aligned, T (&x)[4]) {
  if (aligned && left > 0) {
    const Vector4<In> four = *reinterpret_cast<const Vector4<In>*>(from);
    for (int i = 0; i < 4; ++i) x[i] = to_opmath(four.x[i]);
  } else {
    for (int i = 0; i < 4; ++i) x[i] = i < left ? T(to_opmath(from[i])) : T(0);
  }
}

// to[i] = x[i] for i < `left`; `aligned` as above.
template <class Out>
NG_HD void store4(Out* to, int64_t left, bool aligned, const Vector4<Out>& x) {
  if (aligned && left > 0) {
    *reinterpret_cast<Vector4<Out>*>(to) = x;
  } else {
    for (int i = 0; i < 4; ++i)
      if (i < left) to[i] = x.x[i];
  }
}

}  // namespace ng
