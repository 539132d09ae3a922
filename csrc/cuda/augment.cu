// augment on CUDA, one launch. A block makes a part of one image: the source is staged in shared
// memory as pairs (a byte and the difference to its right neighbour), then each thread makes four
// neighbouring pixels of the output at a time.
#include "augment_tensors.h"
#include "launch.h"
#include "vector4.h"

#ifndef NG_EMULATED
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace ng {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
// Shared memory a block may use without asking, and what the kernel declares itself of it.
constexpr int64_t kSharedBytes = 48 * 1024, kOwnBytes = 64;
constexpr int64_t kBlocksWanted = 1024;  // about eight for each multiprocessor of a large GPU

template <class T>
struct Batch {
  const uint8_t* store;
  const int64_t* index;
  const float* params;
  T* out;  // [B, S, S, channels]
  ImageLayout layout;
  int64_t images;
  int32_t size, per_block;  // steps of a block; a step is kPixels neighbouring pixels
  bool words;               // images start at multiples of four bytes
};

template <class T>
__device__ __forceinline__ Vector4<T> rounded(float4 v) {
  return {from_opmath<T>(v.x), from_opmath<T>(v.y), from_opmath<T>(v.z), from_opmath<T>(v.w)};
}

#ifndef NG_EMULATED
// Two values are converted by one instruction.
template <>
__device__ __forceinline__ Vector4<bf16> rounded<bf16>(float4 v) {
  const __nv_bfloat162 pair[2] = {__floats2bfloat162_rn(v.x, v.y), __floats2bfloat162_rn(v.z, v.w)};
  Vector4<bf16> out;
  __builtin_memcpy(&out, pair, sizeof(out));
  return out;
}
template <>
__device__ __forceinline__ Vector4<f16> rounded<f16>(float4 v) {
  const __half2 pair[2] = {__floats2half2_rn(v.x, v.y), __floats2half2_rn(v.z, v.w)};
  Vector4<f16> out;
  __builtin_memcpy(&out, pair, sizeof(out));
  return out;
}
#endif

// A byte and the difference to the next as two bfloat16, which both are exactly.
__device__ __forceinline__ uint32_t pair_of(uint32_t byte, uint32_t next) {
  const float left = float(byte & 255u), right = float(next & 255u);
  return float_bits(left) >> 16 | (float_bits(right - left) & 0xffff0000u);
}

template <int kStep>
__device__ __forceinline__ void stage(const uint8_t* image, ImageLayout f, bool words,
                                      uint32_t* table) {
  if (words) {
    const uint32_t* word = reinterpret_cast<const uint32_t*>(image);
    const int count = f.bytes / 4;
    for (int i = threadIdx.x; i < count; i += kThreads) {
      const uint32_t here = __ldg(word + i), after = i + 1 < count ? __ldg(word + i + 1) : here;
      const uint32_t next = here >> 8 * kStep | after << (32 - 8 * kStep);
      reinterpret_cast<uint4*>(table)[i] =
          make_uint4(pair_of(here, next), pair_of(here >> 8, next >> 8),
                     pair_of(here >> 16, next >> 16), pair_of(here >> 24, next >> 24));
    }
  } else {
    for (int i = threadIdx.x; i < f.bytes; i += kThreads) {
      const int next = i + kStep < f.bytes ? i + kStep : i;
      table[i] = pair_of(__ldg(image + i), __ldg(image + next));
    }
  }
  // What is read below the last row counts nothing, but must be finite.
  for (int i = threadIdx.x; i < f.row; i += kThreads) table[f.bytes + i] = 0;
}

// The source's channels at one point, still in units of a byte (before gain and bias).
template <int kStep, bool kStaged>
__device__ __forceinline__ void sample(const uint8_t* image, const uint32_t* table,
                                       ImageLayout f, uint32_t offset, float fraction_x,
                                       float fraction_y, float (&value)[kStep]) {
#pragma unroll
  for (int c = 0; c < kStep; ++c) {
    if constexpr (kStaged) {
      const uint32_t top = table[offset + c], bottom = table[offset + f.row + c];
      value[c] = blend(bits_float(top << 16), bits_float(top & 0xffff0000u),
                       bits_float(bottom << 16), bits_float(bottom & 0xffff0000u), fraction_x,
                       fraction_y);
    } else {
      value[c] = blend_corners(corners(image, offset + c, f), fraction_x, fraction_y);
    }
  }
}

// kStep: channels of the source; kChannels: of the result; kPixels: 4, or 1 where the size is no
// multiple of 4.
template <class T, int kStep, int kChannels, int kPixels, bool kStaged>
__global__ void __launch_bounds__(kThreads) augment_kernel(Batch<T> a) {
  NG_DYNAMIC_SHARED(shared);  // [kWarps][32][kPixels][3] where kChannels is 3, then the table
  __shared__ Plan shared_plan;
  constexpr bool kExchange = kChannels == 3 && kPixels == 4;
  float* exchange = reinterpret_cast<float*>(shared) + threadIdx.x / 32 * (32 * 12);
  uint32_t* table = reinterpret_cast<uint32_t*>(shared) + (kExchange ? kWarps * 32 * 12 : 0);

  const int64_t row = blockIdx.x, source = a.index[row];
  const int per_line = (a.size + kPixels - 1) / kPixels, steps = per_line * a.size;
  const int first = blockIdx.y * a.per_block;
  const int end = first + a.per_block < steps ? first + a.per_block : steps;
  T* out = a.out + row * a.size * a.size * kChannels;
  if (source < 0 || source >= a.images) {
    const T nan = from_opmath<T>(bits_float(0x7fc00000u));
    for (int i = first * kPixels * kChannels + threadIdx.x; i < end * kPixels * kChannels;
         i += kThreads)
      out[i] = nan;
    return;
  }
  const uint8_t* image = a.store + source * a.layout.bytes;
  if (threadIdx.x == 0) shared_plan = plan_of(a.params + row * kAugmentParams, a.layout, a.size);
  if constexpr (kStaged) stage<kStep>(image, a.layout, a.words, table);
  __syncthreads();
  const Plan plan = shared_plan;
  const ImageLayout f = a.layout;
  const uint32_t origin = offset_origin(f);

  // Every lane of a warp goes round as often, for they exchange results; those past the end work on
  // coordinates that are clamped like any other.
  const int lane = threadIdx.x % 32, line_step = kThreads / per_line,
            column_step = kThreads - line_step * per_line;
  int step = first + threadIdx.x, line = step / per_line, column = step - line * per_line;
  for (; step - lane < end; step += kThreads) {
    const float x = float(column * kPixels), y = float(line);
    const float along_x = plan.xy * y + plan.x0, along_y = plan.yy * y + plan.y0;
    float result[kPixels][kStep];
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      float fraction_x, fraction_y;
      const float source_x = clamp_coordinate(plan.xx * (x + float(i)) + along_x, f.last_x);
      const float source_y = clamp_coordinate(plan.yx * (x + float(i)) + along_y, f.last_y);
      const uint32_t source_column = split_coordinate(source_x, f.last_x, fraction_x);
      const uint32_t source_line = split_coordinate(source_y, f.last_y, fraction_y);
      const uint32_t offset =
          source_column * uint32_t(kStep) + source_line * uint32_t(f.row) + origin;
      sample<kStep, kStaged>(image, table, f, offset, fraction_x, fraction_y, result[i]);
#pragma unroll
      for (int c = 0; c < kStep; ++c) result[i][c] = result[i][c] * plan.gain + plan.bias;
    }
    // Few lines meet the box: a branch costs less than a comparison for each pixel.
    if (line >= plan.cutout_y0 && line < plan.cutout_y1) {
#pragma unroll
      for (int i = 0; i < kPixels; ++i) {
        const int at = column * kPixels + i;
        const bool empty = at >= plan.cutout_x0 && at < plan.cutout_x1;
#pragma unroll
        for (int c = 0; c < kStep; ++c) result[i][c] = empty ? 0.0f : result[i][c];
      }
    }
    if constexpr (kPixels == 1) {
      if (step < end)
        for (int c = 0; c < kChannels; ++c)
          out[int64_t(step) * kChannels + c] = from_opmath<T>(result[0][kStep == 3 ? c : 0]);
    } else if constexpr (kChannels == 1) {
      if (step < end)
        reinterpret_cast<Vector4<T>*>(out)[step] =
            rounded<T>(make_float4(result[0][0], result[1][0], result[2][0], result[3][0]));
    } else {
      // Each lane holds 12 neighbouring values; exchanged, neighbouring lanes store neighbours.
      float own[12];
#pragma unroll
      for (int i = 0; i < 12; ++i) own[i] = result[i / 3][kStep == 3 ? i % 3 : 0];
      float4* exchanged = reinterpret_cast<float4*>(exchange);
#pragma unroll
      for (int i = 0; i < 3; ++i)
        exchanged[3 * lane + i] =
            make_float4(own[4 * i], own[4 * i + 1], own[4 * i + 2], own[4 * i + 3]);
      __syncwarp();
      const int base = 3 * (step - lane);
#pragma unroll
      for (int i = 0; i < 3; ++i)
        if (base + 32 * i + lane < 3 * end)
          reinterpret_cast<Vector4<T>*>(out)[base + 32 * i + lane] =
              rounded<T>(exchanged[32 * i + lane]);
      __syncwarp();
    }
    line += line_step;
    column += column_step;
    if (column >= per_line) {
      column -= per_line;
      ++line;
    }
  }
}

