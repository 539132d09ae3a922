// Cross-entropy and logit distillation on CUDA: one thread per row, blocks of 1,024 rows. A batch of
// one block is finished in one launch; otherwise a second adds the blocks' sums in order.
#include <tuple>

#include "launch.h"
#include "logit_loss_tensors.h"

namespace ng {
namespace {

constexpr int kThreads = 1024;

template <class In, class T>
struct Logits {
  const In* logits;
  const T *targets, *weights, *teacher;
  LogitOptions<T> options;
  T *sums;  // [blocks, 2]
  T *ce, *kd, *d_ce, *d_kd;
};

// Returns log sum exp((x - top) / temperature); top, the largest x, is kept apart because added to the
// logarithm it would cost digits.
template <class T, class In>
__device__ __forceinline__ T log_sum(const In* x, int classes, T inverse_temperature, T& top_out) {
  T top = to_opmath(x[0]), total = 0;
  for (int c = 1; c < classes; ++c) top = to_opmath(x[c]) <= top ? top : T(to_opmath(x[c]));
  for (int c = 0; c < classes; ++c) total += exp_of((to_opmath(x[c]) - top) * inverse_temperature);
  top_out = top;
  return log_of(total);
}

template <class T>
__device__ __forceinline__ void finish(const LogitOptions<T>& o, T ce, T kd, T* ce_out, T* kd_out) {
  *ce_out = ce / T(o.batch);
  *kd_out = o.kd == Kd::kNone ? T(0) : kd * kd_scale(o);
}

template <class In, class T>
__global__ void __launch_bounds__(kThreads) logit_kernel(Logits<In, T> a) {
  __shared__ T partial[2][kThreads / 32];
  const LogitOptions<T> o = a.options;
  const int C = o.classes;
  const int64_t row = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  T ce = 0, kd = 0;
  if (row < o.batch) {
    const In* z = a.logits + row * C;
    const T* y = a.targets + row * C;
    T top;
    const T log_total = log_sum<T>(z, C, T(1), top);
    T mass = 0;
    for (int c = 0; c < C; ++c) {
      const T target = smoothed_target(o, y[c], a.weights[c]);
      mass += target;
      ce -= target * ((T(to_opmath(z[c])) - top) - log_total);
    }
    for (int c = 0; c < C; ++c)
      a.d_ce[row * C + c] = (exp_of((T(to_opmath(z[c])) - top) - log_total) * mass -
                             smoothed_target(o, y[c], a.weights[c])) / T(o.batch);
    if (o.kd != Kd::kNone) {
      const T* t = a.teacher + row * C;
      const T inverse = T(1) / o.temperature;
      const bool mse = o.kd == Kd::kMse;
      T z_top = 0, t_top = 0;
      const T z_sum = mse ? T(0) : log_sum<T>(z, C, inverse, z_top);
      const T t_sum = mse ? T(0) : log_sum<T>(t, C, inverse, t_top);
      for (int c = 0; c < C; ++c) {
        const T log_p = (T(to_opmath(z[c])) - z_top) * inverse - z_sum;
        const T log_q = (t[c] - t_top) * inverse - t_sum;
        const T p = mse ? T(to_opmath(z[c])) : exp_of(log_p), q = mse ? t[c] : exp_of(log_q);
        kd += mse ? (p - q) * (p - q) : q * (log_q - log_p);
        a.d_kd[row * C + c] = kd_gradient(o, p, q);
      }
    }
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  ce = warp_sum(ce);
  kd = warp_sum(kd);
  if (lane == 0) {
    partial[0][warp] = ce;
    partial[1][warp] = kd;
  }
  __syncthreads();
  if (warp == 0) {
    ce = warp_sum(partial[0][lane]);
    kd = warp_sum(partial[1][lane]);
    if (lane == 0) {
      if (gridDim.x == 1) {
        finish(o, ce, kd, a.ce, a.kd);
      } else {
        a.sums[2 * blockIdx.x] = ce;
        a.sums[2 * blockIdx.x + 1] = kd;
      }
    }
  }
}

template <class T>
__global__ void sum_kernel(const T* sums, int blocks, LogitOptions<T> o, T* ce_out, T* kd_out) {
  T ce = 0, kd = 0;
  for (int b = threadIdx.x; b < blocks; b += 32) {
    ce += sums[2 * b];
    kd += sums[2 * b + 1];
  }
  ce = warp_sum(ce);
  kd = warp_sum(kd);
  if (threadIdx.x == 0) finish(o, ce, kd, ce_out, kd_out);
}

template <class In, class T>
__global__ void backward_kernel(const T* grad_ce, const T* grad_kd, const T* d_ce, const T* d_kd,
                                int64_t n, In* gradient) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i < n) gradient[i] = from_opmath<In>(*grad_ce * d_ce[i] + (d_kd ? *grad_kd * d_kd[i] : T(0)));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& logits, const Tensor& targets, const Tensor& weights,
    std::optional<Tensor> teacher, double smoothing, int64_t kd, double temperature) {
  const OnDevice device(logits);
  const LogitTensors t =
      logit_tensors(logits, targets, weights, teacher, smoothing, kd, temperature);
  const int64_t blocks = (t.batch + kThreads - 1) / kThreads;
  const Tensor sums = empty(logits, {blocks, 2}, t.opmath);
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const Logits<In, T> a{data<In>(t.logits),         data<T>(t.targets),
                          data<T>(t.weights),         data<T>(t.teacher),
                          t.options<T>(),             mutable_data<T>(sums),
                          mutable_data<T>(t.ce),      mutable_data<T>(t.kd_loss),
                          mutable_data<T>(t.d_ce),    mutable_data<T>(t.d_kd)};
    NG_LAUNCH((logit_kernel<In, T>), dim3(unsigned(blocks)), dim3(kThreads), 0, device.stream(), a);
    if (blocks > 1)
      NG_LAUNCH((sum_kernel<T>), dim3(1), dim3(32), 0, device.stream(), a.sums, int(blocks),
                a.options, a.ce, a.kd);
  });
  return t.results();
}

Tensor backward(const Tensor& grad_ce, const Tensor& grad_kd, const Tensor& d_ce,
                const Tensor& d_kd, const Tensor& logits) {
  const OnDevice device(logits);
  const LogitGradients t = logit_gradients(grad_ce, grad_kd, d_ce, d_kd, logits);
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    NG_LAUNCH((backward_kernel<In, T>), dim3(unsigned((t.elements + 255) / 256)), dim3(256), 0,
              device.stream(), data<T>(t.grad_ce), data<T>(t.grad_kd), data<T>(t.d_ce),
              t.distils ? data<T>(t.d_kd) : nullptr, t.elements, mutable_data<In>(t.gradient));
  });
  return t.gradient;
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) {
  m.impl("logit_loss", TORCH_BOX(&ng::forward));
  m.impl("logit_loss_backward", TORCH_BOX(&ng::backward));
}
