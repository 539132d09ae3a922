// Topographic maps on the CPU: one skinny matrix product, written once. Normalisation is folded into
// the electrode values, so its epilogue is an addition, the mask and the cast.
#include <algorithm>

#include "scratch.h"
#include "simd.h"
#include "topomap_math.h"
#include "topomap_tensors.h"

namespace ng {
namespace {

constexpr int64_t kPad = 32;    // columns of a tile of two vectors
constexpr int64_t kMaps = 48;   // maps of a block: a multiple of tile_rows of every level
constexpr int64_t kPixels = 128;
constexpr size_t kCached = 24 << 20;  // bytes of maps that may stay in a cache

template <class Out, class T>
struct Topomap {
  const T* values;                   // [M, C]
  const T *matrix, *mask;            // [C][Pp], [Pp]: 1 inside
  const T *mean, *factor;            // [C + 1]; transposed and padded, [C + 1][Cp]
  int64_t maps, channels, pixels, features;
  bool unit_sum, zscore, channels_last;
  bool stream;  // write past the caches
  Out* out;
};

// Values of a block of maps, shifted and scaled -> coefficients [kMaps][C] and offsets [kMaps].
template <class T, int BYTES, class Out>
NG_INLINE void prepare(const Topomap<Out, T>& a, int64_t row, int64_t n, T* coefficient,
                       T* offset, T* e, T* projected) {
  using S = Simd<T, BYTES>;
  constexpr int R = tile_rows(BYTES), V = 2;
  const int64_t C = a.channels, columns = round_up(C + 1, kPad);
  for (int64_t r = 0; r < kMaps; ++r) {
    offset[r] = T(0);
    for (int64_t c = 0; c < C; ++c)
      coefficient[r * C + c] = r < n ? a.values[(row + r) * C + c] : T(0);
  }
  if (!a.zscore) return;
  for (int64_t tile = 0; tile < n; tile += R) {
    for (int64_t r = 0; r < R; ++r) {
      const T* v = coefficient + (tile + r) * C;
      T total = 0;
      for (int64_t c = 0; c < C; ++c) total += v[c];
      const T common = total / T(C);
      for (int64_t c = 0; c < C; ++c) e[r * (C + 1) + c] = v[c] - common;
      e[r * (C + 1) + C] = common;
    }
    for (int64_t i = 0; i < columns; i += V * S::W) {
      typename S::Vector y[R][V];
      multiply_tile<T, BYTES, R, V>(e, C + 1, a.factor + i, columns, C + 1, y);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) S::store(projected + r * columns + i + v * S::W, y[r][v]);
    }
    for (int64_t r = 0; r < R; ++r) {
      T* v = coefficient + (tile + r) * C;
      const T* er = e + r * (C + 1);
      T variance = 0, mean = 0, largest = 0;
#pragma omp simd reduction(+ : variance)
      for (int64_t i = 0; i < columns; ++i)
        variance += projected[r * columns + i] * projected[r * columns + i];
      for (int64_t c = 0; c < C; ++c) {
        mean += er[c] * a.mean[c];
        const T size = v[c] < T(0) ? -v[c] : v[c];
        largest = size <= largest ? largest : size;
      }
      const T common = er[C];
      if (!a.unit_sum) mean += common * a.mean[C];
      const MapScale<T> s =
          zscore_scale(a.unit_sum ? common : T(0), mean, variance, largest);
      for (int64_t c = 0; c < C; ++c) v[c] = (a.unit_sum ? er[c] : v[c]) * s.scale;
      offset[tile + r] = s.offset;
    }
  }
}

template <class T, int BYTES, class Out>
NG_INLINE void topomap_body(Topomap<Out, T> a, int64_t block, T* scratch) {
  using S = Simd<T, BYTES>;
  constexpr int R = tile_rows(BYTES), V = 2;
  const int64_t C = a.channels, P = a.pixels, padded = round_up(P, kPad);
  const int64_t row = block * kMaps, n = a.maps - row < kMaps ? a.maps - row : kMaps;
  T* coefficient = scratch;                // [kMaps][C]
  T* offset = coefficient + kMaps * C;     // [kMaps]
  T* tile_out = offset + kMaps;            // [R][kPad]
  T* e = tile_out + R * kPad;              // [R][C + 1]
  prepare<T, BYTES>(a, row, n, coefficient, offset, e, e + R * (C + 1));

  for (int64_t p0 = 0; p0 < padded; p0 += kPixels) {
    const int64_t p1 = p0 + kPixels < padded ? p0 + kPixels : padded;
    for (int64_t tile = 0; tile < n; tile += R) {
      for (int64_t p = p0; p < p1; p += V * S::W) {
        typename S::Vector x[R][V];
        multiply_tile<T, BYTES, R, V>(coefficient + tile * C, C, a.matrix + p, padded, C, x);
        const bool whole = p + V * S::W <= P && tile + R <= n;
        const bool direct = sizeof(Out) == sizeof(T) && whole && !a.channels_last;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < V; ++v) {
            const auto inside = S::load(a.mask + p + v * S::W) > T(0);
            const auto value = inside ? x[r][v] + offset[tile + r] : typename S::Vector{};
            if (direct && a.stream) {
              S::stream(reinterpret_cast<T*>(a.out) + (row + tile + r) * P + p + v * S::W, value);
              continue;
            }
            T* to = direct ? reinterpret_cast<T*>(a.out) + (row + tile + r) * P + p + v * S::W
                           : tile_out + r * kPad + v * S::W;
            S::store(to, value);
          }
        if (direct) continue;
        const int64_t width = P - p < V * S::W ? P - p : V * S::W;
        for (int64_t r = 0; r < R && tile + r < n; ++r) {
          const int64_t map = row + tile + r;
          const T* from = tile_out + r * kPad;
          if (a.channels_last) {
            Out* to = a.out + (map / a.features * P + p) * a.features + map % a.features;
            for (int64_t j = 0; j < width; ++j) to[j * a.features] = from_opmath<Out>(from[j]);
          } else {
            Out* to = a.out + map * P + p;
            if (width == V * S::W)
              for (int j = 0; j < V * S::W; ++j) to[j] = from_opmath<Out>(from[j]);
            else
              for (int64_t j = 0; j < width; ++j) to[j] = from_opmath<Out>(from[j]);
          }
        }
      }
    }
  }
}

