// Clipped AdamW on CUDA in two passes over memory, each one launch for every kTensors tensors: their
// addresses travel as the kernel's argument. Nothing is read on the host.
#include "launch.h"
#include "optimizer_step_math.h"
#include "optimizer_step_tensors.h"
#include "vector4.h"

namespace ng {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kTensors = 48;                // with 64 bytes each within the 4 KB of an argument
constexpr int64_t kEach = 16 * kThreads;    // elements of a block before another one is started
constexpr int64_t kMostBlocks = 64;         // of a tensor

struct Table {
  Slot slots[kTensors];
  int count;
};

// Depends on the sizes alone, so that sums are taken in the same order every time.
inline int64_t blocks_for(const std::vector<Slot>& slots) {
  int64_t largest = 1;
  for (const Slot& s : slots) largest = s.size > largest ? s.size : largest;
  const int64_t blocks = (largest + kEach - 1) / kEach;
  return blocks < kMostBlocks ? blocks : kMostBlocks;
}

template <class F>
void for_each_table(const std::vector<Slot>& slots, F&& f) {
  for (size_t first = 0; first < slots.size(); first += kTensors) {
    Table table{};
    for (; table.count < kTensors && first + table.count < slots.size(); ++table.count)
      table.slots[table.count] = slots[first + table.count];
    f(table, int64_t(first));
  }
}

// The block's total, in its first thread.
__device__ __forceinline__ double block_sum(double x) {
  __shared__ double warps[kWarps];
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  double total = 0;
  for (int w = 0; w < kWarps; ++w) total += warps[w];
  return total;
}

// Sum of squares of one block's share of one gradient -> partial[first + blockIdx.y][blockIdx.x].
__global__ void __launch_bounds__(kThreads) squares_kernel(Table table, int64_t first,
                                                           double* partial) {
  const Slot& s = table.slots[blockIdx.y];
  const int64_t stride = int64_t(gridDim.x) * kThreads * 4;
  float sum = 0;
  for (int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * 4; i < s.size; i += stride) {
    float x[4];
    load4(s.gradient + i, s.size - i, s.aligned, x);
    sum += (x[0] * x[0] + x[1] * x[1]) + (x[2] * x[2] + x[3] * x[3]);
  }
  const double total = block_sum(double(sum));
  if (threadIdx.x == 0) partial[(first + blockIdx.y) * gridDim.x + blockIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads) norm_kernel(const double* partial, int64_t count,
                                                        float* norm) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partial[i];
  const double total = block_sum(sum);
  if (threadIdx.x == 0) *norm = float(sqrt(total));
}

// Counts the step before any block of the update reads it.
__global__ void __launch_bounds__(kTensors) count_kernel(Table table, const float* skip) {
  if (int(threadIdx.x) < table.count && *skip == 0.0f) *table.slots[threadIdx.x].step += 1.0f;
}

__global__ void __launch_bounds__(kThreads) update_kernel(Table table, AdamWOptions options,
                                                          Scalars at) {
  __shared__ AdamW shared;
  const Slot& s = table.slots[blockIdx.y];
  if (threadIdx.x == 0)
    shared = adamw(options, *s.step, *at.rate, *at.norm, *at.skip != 0.0f, *at.follow);
  __syncthreads();
  const AdamW a = shared;
  if (a.skip && !s.average) return;
  const int64_t stride = int64_t(gridDim.x) * kThreads * 4;
  for (int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * 4; i < s.size; i += stride) {
    const int64_t left = s.size - i;
    Vector4<float> weight;
    load4(s.weight + i, left, s.aligned, weight.x);
    if (!a.skip) {
      Vector4<float> mean, square;
      float gradient[4];
      load4(s.gradient + i, left, s.aligned, gradient);
      load4(s.mean + i, left, s.aligned, mean.x);
      load4(s.square + i, left, s.aligned, square.x);
#pragma unroll
      for (int k = 0; k < 4; ++k)
        adamw_element(a, gradient[k], weight.x[k], mean.x[k], square.x[k]);
      store4(s.weight + i, left, s.aligned, weight);
      store4(s.mean + i, left, s.aligned, mean);
      store4(s.square + i, left, s.aligned, square);
    }
    if (s.average) {
      Vector4<float> average;
      load4(s.average + i, left, s.aligned, average.x);
#pragma unroll
      for (int k = 0; k < 4; ++k) average.x[k] += a.follow * (weight.x[k] - average.x[k]);
      store4(s.average + i, left, s.aligned, average);
    }
  }
}

Tensor gradient_norm(Tensors gradients) {
  check_gradients(gradients);
  const OnDevice device(gradients[0]);
  std::vector<Slot> slots;
  for (const Tensor& g : gradients) {
    Slot s{};
    s.gradient = data<float>(g);
    s.size = g.numel();
    s.aligned = reinterpret_cast<size_t>(s.gradient) % 16 == 0 && s.size % 4 == 0;
    slots.push_back(s);
  }
  const int64_t blocks = blocks_for(slots), count = blocks * int64_t(slots.size());
  Tensor partial = empty(gradients[0], {count}, ScalarType::Double);
  Tensor norm = empty(gradients[0], {}, ScalarType::Float);
  double* sums = mutable_data<double>(partial);
  for_each_table(slots, [&](const Table& table, int64_t first) {
    NG_LAUNCH((squares_kernel), dim3(unsigned(blocks), unsigned(table.count)), dim3(kThreads), 0,
              device.stream(), table, first, sums);
  });
  NG_LAUNCH((norm_kernel), dim3(1), dim3(kThreads), 0, device.stream(), sums, count,
            mutable_data<float>(norm));
  return norm;
}

void optimizer_step(Tensors parameters, Tensors gradients, Tensors means, Tensors squares,
                    Tensors averages, Tensors steps, const Tensor& rate, const Tensor& norm,
                    const Tensor& skip, const Tensor& follow, double weight_decay, double beta1,
                    double beta2, double eps, double clip) {
  const std::vector<Slot> slots =
      optimizer_slots(parameters, gradients, means, squares, averages, steps);
  if (slots.empty()) return;
  const Scalars at = optimizer_scalars(rate, norm, skip, follow, parameters[0]);
  const OnDevice device(parameters[0]);
  const AdamWOptions options{weight_decay, beta1, beta2, eps, clip};
  const int64_t blocks = blocks_for(slots);
  for_each_table(slots, [&](const Table& table, int64_t) {
    NG_LAUNCH((count_kernel), dim3(1), dim3(kTensors), 0, device.stream(), table, at.skip);
    NG_LAUNCH((update_kernel), dim3(unsigned(blocks), unsigned(table.count)), dim3(kThreads), 0,
              device.stream(), table, options, at);
  });
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) {
  m.impl("gradient_norm", TORCH_BOX(&ng::gradient_norm));
  m.impl("optimizer_step", TORCH_BOX(&ng::optimizer_step));
}
