// Clipped AdamW on the CPU in two passes over memory: one reads the gradients for their norm, one
// updates weights, moments and the weights' average. Both go through chunks of fixed size.
#include "optimizer_step_math.h"
#include "optimizer_step_tensors.h"
#include "simd.h"

namespace ng {
namespace {

constexpr int64_t kChunk = 16384;

struct Chunk {
  size_t slot;
  int64_t first, size;
};

inline void add_chunks(std::vector<Chunk>& chunks, size_t slot, int64_t size) {
  for (int64_t i = 0; i < size; i += kChunk)
    chunks.push_back({slot, i, size - i < kChunk ? size - i : kChunk});
}

// Sum of the squares of x [n].
template <class T, int BYTES>
NG_INLINE void squares_body(const T* x, int64_t n, double* total) {
  using S = Simd<T, BYTES>;
  typename S::Vector sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * S::W <= n; i += 4 * S::W)
    for (int k = 0; k < 4; ++k) {
      const auto v = S::load(x + i + k * S::W);
      sum[k] += v * v;
    }
  T rest = 0;
  for (; i < n; ++i) rest += x[i] * x[i];
  *total = double(S::sum((sum[0] + sum[1]) + (sum[2] + sum[3]))) + double(rest);
}

NG_FOR_EACH_LEVEL(squares, squares_body)

template <class T, int BYTES>
NG_INLINE void update_body(Slot s, int64_t first, int64_t n, AdamW a) {
  T* __restrict weight = s.weight + first;
  if (!a.skip) {
    const T* __restrict gradient = s.gradient + first;
    T *__restrict mean = s.mean + first, *__restrict square = s.square + first;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      T w = weight[i], m = mean[i], q = square[i];
      adamw_element(a, gradient[i], w, m, q);
      weight[i] = w;
      mean[i] = m;
      square[i] = q;
    }
  }
  if (s.average) {  // the weights are in the first cache still
    T* __restrict average = s.average + first;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) average[i] += a.follow * (weight[i] - average[i]);
  }
}

NG_FOR_EACH_LEVEL(update, update_body)

Tensor gradient_norm(Tensors gradients) {
  check_gradients(gradients);
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < gradients.size(); ++i) add_chunks(chunks, i, gradients[i].numel());
  std::vector<double> sums(chunks.size());
  torch::stable::parallel_for(0, chunks.size(), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& c = chunks[i];
      squares<float>(data<float>(gradients[c.slot]) + c.first, c.size, &sums[i]);
    }
  });
  double total = 0;
  for (double sum : sums) total += sum;
  Tensor norm = empty(gradients[0], {}, ScalarType::Float);
  *mutable_data<float>(norm) = float(sqrt(total));
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
  const AdamWOptions options{weight_decay, beta1, beta2, eps, clip};
  const bool bad = *at.skip != 0.0f;
  std::vector<Chunk> chunks;
  std::vector<AdamW> each;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!bad) *slots[i].step += 1.0f;
    each.push_back(adamw(options, *slots[i].step, *at.rate, *at.norm, bad, *at.follow));
    add_chunks(chunks, i, slots[i].size);
  }
  torch::stable::parallel_for(0, chunks.size(), 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& c = chunks[i];
      update<float>(slots[c.slot], c.first, c.size, each[c.slot]);
    }
  });
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("gradient_norm", TORCH_BOX(&ng::gradient_norm));
  m.impl("optimizer_step", TORCH_BOX(&ng::optimizer_step));
}
