// Cross-entropy and logit distillation on CUDA: one thread per row, blocks of 1,024 rows. A batch of
// one block is finished in one launch; otherwise a second adds the blocks' sums in order.
#include <tuple>

#include "launch.h"
#include "logit_math.h"

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
  T top = to_float(x[0]), total = 0;
  for (int c = 1; c < classes; ++c) top = to_float(x[c]) <= top ? top : T(to_float(x[c]));
  for (int c = 0; c < classes; ++c) total += exp_of((to_float(x[c]) - top) * inverse_temperature);
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
      const T share = target_share(o, y[c], a.weights[c]);
      mass += share;
      ce -= share * ((T(to_float(z[c])) - top) - log_total);
    }
    for (int c = 0; c < C; ++c)
      a.d_ce[row * C + c] = (exp_of((T(to_float(z[c])) - top) - log_total) * mass -
                             target_share(o, y[c], a.weights[c])) / T(o.batch);
    if (o.kd != Kd::kNone) {
      const T* t = a.teacher + row * C;
      const T inverse = T(1) / o.temperature;
      const bool mse = o.kd == Kd::kMse;
      T z_top = 0, t_top = 0;
      const T z_sum = mse ? T(0) : log_sum<T>(z, C, inverse, z_top);
      const T t_sum = mse ? T(0) : log_sum<T>(t, C, inverse, t_top);
      for (int c = 0; c < C; ++c) {
        const T log_p = (T(to_float(z[c])) - z_top) * inverse - z_sum;
        const T log_q = (t[c] - t_top) * inverse - t_sum;
        const T p = mse ? T(to_float(z[c])) : exp_of(log_p), q = mse ? t[c] : exp_of(log_q);
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
  if (i < n) gradient[i] = from_float<In>(*grad_ce * d_ce[i] + (d_kd ? *grad_kd * d_kd[i] : T(0)));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(const Tensor& logits_in, const Tensor& targets_in,
                                                   const Tensor& weights_in,
                                                   std::optional<Tensor> teacher_in,
                                                   double smoothing, int64_t kd_kind,
                                                   double temperature) {
  const OnDevice device(logits_in);
  const int64_t B = logits_in.size(0), C = logits_in.size(1);
  STD_TORCH_CHECK(B > 0 && C > 0, "logits must not be empty");
  const bool distils = teacher_in.has_value();
  const ScalarType wide = wide_type(logits_in);
  const Tensor logits = torch::stable::contiguous(logits_in);
  const Tensor targets = given(targets_in, wide, {B, C}, "targets");
  const Tensor weights = given(weights_in, wide, {C}, "class_weights");
  const Tensor teacher = distils ? given(*teacher_in, wide, {B, C}, "teacher_logits") : targets;
  Tensor ce = make(logits, {}, wide), kd = make(logits, {}, wide);
  Tensor d_ce = make(logits, {B, C}, wide), d_kd = make(logits, {distils ? B : 0, C}, wide);
  const int64_t blocks = (B + kThreads - 1) / kThreads;
  Tensor sums = make(logits, {blocks, 2}, wide);
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const Logits<In, T> a{
        static_cast<const In*>(logits.const_data_ptr()),
        static_cast<const T*>(targets.const_data_ptr()),
        static_cast<const T*>(weights.const_data_ptr()),
        static_cast<const T*>(teacher.const_data_ptr()),
        LogitOptions<T>{B, int(C), distils ? Kd(kd_kind) : Kd::kNone, T(smoothing), T(temperature)},
        static_cast<T*>(sums.mutable_data_ptr()), static_cast<T*>(ce.mutable_data_ptr()),
        static_cast<T*>(kd.mutable_data_ptr()), static_cast<T*>(d_ce.mutable_data_ptr()),
        static_cast<T*>(d_kd.mutable_data_ptr())};
    NG_LAUNCH((logit_kernel<In, T>), dim3(unsigned(blocks)), dim3(kThreads), 0, device.stream(), a);
    if (blocks > 1)
      NG_LAUNCH((sum_kernel<T>), dim3(1), dim3(32), 0, device.stream(), a.sums, int(blocks),
                a.options, a.ce, a.kd);
  });
  return {ce, kd, d_ce, d_kd};
}

Tensor backward(const Tensor& grad_ce, const Tensor& grad_kd, const Tensor& d_ce_in,
                const Tensor& d_kd_in, const Tensor& logits) {
  const OnDevice device(logits);
  const ScalarType wide = wide_type(logits);
  const int64_t B = logits.size(0), C = logits.size(1), n = B * C;
  const bool distilled = d_kd_in.size(0) > 0;
  const Tensor gc = given(grad_ce, wide, {}, "grad_ce"), gk = given(grad_kd, wide, {}, "grad_kd");
  const Tensor d_ce = given(d_ce_in, wide, {B, C}, "d_ce");
  const Tensor d_kd = given(d_kd_in, wide, {distilled ? B : 0, C}, "d_kd");
  Tensor gradient = make(logits, {B, C}, logits.scalar_type());
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const T* y = distilled ? static_cast<const T*>(d_kd.const_data_ptr()) : nullptr;
    NG_LAUNCH((backward_kernel<In, T>), dim3(unsigned((n + 255) / 256)), dim3(256), 0,
              device.stream(), static_cast<const T*>(gc.const_data_ptr()),
              static_cast<const T*>(gk.const_data_ptr()),
              static_cast<const T*>(d_ce.const_data_ptr()), y, n,
              static_cast<In*>(gradient.mutable_data_ptr()));
  });
  return gradient;
}

}  // namespace
}  // namespace ng

NG_REGISTER(m) {
  m.impl("logit_loss", TORCH_BOX(&ng::forward));
  m.impl("logit_loss_backward", TORCH_BOX(&ng::backward));
}
