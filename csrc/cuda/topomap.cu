// Topographic maps on CUDA in one launch: a block takes 64 maps through tiles of 128 pixels; each
// thread holds 8 maps x 4 neighbouring pixels in registers. Normalisation is folded into the electrode
// values before the product, so the epilogue is an addition, the mask, the cast and the store. Plain
// float32 arithmetic: TF32 would cost three digits (5e-3).
#include "launch.h"
#include "topomap_math.h"
#include "topomap_tensors.h"
#include "vector4.h"

namespace ng {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kEach = 8, kMaps = kWarps * kEach;  // maps of a warp, of a block
constexpr int kQuad = 4, kPixels = 32 * kQuad;    // pixels of a thread, of a tile
// Channels taken through shared memory at a time.
template <class T>
constexpr int kChannelsOf = sizeof(T) == 8 ? 16 : 32;

template <class Out, class T>
struct Topomap {
  const T* values;                      // [M, C]
  const T *matrix, *mean, *factor;      // [C, P], [C + 1], [C + 1, C + 1]
  const bool* mask;                     // [P]
  int64_t maps, channels, pixels, features;
  bool unit_sum, zscore, channels_last, aligned;
  Out* out;
};

// Shift, scale and offset of the maps of one warp; every lane ends with the same numbers.
template <class Out, class T>
__device__ __forceinline__ MapScale<T> scale_of(const Topomap<Out, T>& a, int64_t map, int lane) {
  const T* v = a.values + map * a.channels;
  const int64_t C = a.channels;
  T total = 0, largest = 0;
  for (int64_t c = lane; c < C; c += 32) {
    const T x = v[c], size = x < T(0) ? -x : x;
    total += x;
    largest = size <= largest ? largest : size;
  }
  const T common = warp_sum(total) / T(C);
  largest = warp_max(largest);
  T mean = 0, variance = 0;
  for (int64_t c = lane; c < C; c += 32) mean += (v[c] - common) * a.mean[c];
  mean = warp_sum(mean);
  if (!a.unit_sum) mean += common * a.mean[C];
  for (int64_t i = lane; i <= C; i += 32) {
    T y = a.factor[i * (C + 1) + C] * common;
    for (int64_t c = 0; c < C; ++c)
      y += a.factor[i * (C + 1) + c] * (v[c] - common);
    variance += y * y;
  }
  return zscore_scale(a.unit_sum ? common : T(0), mean, warp_sum(variance), largest);
}

template <class Out, class T>
__global__ void __launch_bounds__(kThreads) topomap_kernel(Topomap<Out, T> a) {
  constexpr int kChannels = kChannelsOf<T>;
  __shared__ __align__(16) T weight[kChannels][kPixels];
  __shared__ __align__(16) T value[kMaps][kChannels];
  __shared__ MapScale<T> scales[kMaps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = blockIdx.x * int64_t(kMaps), mine = first + warp * kEach;
  const int64_t C = a.channels, P = a.pixels;

  for (int i = 0; i < kEach; ++i) {
    MapScale<T> s{T(0), T(1), T(0)};
    if (a.zscore && mine + i < a.maps) s = scale_of(a, mine + i, lane);
    if (lane == 0) scales[warp * kEach + i] = s;
  }
  __syncthreads();
  for (int64_t p0 = blockIdx.y * int64_t(kPixels); p0 < P; p0 += gridDim.y * int64_t(kPixels)) {
    const int64_t p = p0 + kQuad * lane;
    T sum[kEach][kQuad] = {};
    for (int64_t c0 = 0; c0 < C; c0 += kChannels) {
      __syncthreads();
      for (int c = warp; c < kChannels; c += kWarps)
#pragma unroll
        for (int j = 0; j < kPixels / 32; ++j) {
          const int64_t q = p0 + 32 * j + lane;
          weight[c][32 * j + lane] = c0 + c < C && q < P ? a.matrix[(c0 + c) * P + q] : T(0);
        }
      // One tile of channels stays from pixel tile to pixel tile.
      if (C > kChannels || p0 == blockIdx.y * int64_t(kPixels))
        for (int i = warp; i < kMaps; i += kWarps) {
          if (lane >= kChannels) continue;
          const bool here = c0 + lane < C && first + i < a.maps;
          const T x = here ? a.values[(first + i) * C + c0 + lane] : T(0);
          value[i][lane] = here ? (x - scales[i].shift) * scales[i].scale : T(0);
        }
      __syncthreads();
      const int depth = C - c0 < kChannels ? int((C - c0 + 3) / 4 * 4) : kChannels;
      for (int c = 0; c < depth; c += 4) {
        T w[4][kQuad];
#pragma unroll
        for (int k = 0; k < 4; ++k)
#pragma unroll
          for (int j = 0; j < kQuad; ++j) w[k][j] = weight[c + k][kQuad * lane + j];
#pragma unroll
        for (int i = 0; i < kEach; ++i)
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const T x = value[warp * kEach + i][c + k];
#pragma unroll
            for (int j = 0; j < kQuad; ++j) sum[i][j] += x * w[k][j];
          }
      }
    }
    bool inside[kQuad];
#pragma unroll
    for (int j = 0; j < kQuad; ++j) inside[j] = p + j < P && a.mask[p + j];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const T offset = scales[warp * kEach + i].offset;
#pragma unroll
      for (int j = 0; j < kQuad; ++j) sum[i][j] = inside[j] ? sum[i][j] + offset : T(0);
    }
    if (!a.channels_last) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        if (mine + i >= a.maps) break;
        Vector4<Out> four;
#pragma unroll
        for (int j = 0; j < kQuad; ++j) four.x[j] = from_opmath<Out>(sum[i][j]);
        store4(a.out + (mine + i) * P + p, P - p, a.aligned, four);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kQuad; ++j) {
        if (p + j >= P) break;
        const int64_t F = a.features;
#pragma unroll
        for (int i = 0; i < kEach; i += 4) {
          const int64_t map = mine + i;
          if (map >= a.maps) break;
          Vector4<Out> four;
#pragma unroll
          for (int k = 0; k < 4; ++k) four.x[k] = from_opmath<Out>(sum[i + k][j]);
          if (a.aligned) {  // four features of one window lie side by side
            Out* to = a.out + (map / F * P + p + j) * F + map % F;
            *reinterpret_cast<Vector4<Out>*>(to) = four;
          } else {
#pragma unroll
            for (int k = 0; k < 4; ++k)
              if (map + k < a.maps)
                a.out[((map + k) / F * P + p + j) * F + (map + k) % F] = four.x[k];
          }
        }
      }
    }
  }
}

