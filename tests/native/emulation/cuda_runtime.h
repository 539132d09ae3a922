// Stands in for CUDA's header of this name, so that g++ compiles csrc/cuda/*.cu as ordinary C++ and
// the tests can run its kernels where there is no GPU.
//
// A launch runs to its end before it returns. Each thread of a block is a fiber; blocks, warps and
// lanes run one at a time, in the order that NG_EMULATED_ORDER names (read at each launch):
// forward, reverse or random:SEED. A fiber runs on until it waits at __syncthreads or for its warp,
// so a kernel that lacks a barrier gives other results in another order. Shared memory is filled
// with 0xFF (NaN, -1) before each block. These throw std::runtime_error: a barrier that threads of
// the block do not reach, or not in one line of source; a collective that lanes of its mask do not
// reach; a shuffle from a lane that takes no part; and a launch that a GPU would refuse.
//
// Not emulated: waiting in a loop for another thread (it never gets its turn), streams, copies that
// run meanwhile, inline PTX, half precision, the part of static __shared__ arrays in the limit of
// 48 KiB, and nvcc's contraction of a * b + c to one rounding. An error unwinds the stacks of all
// threads of the block: no function that waits may be noexcept.
#pragma once

#if __has_include(<torch/csrc/stable/macros.h>)
#include <torch/csrc/stable/macros.h>  // first, so that the macros below replace its own
#endif

#include <math.h>

#include <cmath>
#include <limits>

#include "blocks.h"

#define NG_EMULATED 1
#define NG_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                          \
  ng_emulated::launch(#kernel, grid, block, shared_bytes, stream, kernel, ##__VA_ARGS__)
#define NG_REGISTER(m) STABLE_TORCH_LIBRARY_IMPL(neurogaze_emulated, CPU, m)
#define NG_DYNAMIC_SHARED(name) unsigned char* const name = ng_emulated::machine.dynamic_shared
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Thread-local variables of a library lie in one piece, which poison_static_shared fills. Address
// sanitizer puts no red zones around them, so under it they are plain statics and keep old values.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

// Vector types, aligned as CUDA aligns them.
#define NG_VECTORS(type, name, two, four)                                                  \
  struct __align__(two) name##2 { type x, y; };                                            \
  struct __align__(four) name##4 { type x, y, z, w; };                                     \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                         \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
NG_VECTORS(float, float, 8, 16)
NG_VECTORS(double, double, 16, 16)
NG_VECTORS(int, int, 8, 16)
NG_VECTORS(unsigned, uint, 8, 16)
NG_VECTORS(unsigned char, uchar, 2, 4)
#undef NG_VECTORS

// The runtime: a device with two multiprocessors.
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlock,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
};
using cudaStream_t = struct CUstream_st*;

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid argument";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }  // a launch that fails throws
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  using namespace ng_emulated;
  const int values[] = {2, kSharedBytes, kOptInSharedBytes};
  return *value = values[attribute], cudaSuccess;
}
template <typename T>
cudaError_t cudaFuncSetAttribute(T* kernel, cudaFuncAttribute, int value) {
  using namespace ng_emulated;
  if (value < 0 || static_cast<size_t>(value) > kOptInSharedBytes) return cudaErrorInvalidValue;
  const std::lock_guard<std::mutex> one_at_a_time(machine.launching);
  machine.shared_limits[(const void*)kernel] = value;
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t = nullptr) {
  return std::memset(at, value, bytes), cudaSuccess;
}

