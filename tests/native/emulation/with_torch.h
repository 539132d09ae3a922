// What every kernel's source includes, compiled once for all of them. CUDA's header comes first, so
// that its macros replace torch's.
#include <cuda_runtime.h>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
