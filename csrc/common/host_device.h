// One spelling for functions that run on the host and on the device.
#pragma once

#if defined(__CUDACC__)
#define NG_HD __host__ __device__ __forceinline__
#else
// Always inlined, because a host function takes on the instruction set of the function it is inlined
// into (cpu/simd.h); an out-of-line copy would be compiled for the baseline.
#define NG_HD inline __attribute__((always_inline))
#endif

#if defined(__CUDA_ARCH__)
#define NG_ON_DEVICE 1
#else
#define NG_ON_DEVICE 0
#endif
