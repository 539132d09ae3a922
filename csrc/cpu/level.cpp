// Which instruction set the CPU kernels use; `torch.ops.neurogaze_fast.cpu_level()`.
#include <torch/csrc/stable/library.h>

#include <cstdlib>
#include <cstring>

#include "simd.h"

namespace ng {
namespace {

Level detect() {
  Level level = Level::kBaseline;
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    level = Level::kAvx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      level = Level::kAvx512;
  }
  if (const char* asked = std::getenv("NEUROGAZE_CPU_LEVEL")) {
    if (!std::strcmp(asked, "baseline")) level = Level::kBaseline;
    if (!std::strcmp(asked, "avx2") && level > Level::kAvx2) level = Level::kAvx2;
  }
#endif
  return level;
}

int64_t cpu_level_op() { return static_cast<int64_t>(cpu_level()); }

}  // namespace

Level cpu_level() {
  static const Level level = detect();
  return level;
}

}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&ng::cpu_level_op));
}