void topomap_out(const Tensor& values, const Tensor& matrix, const Tensor& mask, const Tensor& mean,
                 const Tensor& factor, bool unit_sum, bool zscore, bool channels_last,
                 const Tensor& out) {
  const OnDevice device(values);
  const TopomapTensors t =
      topomap_tensors(values, matrix, mask, mean, factor, channels_last, out);
  if (t.maps == 0 || t.pixels == 0) return;
  const int64_t blocks = (t.maps + kMaps - 1) / kMaps;
  const int64_t tiles = (t.pixels + kPixels - 1) / kPixels;
  STD_TORCH_CHECK(blocks < (int64_t(1) << 31), "too many maps for one call");
  // Few maps: share their pixels out until every multiprocessor has about two blocks.
  int64_t split = (2 * multiprocessors() + blocks - 1) / blocks;
  split = split < tiles ? split : tiles;
  with_opmath_type(t.opmath, [&](auto zero) {
    with_float_type(out.scalar_type(), [&](auto to) {
      using Out = decltype(to);
      using T = decltype(zero);
      const bool aligned = (channels_last ? t.features : t.pixels) % 4 == 0 &&
                           reinterpret_cast<size_t>(t.out.const_data_ptr()) % 16 == 0;
      const Topomap<Out, T> a{
          data<T>(t.values),  data<T>(t.matrix), data<T>(t.mean), data<T>(t.factor),
          data<bool>(t.mask), t.maps,            t.channels,      t.pixels,
          t.features,         unit_sum,          zscore,          channels_last,
          aligned,            mutable_data<Out>(t.out)};
      NG_LAUNCH((topomap_kernel<Out, T>), dim3(unsigned(blocks), unsigned(split)),
                dim3(kThreads), 0, device.stream(), a);
    });
  });
}

Tensor topomap(const Tensor& values, const Tensor& matrix, const Tensor& mask, const Tensor& mean,
               const Tensor& factor, bool unit_sum, bool zscore, ScalarType dtype,
               bool channels_last) {
  const Tensor out = topomap_result(values, matrix, dtype, channels_last);
  topomap_out(values, matrix, mask, mean, factor, unit_sum, zscore, channels_last, out);
  return out;
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) {
  m.impl("topomap", TORCH_BOX(&ng::topomap));
  m.impl("topomap_out", TORCH_BOX(&ng::topomap_out));
}