// Most shared memory for a block: half a multiprocessor's, so that two blocks are at work on each (on
// an H100 a grey source of 169 x 169), or what needs no asking where that is more.
inline int64_t most_shared_bytes() {
  int device = 0, most = 0;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  // Of its own a multiprocessor takes 1 KiB for each block, which `most` already lacks once.
  const int64_t half = (int64_t(most) + 1024) / 2 - 1024;
  return (half > kSharedBytes ? half : kSharedBytes) - kOwnBytes;
}

template <class T, int kStep, int kChannels>
void launch(Batch<T> a, int64_t batch, bool aligned, cudaStream_t stream) {
  const bool quads = aligned && a.size % 4 == 0 && sizeof(T) <= 4;
  const int64_t exchange = kChannels == 3 ? kWarps * 32 * 12 * 4 : 0;
  const int64_t table = (int64_t(a.layout.bytes) + a.layout.row) * 4;
  const int64_t steps = int64_t(a.size) * a.size / (quads ? 4 : 1);
  const int64_t most = (steps + kThreads - 1) / kThreads, wanted = kBlocksWanted / batch;
  const int64_t parts = wanted < 1 ? 1 : wanted > most ? most : wanted;
  const int64_t per_block = (steps + parts - 1) / parts;
  a.per_block = int32_t((per_block + 31) / 32 * 32);
  const dim3 grid{unsigned(batch), unsigned(parts), 1}, block{kThreads, 1, 1};
  if (!quads) {
    NG_LAUNCH((augment_kernel<T, kStep, kChannels, 1, false>), grid, block, 0, stream, a);
    return;
  }
  if constexpr (sizeof(T) <= 4) {
    // Each block stages a whole image, which must not be much larger than what it makes of it.
    const int64_t shared = exchange + table, most_shared = most_shared_bytes();
    if (shared <= most_shared && a.layout.bytes <= 4 * kStep * 4 * int64_t(a.per_block)) {
      // Every time: the attribute is each device's own, and setting it costs less than a launch.
      if (shared > kSharedBytes - kOwnBytes)
        STD_CUDA_CHECK(cudaFuncSetAttribute(augment_kernel<T, kStep, kChannels, 4, true>,
                                            cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            int(most_shared)));
      NG_LAUNCH((augment_kernel<T, kStep, kChannels, 4, true>), grid, block, size_t(shared), stream,
                a);
    } else {
      NG_LAUNCH((augment_kernel<T, kStep, kChannels, 4, false>), grid, block, size_t(exchange),
                stream, a);
    }
  }
}

