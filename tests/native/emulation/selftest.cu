// What the emulator must get right and what it must notice, as operators for test_emulator.py. With
// NG_SELFTEST_MAIN, a program without torch that reads what it should not.
#include <cuda_runtime.h>

namespace {

constexpr unsigned kAll = 0xFFFFFFFF;

// Row r of `out` has what each lane got from collective r, in double: 8 bytes go through a shuffle.
__global__ void __launch_bounds__(32) collectives(double* __restrict__ out) {
  const int lane = threadIdx.x;
  int row = 0;
  const auto put = [&](double value) { out[row++ * warpSize + lane] = value; };
  put(__shfl_sync(kAll, lane + 0.5, 3));
  put(__shfl_sync(kAll, 1.5f * lane, lane + 1, 8));
  put(__shfl_xor_sync(kAll, lane, 5));
  put(__shfl_xor_sync(kAll, lane, 16, 8));
  put(__shfl_down_sync(kAll, static_cast<unsigned>(lane), 3));
  put(__shfl_down_sync(kAll, lane, 3, 8));
  put(__shfl_up_sync(kAll, 10'000'000'000LL * lane, 2));
  put(__ballot_sync(kAll, lane % 3 == 0));
  put(__any_sync(kAll, lane == 31) + 2 * __any_sync(kAll, 0));
  put(__all_sync(kAll, lane < 32) + 2 * __all_sync(kAll, lane < 31));
  // The two halves at once, each with its own mask; then some lanes only.
  const unsigned half = lane < 16 ? 0x0000FFFF : 0xFFFF0000;
  put(__ballot_sync(half, lane % 2));
  if (lane % 4 == 0) put(__shfl_xor_sync(0x11111111, lane, 4));
  __syncwarp();
}

template <typename T, int kWarps>
__global__ void __launch_bounds__(kWarps * 32) row_sums(const T* __restrict__ in, T* out, int n) {
  NG_DYNAMIC_SHARED(dynamic);
  T* const row = reinterpret_cast<T*>(dynamic);
  __shared__ T of_warp[kWarps];
  for (int i = threadIdx.x; i < n; i += blockDim.x) row[i] = __ldg(in + blockIdx.x * n + i);
  __syncthreads();
  T sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += row[n - 1 - i];
  for (int bits = 16; bits; bits /= 2) sum += __shfl_xor_sync(kAll, sum, bits);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < kWarps; ++i) sum += of_warp[i];
  out[blockIdx.x] = sum;
}

// Each thread of the grid counts itself, at its index, and in the last place.
__global__ void count_threads(int* out, int total) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  const int z = blockIdx.z * blockDim.z + threadIdx.z;
  const int width = gridDim.x * blockDim.x, height = gridDim.y * blockDim.y;
  out[(z * height + y) * width + x] += 1;
  atomicAdd(out + total, 1);
}

// Rotates a block's numbers through shared memory by `distance`, with or without the barrier.
__global__ void rotate(const float* in, float* out, int distance, bool with_barrier) {
  __shared__ float stage[1024];
  stage[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = stage[(threadIdx.x + distance) % blockDim.x];
}

// Reads shared memory that it has not written in this block.
__global__ void unwritten(float* out) {
  NG_DYNAMIC_SHARED(dynamic);
  __shared__ float fixed[4];
  float* const mine = reinterpret_cast<float*>(dynamic);
  out[4 * blockIdx.x] = fixed[1];
  out[4 * blockIdx.x + 1] = mine[1];
  fixed[1] = mine[1] = 1;
  out[4 * blockIdx.x + 2] = fixed[1] + mine[1];
  out[4 * blockIdx.x + 3] = blockIdx.x;
}

__global__ void meet_often(int* out, int times) {
  int sum = threadIdx.x;
  for (int i = 0; i < times; ++i) {
    sum = __shfl_xor_sync(kAll, sum, 1 << i % 5) + 1;
    __syncthreads();
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

struct Destroyed {
  int* count;
  __device__ ~Destroyed() { ++*count; }
};

__global__ void go_wrong(int how, int* unwound) {
  const int i = threadIdx.x, lane = i % 32;
  const Destroyed destroyed{unwound};
  if (how == 0 && i % 2) __syncthreads();
  if (how == 1) {
    if (i >= 40) return;
    __syncthreads();
  }
  if (how == 2) {
    if (i < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  }
  if (how == 3 && lane < 16) __shfl_sync(kAll, i, 0);
  if (how == 4) __shfl_sync(0x0000FFFF, i, 0);
  if (how == 5 && lane < 16) __shfl_sync(0x0000FFFF, i, 20);
  if (how == 6) lane % 2 ? __any_sync(kAll, 1) : __all_sync(kAll, 1);
  if (how == 7 && i == 33) throw std::runtime_error("thread 33 gives up");
  __syncthreads();
}

enum class Misread { nothing, past_heap, past_dynamic, past_static, past_local, misaligned };

// Fills four arrays of 5 numbers and reads number n of one of them.
__global__ void misread(const float* heap, int n, Misread what, float* out) {
  NG_DYNAMIC_SHARED(dynamic_bytes);
  float* const dynamic = reinterpret_cast<float*>(dynamic_bytes);
  __shared__ float fixed[5];
  float local[5];
  for (int i = 0; i < 5; ++i) {
    local[i] = fixed[i] = dynamic[i] = heap[i];
    __syncthreads();
  }
  const float* from = local;
  if (what == Misread::past_heap) from = heap;
  if (what == Misread::past_dynamic) from = dynamic;
  if (what == Misread::past_static) from = fixed;
  if (what == Misread::misaligned) n = reinterpret_cast<const float2*>(heap + 1)->x;
  if (what != Misread::nothing) out[threadIdx.x] = from[n];
}

}  // namespace

#ifdef NG_SELFTEST_MAIN

int main(int, char** arguments) {
  const std::unique_ptr<float[]> heap(new float[5]()), out(new float[32]);
  const auto what = static_cast<Misread>(std::atoi(arguments[1]));
  NG_LAUNCH(misread, 2, 32, 5 * sizeof(float), nullptr, heap.get(), 5, what, out.get());
}

#else

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

namespace {

using torch::stable::Tensor;

void run_collectives(Tensor out) {
  NG_LAUNCH(collectives, 1, 32, 0, nullptr, out.mutable_data_ptr<double>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

void run_row_sums(Tensor in, Tensor out) {
  const int n = in.size(1);
  const auto of_float = row_sums<float, 4>;
  if (in.scalar_type() == torch::headeronly::ScalarType::Float) {
    NG_LAUNCH(of_float, in.size(0), 128, n * sizeof(float), nullptr, in.const_data_ptr<float>(),
              out.mutable_data_ptr<float>(), n);
  } else {
    NG_LAUNCH((row_sums<double, 4>), in.size(0), 128, n * sizeof(double), nullptr,
              in.const_data_ptr<double>(), out.mutable_data_ptr<double>(), n);
  }
}

void run_count_threads(Tensor out) {
  const dim3 grid(2, 3, 4), block(5, 6, 7);
  NG_LAUNCH(count_threads, grid, block, 0, nullptr, out.mutable_data_ptr<int>(), out.numel() - 1);
}

void run_rotate(Tensor in, Tensor out, int64_t distance, bool with_barrier) {
  NG_LAUNCH(rotate, 1, in.numel(), 0, nullptr, in.const_data_ptr<float>(),
            out.mutable_data_ptr<float>(), distance, with_barrier);
}

void run_unwritten(Tensor out) {
  NG_LAUNCH(unwritten, out.size(0), 1, 16, nullptr, out.mutable_data_ptr<float>());
}

void run_meet_often(Tensor out, int64_t times) {
  NG_LAUNCH(meet_often, out.size(0), out.size(1), 0, nullptr, out.mutable_data_ptr<int>(), times);
}

void run_go_wrong(int64_t how, Tensor unwound) {
  NG_LAUNCH(go_wrong, dim3(1, 2), 64, 0, nullptr, how, unwound.mutable_data_ptr<int>());
}

void run_launch_as(Tensor /*decides the device*/, int64_t grid, int64_t block, int64_t shared_bytes,
                   int64_t allowed) {
  const auto kernel = +[] {};
  if (allowed) {
    STD_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed));
  }
  NG_LAUNCH(kernel, grid, block, shared_bytes, nullptr);
}

void run_misread(Tensor heap, int64_t what, Tensor out) {
  NG_LAUNCH(misread, 1, 32, 5 * sizeof(float), nullptr, heap.const_data_ptr<float>(), 5,
            static_cast<Misread>(what), out.mutable_data_ptr<float>());
}

STABLE_TORCH_LIBRARY_IMPL(neurogaze_selftest, CPU, m) {
  m.impl("collectives", TORCH_BOX(&run_collectives));
  m.impl("row_sums", TORCH_BOX(&run_row_sums));
  m.impl("count_threads", TORCH_BOX(&run_count_threads));
  m.impl("rotate", TORCH_BOX(&run_rotate));
  m.impl("unwritten", TORCH_BOX(&run_unwritten));
  m.impl("meet_often", TORCH_BOX(&run_meet_often));
  m.impl("go_wrong", TORCH_BOX(&run_go_wrong));
  m.impl("launch_as", TORCH_BOX(&run_launch_as));
  m.impl("misread", TORCH_BOX(&run_misread));
}

}  // namespace

#endif