NG_FOR_EACH_LEVEL(topomap_kernel, topomap_body)

// `used_before`: fresh memory is in the caches already, because the system has just zeroed it.
void write_maps(const Tensor& values, const Tensor& matrix, const Tensor& mask, const Tensor& mean,
                const Tensor& factor, bool unit_sum, bool zscore, bool channels_last,
                const Tensor& out, bool used_before) {
  const TopomapTensors t =
      topomap_tensors(values, matrix, mask, mean, factor, channels_last, out);
  const int64_t C = t.channels, P = t.pixels;
  if (t.maps == 0 || P == 0) return;
  with_opmath_type(t.opmath, [&](auto zero) {
    with_float_type(out.scalar_type(), [&](auto to) {
      using Out = decltype(to);
      using T = decltype(zero);
      const int64_t padded = round_up(P, kPad), columns = round_up(C + 1, kPad);
      T* packed = scratch<T>(0, (C + 1) * padded + (C + 1) * columns);
      T* inside = packed + C * padded;
      T* transposed = inside + padded;
      const T *w = data<T>(t.matrix), *l = data<T>(t.factor);
      const bool* m = data<bool>(t.mask);
      for (int64_t c = 0; c < C; ++c) {
        std::copy(w + c * P, w + (c + 1) * P, packed + c * padded);
        std::fill(packed + c * padded + P, packed + (c + 1) * padded, T(0));
      }
      std::copy(m, m + P, inside);
      std::fill(inside + P, inside + padded, T(0));
      std::fill(transposed, transposed + (C + 1) * columns, T(0));
      for (int64_t i = 0; i <= C; ++i)
        for (int64_t j = 0; j <= C; ++j) transposed[j * columns + i] = l[i * (C + 1) + j];
      // Every row starts where a vector of any level may, and the maps are more than caches hold.
      const bool stream = used_before && P * sizeof(Out) % 64 == 0 &&
                          reinterpret_cast<size_t>(t.out.const_data_ptr()) % 64 == 0 &&
                          size_t(t.maps * P) * sizeof(Out) > kCached;
      const Topomap<Out, T> a{data<T>(t.values), packed,     inside,   data<T>(t.mean),
                              transposed,        t.maps,     C,        P,
                              t.features,        unit_sum,   zscore,   channels_last,
                              stream,            mutable_data<Out>(t.out)};
      torch::stable::parallel_for(0, (t.maps + kMaps - 1) / kMaps, 1, [&](int64_t begin,
                                                                          int64_t end) {
        T* block = scratch<T>(1, kMaps * (C + 1) + 8 * (kPad + C + 1 + columns));
        for (int64_t i = begin; i < end; ++i) topomap_kernel<T>(a, i, block);
        if (stream) stream_fence();
      });
    });
  });
}

void topomap_out(const Tensor& values, const Tensor& matrix, const Tensor& mask, const Tensor& mean,
                 const Tensor& factor, bool unit_sum, bool zscore, bool channels_last,
                 const Tensor& out) {
  write_maps(values, matrix, mask, mean, factor, unit_sum, zscore, channels_last, out, true);
}

Tensor topomap(const Tensor& values, const Tensor& matrix, const Tensor& mask, const Tensor& mean,
               const Tensor& factor, bool unit_sum, bool zscore, ScalarType dtype,
               bool channels_last) {
  const Tensor out = topomap_result(values, matrix, dtype, channels_last);
  write_maps(values, matrix, mask, mean, factor, unit_sum, zscore, channels_last, out, false);
  return out;
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("topomap", TORCH_BOX(&ng::topomap));
  m.impl("topomap_out", TORCH_BOX(&ng::topomap_out));
}