#undef STD_CUDA_CHECK  // torch's own need its CUDA library
#undef STD_CUDA_KERNEL_LAUNCH_CHECK
#define STD_CUDA_CHECK(expression)                                                         \
  do {                                                                                     \
    const cudaError_t error_ = (expression);                                               \
    if (error_ != cudaSuccess) {                                                           \
      throw std::runtime_error(#expression ": " + std::string(cudaGetErrorString(error_)));\
    }                                                                                      \
  } while (0)
#define STD_CUDA_KERNEL_LAUNCH_CHECK() STD_CUDA_CHECK(cudaGetLastError())

// Barriers and collectives. NG_CALLER is where the kernel calls them, which error messages name.
#define NG_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()
constexpr unsigned ng_all_lanes = 0xFFFFFFFF;

inline void __syncthreads(NG_CALLER) {
  ng_emulated::wait_at(ng_emulated::State::at_barrier, "__syncthreads", 0, file, line);
}
inline void __syncwarp(unsigned mask = ng_all_lanes, NG_CALLER) {
  ng_emulated::collective("__syncwarp", mask, 0, ng_emulated::lane(), file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, NG_CALLER) {
  using namespace ng_emulated;
  return collective("__ballot_sync", mask, predicate != 0, lane(), file, line).ballot;
}
inline int __any_sync(unsigned mask, int predicate, NG_CALLER) {
  using namespace ng_emulated;
  return collective("__any_sync", mask, predicate != 0, lane(), file, line).ballot != 0;
}
inline int __all_sync(unsigned mask, int predicate, NG_CALLER) {
  using namespace ng_emulated;
  return collective("__all_sync", mask, predicate == 0, lane(), file, line).ballot == 0;
}
// Lanes form groups of `width`. One that asks for a lane outside its own group gets its own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, NG_CALLER) {
  const unsigned inside = width - 1U, from = (ng_emulated::lane() & ~inside) | (source & inside);
  return ng_emulated::shuffle("__shfl_sync", mask, value, from, file, line);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, NG_CALLER) {
  const unsigned lane = ng_emulated::lane(), end = (lane | (width - 1U)) + 1, from = lane ^ bits;
  return ng_emulated::shuffle("__shfl_xor_sync", mask, value, from < end ? from : lane, file, line);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, NG_CALLER) {
  const unsigned lane = ng_emulated::lane(), inside = lane & (width - 1U);
  const unsigned from = inside + delta < static_cast<unsigned>(width) ? lane + delta : lane;
  return ng_emulated::shuffle("__shfl_down_sync", mask, value, from, file, line);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, NG_CALLER) {
  const unsigned lane = ng_emulated::lane(), inside = lane & (width - 1U);
  const unsigned from = inside >= delta ? lane - delta : lane;
  return ng_emulated::shuffle("__shfl_up_sync", mask, value, from, file, line);
}
#undef NG_CALLER

inline void __trap() { ng_emulated::fail("__trap"); }

// Memory. Threads run one at a time, so that nothing comes between.
inline void __threadfence() {}
inline void __threadfence_block() {}
template <typename T>
T __ldg(const T* from) {
  return *from;
}
template <typename T>
T atomicAdd(T* at, std::common_type_t<T> value) {
  const T old = *at;
  *at = old + value;
  return old;
}
template <typename T>
T atomicMax(T* at, std::common_type_t<T> value) {
  const T old = *at;
  *at = old < value ? value : old;
  return old;
}
template <typename T>
T atomicMin(T* at, std::common_type_t<T> value) {
  const T old = *at;
  *at = value < old ? value : old;
  return old;
}

// Arithmetic. As on a GPU, min and max of a number and NaN are the number.
template <typename A, typename B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = a, y = b;
  return y < x || x != x ? y : x;
}
template <typename A, typename B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = a, y = b;
  return x < y || x != x ? y : x;
}
#if !__GLIBC_PREREQ(2, 42)  // from which on math.h has them
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
#endif
#define __expf expf  // math.h keeps these names for itself
#define __logf logf
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }  // NaN: 0
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }

// Casts keep to the ends of the range where a value lies outside it, and make NaN 0.
template <typename T>
T ng_cast(float x) {
  using Range = std::numeric_limits<T>;
  if (!(x == x)) return 0;
  if (x < static_cast<float>(Range::min())) return Range::min();
  return x >= static_cast<float>(Range::max()) ? Range::max() : static_cast<T>(x);
}
inline int __float2int_rn(float x) { return ng_cast<int>(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return ng_cast<int>(x); }
inline int __float2int_rd(float x) { return ng_cast<int>(std::floor(x)); }
inline int __float2int_ru(float x) { return ng_cast<int>(std::ceil(x)); }
inline unsigned __float2uint_rn(float x) { return ng_cast<unsigned>(std::nearbyint(x)); }
inline unsigned __float2uint_rz(float x) { return ng_cast<unsigned>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
template <typename To, typename From>
To ng_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return ng_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return ng_bits<unsigned>(x); }
inline float __int_as_float(int x) { return ng_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return ng_bits<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
