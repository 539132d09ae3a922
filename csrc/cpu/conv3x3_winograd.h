// Winograd's F(2x2, 3x3) for maps in channels-last bfloat16: the transforms and the products of
// conv3x3.cpp, in AVX-512 with its bfloat16 dot product. Without that instruction set nothing here is
// called.
//
// A tile is 2x2 results from 4x4 inputs, 16 products a channel instead of 36 (Lavin and Gray 2016). A
// "place" is one of the 16; at each place all tiles together are one matrix product.
#pragma once

#include <cstdint>

#include "half.h"
#include "simd.h"

#if defined(NG_AVX512)
#define NG_WINOGRAD 1

namespace ng {
namespace winograd {

constexpr int64_t kPlaces = 16;
constexpr int64_t kLane = 16;   // float32 values of a vector
constexpr int64_t kPanel = 32;  // columns of a product that are packed together
constexpr int kRows = 12;       // rows of a product whose sums stay in registers

typedef float Floats __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

NG_INLINE Floats load(const float* p) { return Simd<float, 64>::load(p); }
NG_INLINE void store(float* p, Floats v) { Simd<float, 64>::store(p, v); }

NG_INLINE Floats load(const bf16* p) {
  Halves bits;
  __builtin_memcpy(&bits, p, 32);
  return (Floats)(__builtin_convertvector(bits, Words) << 16);
}

// As assembler for the reason given in simd.h.
NG_INLINE Halves rounded(Floats v) {
  Halves bits;
  asm("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(v));
  return bits;
}

NG_INLINE void store(bf16* p, Floats v) {
  const Halves bits = rounded(v);
  __builtin_memcpy(p, &bits, 32);
}

// first[0], second[0], first[1], ...: what the dot product takes as one word each.
NG_INLINE void store_pairs(bf16* p, Floats first, Floats second) {
  const Words low = __builtin_convertvector(rounded(first), Words);
  const Words high = __builtin_convertvector(rounded(second), Words);
  const Words both = low | (high << 16);
  __builtin_memcpy(p, &both, 64);
}

// a[0], b[0], a[1], b[1], ... of the lower halves, or of the upper ones.
NG_INLINE Floats interleaved(Floats a, Floats b, bool upper) {
#if defined(__clang__)
  return upper ? __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,
                                         15, 31)
               : __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7,
                                         23);
#else
  const Words low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  return __builtin_shuffle(a, b, upper ? low + 8 : low);
#endif
}

// 16 x 16, by four rounds of interleaving a vector with the one eight places on.
NG_INLINE void transpose(Floats* rows) {
  for (int round = 0; round < 4; ++round) {
    Floats next[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = interleaved(rows[i], rows[i + 8], false);
      next[2 * i + 1] = interleaved(rows[i], rows[i + 8], true);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) rows[i] = next[i];
  }
}

// sum += a pair of numbers in each lane times a pair of the other's.
NG_INLINE void dot(Floats& sum, Words a, Words b) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

NG_INLINE Words in_all_lanes(const bf16* pair) {
  Words all;
  asm("vpbroadcastd %1, %0" : "=v"(all) : "m"(*(const uint32_t*)pair));
  return all;
}

// B'dB of Lavin and Gray, in one direction: four values, `step` apart.
NG_INLINE void spread_input(Floats* d, int step) {
  const Floats d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  d[0] = d0 - d2;
  d[step] = d1 + d2;
  d[2 * step] = d2 - d1;
  d[3 * step] = d1 - d3;
}

// A dy A': two gradients become four. Reads d[0] and d[step].
NG_INLINE void spread_gradient(Floats* d, int step) {
  const Floats y0 = d[0], y1 = d[step];
  d[step] = y0 + y1;
  d[2 * step] = y0 - y1;
  d[3 * step] = -y1;
}

// G g G', in one direction: three weights become four. Reads d[0], d[step], d[2 step].
NG_INLINE void spread_weights(Floats* d, int step) {
  const Floats w0 = d[0], w1 = d[step], w2 = d[2 * step];
  const Floats ends = 0.5f * (w0 + w2), middle = 0.5f * w1;
  d[step] = ends + middle;
  d[2 * step] = ends - middle;
  d[3 * step] = w2;
}

// A'mA, in one direction: four sums become two results.
NG_INLINE void gather_output(Floats* d, int step) {
  const Floats m1 = d[step], m2 = d[2 * step];
  d[0] = d[0] + m1 + m2;
  d[step] = m1 - m2 - d[3 * step];
}

// G' dU G, in one direction: four sums become three weights' gradients.
NG_INLINE void gather_weights(Floats* d, int step) {
  const Floats sum = 0.5f * (d[step] + d[2 * step]), difference = 0.5f * (d[step] - d[2 * step]);
  d[0] = d[0] + sum;
  d[step] = difference;
  d[2 * step] = sum + d[3 * step];
}

// A map's tiles: tile i of all is the (i mod (rows * columns))-th of image i / (rows * columns).
struct Tiles {
  int64_t height, width, rows, columns;
  NG_INLINE int64_t of_image() const { return rows * columns; }
};

// Where the 4x4 inputs of a tile are; `zero` stands for what lies outside of the map.
NG_INLINE void find_inputs(const Tiles& t, const bf16* x, int64_t channels, int64_t tile,
                           const bf16* zero, const bf16** at) {
  const int64_t image = tile / t.of_image(), rest = tile % t.of_image();
  const int64_t top = rest / t.columns * 2 - 1, left = rest % t.columns * 2 - 1;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t h = top + i, w = left + j;
      const bool inside = h >= 0 && h < t.height && w >= 0 && w < t.width;
      at[4 * i + j] =
          inside ? x + ((image * t.height + h) * t.width + w) * channels : zero;
    }
}

