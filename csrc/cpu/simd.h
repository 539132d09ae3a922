// Vectors of one width per instruction set, and the choice between instruction sets at run time.
//
// A kernel is one always-inlined template `body<T, BYTES>`; NG_FOR_EACH_LEVEL compiles it once per
// instruction set and picks one by what the processor offers, so a portable wheel is fast too. Nothing
// from the C++ library may be called inside a body: its inline functions could be compiled for
// AVX-512 and then be shared, by the linker, with code for any machine.
#pragma once

#include <cstdint>

#include "host_device.h"

#define NG_INLINE inline __attribute__((always_inline))

namespace ng {

enum class Level { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best level of this processor, or the lower one NEUROGAZE_CPU_LEVEL asks for.
Level cpu_level();

template <class T, int BYTES>
struct Simd {
  typedef T Vector __attribute__((vector_size(BYTES)));
  static constexpr int W = BYTES / int(sizeof(T));

  static NG_INLINE Vector load(const T* p) {
    Vector v;
    __builtin_memcpy(&v, p, BYTES);
    return v;
  }
  static NG_INLINE void store(T* p, Vector v) { __builtin_memcpy(p, &v, BYTES); }
  // Past the caches, to where nothing is read again soon: `p` must be aligned to BYTES, and a thread
  // ends with stream_fence(). As assembler, because an intrinsic cannot be inlined into a function of
  // another instruction set, as a body is before it is inlined itself.
  static NG_INLINE void stream(T* p, Vector v) {
#if defined(__x86_64__)
    if constexpr (BYTES == 16) asm volatile("movntps %1, %0" : "=m"(*(Vector*)p) : "x"(v));
    else asm volatile("vmovntps %1, %0" : "=m"(*(Vector*)p) : "v"(v));
#else
    store(p, v);
#endif
  }
  static NG_INLINE T sum(Vector v) {
    T total = v[0];
    for (int i = 1; i < W; ++i) total += v[i];
    return total;
  }
};

inline void stream_fence() {
#if defined(__x86_64__)
  asm volatile("sfence" ::: "memory");
#endif
}

// C[R][V] (vectors of columns) = A[R][depth] * B[depth][columns]: a tile that stays in registers.
// Row r of A starts at a + r * a_stride; B's row d at b + d * b_stride.
template <class T, int BYTES, int R, int V>
NG_INLINE void multiply_tile(const T* a, int64_t a_stride, const T* b, int64_t b_stride,
                             int64_t depth, typename Simd<T, BYTES>::Vector (&c)[R][V]) {
  using S = Simd<T, BYTES>;
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) c[r][v] = typename S::Vector{};
  for (int64_t d = 0; d < depth; ++d) {
    typename S::Vector row[V];
    for (int v = 0; v < V; ++v) row[v] = S::load(b + d * b_stride + v * S::W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const T x = a[r * a_stride + d];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) c[r][v] += x * row[v];
    }
  }
}

// Rows of A a tile holds: 2 R vectors must fit the registers (32 with AVX-512, otherwise 16).
constexpr int tile_rows(int bytes) { return bytes == 64 ? 8 : 6; }

constexpr int64_t round_up(int64_t n, int64_t m) { return (n + m - 1) / m * m; }

}  // namespace ng

#if defined(__x86_64__) || defined(_M_X64)
#define NG_AVX2 __attribute__((target("avx2,fma,bmi2")))
#define NG_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2,prefer-vector-width=512")))
// Defines NAME<T>(arguments): `body<T, BYTES>(arguments)` for the level of this processor.
#define NG_FOR_EACH_LEVEL(NAME, BODY)                                             \
  template <class T, class... A>                                                       \
  NG_AVX512 void NAME##_avx512(A... a) { BODY<T, 64>(a...); }                          \
  template <class T, class... A>                                                       \
  NG_AVX2 void NAME##_avx2(A... a) { BODY<T, 32>(a...); }                              \
  template <class T, class... A>                                                       \
  void NAME(A... a) {                                                                  \
    switch (cpu_level()) {                                                             \
      case Level::kAvx512: return NAME##_avx512<T>(a...);                              \
      case Level::kAvx2: return NAME##_avx2<T>(a...);                                  \
      case Level::kBaseline: break;                                                    \
    }                                                                                  \
    BODY<T, 16>(a...);                                                                 \
  }
#else
#define NG_FOR_EACH_LEVEL(NAME, BODY)        \
  template <class T, class... A>             \
  void NAME(A... a) { BODY<T, 16>(a...); }
#endif
