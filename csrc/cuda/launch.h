// What every .cu file starts with: the stream, the launch and the registration. Under NG_EMULATED (the
// tests' CPU emulation of CUDA, tests/native/emulation) the launch runs on the CPU and the kernels
// register in another namespace, so that one source is both what a GPU runs and what the tests run.
#pragma once

#include <cuda_runtime.h>

#include "tensors.h"

#ifndef NG_EMULATED
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#define NG_STRIP(...) __VA_ARGS__
// `kernel` is a template instance in parentheses: NG_LAUNCH((kernel<float>), grid, block, bytes, ...).
#define NG_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)            \
  do {                                                                       \
    NG_STRIP kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__);     \
    STD_CUDA_KERNEL_LAUNCH_CHECK();                                          \
  } while (0)
#define NG_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define NG_REGISTER(m) STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CUDA, m)
#endif

namespace ng {

#ifndef NG_EMULATED
// Kernels run where their first tensor is, on torch's current stream there.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& t) : guard_(t.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }
  cudaStream_t stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};
#else
struct OnDevice {
  explicit OnDevice(const Tensor&) {}
  cudaStream_t stream() const { return nullptr; }
};
#endif

inline int multiprocessors() {
  int device = 0, count = 1;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

// Sums over a warp; every lane gets the total. The order is fixed.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

template <class T>
__device__ __forceinline__ T warp_max(T x) {  // NaN wins
  for (int step = 16; step; step >>= 1) {
    const T other = __shfl_xor_sync(0xffffffffu, x, step);
    x = other > x || other != other ? other : x;
  }
  return x;
}

}  // namespace ng