// Where the 2x2 results of a tile are, or `outside`.
template <class T>
NG_INLINE void find_outputs(const Tiles& t, T* y, int64_t channels, int64_t tile, T* outside,
                            T** at) {
  const int64_t image = tile / t.of_image(), rest = tile % t.of_image();
  const int64_t top = rest / t.columns * 2, left = rest % t.columns * 2;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      const int64_t h = top + i, w = left + j;
      const bool inside = h < t.height && w < t.width;
      at[2 * i + j] =
          inside ? y + ((image * t.height + h) * t.width + w) * channels : outside;
    }
}

NG_INLINE void input_of_tile(const bf16* const* at, int64_t c, Floats* d) {
  for (int k = 0; k < 16; ++k) d[k] = load(at[k] + c);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) spread_input(d + i, 4);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) spread_input(d + 4 * i, 1);
}

NG_INLINE void gradient_of_tile(const bf16* const* at, int64_t c, Floats* d) {
  d[0] = load(at[0] + c);
  d[1] = load(at[1] + c);
  d[4] = load(at[2] + c);
  d[5] = load(at[3] + c);
  spread_gradient(d, 4);
  spread_gradient(d + 1, 4);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) spread_gradient(d + 4 * i, 1);
}

// sums[R][kPanel] (+)= a[R][pairs] * b[pairs][kPanel], pairs of bfloat16. Row r of `a` starts at
// a + r * row, its k-th pair is at + k * pair; b is packed, or its k-th row is at b + k * b_row.
template <int R, bool ADD>
NG_INLINE void product_tile(const bf16* a, int64_t row, int64_t pair, const bf16* b, int64_t b_row,
                            int64_t pairs, float* sums, int64_t sums_row) {
  Floats c[R][2];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < 2; ++v) c[r][v] = ADD ? load(sums + r * sums_row + v * kLane) : Floats{};
  for (int64_t k = 0; k < pairs; ++k) {
    Words first, second;
    __builtin_memcpy(&first, b + k * b_row, 64);
    __builtin_memcpy(&second, b + k * b_row + kPanel, 64);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const Words x = in_all_lanes(a + r * row + k * pair);
      dot(c[r][0], x, first);
      dot(c[r][1], x, second);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < 2; ++v) store(sums + r * sums_row + v * kLane, c[r][v]);
}

// The same for any number of rows.
template <bool ADD>
NG_INLINE void product(const bf16* a, int64_t row, int64_t pair, const bf16* b, int64_t b_row,
                       int64_t pairs, float* sums, int64_t sums_row, int64_t rows) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    product_tile<kRows, ADD>(a + r * row, row, pair, b, b_row, pairs, sums + r * sums_row, sums_row);
  for (; r + 4 <= rows; r += 4)
    product_tile<4, ADD>(a + r * row, row, pair, b, b_row, pairs, sums + r * sums_row, sums_row);
  for (; r < rows; ++r)
    product_tile<1, ADD>(a + r * row, row, pair, b, b_row, pairs, sums + r * sums_row, sums_row);
}

}  // namespace winograd
}  // namespace ng
#endif