Tensor augment(const Tensor& store_in, const Tensor& index_in, const Tensor& params_in,
               int64_t size, int64_t channels, ScalarType dtype) {
  const AugmentShape shape = augment_shape(store_in, index_in, params_in, size, channels);
  const OnDevice device(store_in);
  const Tensor store = torch::stable::contiguous(store_in);
  const Tensor index = contiguous(index_in, ScalarType::Long);
  const Tensor params = contiguous(params_in, ScalarType::Float);
  Tensor out = augment_output(store, shape, dtype);
  if (shape.batch == 0) return out;
  with_float_type(dtype, [&](auto type) {
    using T = decltype(type);
    const uint8_t* bytes = store.const_data_ptr<uint8_t>();
    T* to = static_cast<T*>(out.mutable_data_ptr());
    const bool words = shape.layout.bytes % 4 == 0 && reinterpret_cast<size_t>(bytes) % 4 == 0;
    const Batch<T> a{bytes, index.const_data_ptr<int64_t>(), params.const_data_ptr<float>(), to,
                     shape.layout, shape.images, int32_t(size), 0, words};
    const bool aligned = reinterpret_cast<size_t>(to) % 16 == 0;
    if (shape.layout.step == 3) launch<T, 3, 3>(a, shape.batch, aligned, device.stream());
    else if (channels == 3) launch<T, 1, 3>(a, shape.batch, aligned, device.stream());
    else launch<T, 1, 1>(a, shape.batch, aligned, device.stream());
  });
  return out;
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) { m.impl("augment", TORCH_BOX(&ng::augment)); }
