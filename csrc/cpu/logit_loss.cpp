// Cross-entropy and logit distillation on the CPU, with their gradients, in one pass. Rows have few
// classes, so vectors run across rows: a block of rows is transposed to [classes][rows] first.
#include <algorithm>
#include <tuple>

#include "logit_loss_tensors.h"
#include "scratch.h"
#include "simd.h"

namespace ng {
namespace {

constexpr int kLanes = 16;      // rows of a block
constexpr int64_t kChunk = 64;  // rows whose losses are added together first

template <class In, class T>
struct Logits {
  const In* logits;
  const T *targets, *weights, *teacher;
  LogitOptions<T> options;
  T *ce, *kd;          // one per chunk
  T *d_ce, *d_kd;      // [B, C]
};

// x[c][lane] -> log-softmax of x / temperature, in place.
template <class T>
NG_INLINE void log_softmax(T* x, int classes, T inverse_temperature) {
  T top[kLanes], total[kLanes];
  for (int l = 0; l < kLanes; ++l) top[l] = x[l], total[l] = T(0);
  for (int c = 1; c < classes; ++c)
#pragma omp simd
    for (int l = 0; l < kLanes; ++l)
      top[l] = x[c * kLanes + l] > top[l] ? x[c * kLanes + l] : top[l];
  for (int c = 0; c < classes; ++c)
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) {
      x[c * kLanes + l] = (x[c * kLanes + l] - top[l]) * inverse_temperature;
      total[l] += exp_of(x[c * kLanes + l]);
    }
#pragma omp simd
  for (int l = 0; l < kLanes; ++l) total[l] = log_of(total[l]);
  for (int c = 0; c < classes; ++c)
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) x[c * kLanes + l] -= total[l];
}

// [rows][classes] -> [classes][lane]; lanes beyond `rows` repeat the last one.
template <class T, class In>
NG_INLINE void transpose(const In* x, int64_t rows, int classes, T* out) {
  for (int c = 0; c < classes; ++c)
    for (int l = 0; l < kLanes; ++l)
      out[c * kLanes + l] = to_opmath(x[(l < rows ? l : rows - 1) * classes + c]);
}

template <class T>
NG_INLINE void transpose_back(const T* x, int64_t rows, int classes, T* out) {
  for (int l = 0; l < rows; ++l)
    for (int c = 0; c < classes; ++c) out[l * classes + c] = x[c * kLanes + l];
}

template <class T, int BYTES, class In>
NG_INLINE void logit_body(Logits<In, T> a, int64_t chunk, T* scratch) {
  const LogitOptions<T> o = a.options;
  const int C = o.classes;
  T *z = scratch, *y = z + C * kLanes, *t = y + C * kLanes, *g = t + C * kLanes;
  double ce = 0, kd = 0;
  const int64_t begin = chunk * kChunk;
  const int64_t end = begin + kChunk < o.batch ? begin + kChunk : o.batch;
  for (int64_t row = begin; row < end; row += kLanes) {
    const int64_t n = end - row < kLanes ? end - row : kLanes, at = row * C;
    transpose(a.logits + at, n, C, z);
    transpose(a.targets + at, n, C, y);
    T loss[kLanes] = {}, mass[kLanes] = {};
    for (int i = 0; i < C * kLanes; ++i) t[i] = z[i];
    log_softmax(z, C, T(1));
    for (int c = 0; c < C; ++c)
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) {
        const int i = c * kLanes + l;
        y[i] = smoothed_target(o, y[i], a.weights[c]);
        mass[l] += y[i];
        loss[l] -= y[i] * z[i];
      }
    for (int c = 0; c < C; ++c)
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) {
        const int i = c * kLanes + l;
        g[i] = (exp_of(z[i]) * mass[l] - y[i]) / T(o.batch);
      }
    transpose_back(g, n, C, a.d_ce + at);
    for (int64_t l = 0; l < n; ++l) ce += double(loss[l]);
    if (o.kd == Kd::kNone) continue;

    for (int i = 0; i < C * kLanes; ++i) z[i] = t[i];
    transpose(a.teacher + at, n, C, t);
    for (int l = 0; l < kLanes; ++l) loss[l] = T(0);
    if (o.kd == Kd::kKl) {
      log_softmax(z, C, T(1) / o.temperature);
      log_softmax(t, C, T(1) / o.temperature);
    }
    for (int c = 0; c < C; ++c)
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) {
        const int i = c * kLanes + l;
        const bool mse = o.kd == Kd::kMse;
        const T p = mse ? z[i] : exp_of(z[i]), q = mse ? t[i] : exp_of(t[i]);
        loss[l] += mse ? (p - q) * (p - q) : q * (t[i] - z[i]);
        g[i] = kd_gradient(o, p, q);
      }
    transpose_back(g, n, C, a.d_kd + at);
    for (int64_t l = 0; l < n; ++l) kd += double(loss[l]);
  }
  a.ce[chunk] = T(ce);
  a.kd[chunk] = T(kd);
}

NG_FOR_EACH_LEVEL(logit_kernel, logit_body)

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& logits, const Tensor& targets, const Tensor& weights,
    std::optional<Tensor> teacher, double smoothing, int64_t kd, double temperature) {
  const LogitTensors t =
      logit_tensors(logits, targets, weights, teacher, smoothing, kd, temperature);
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const int64_t chunks = (t.batch + kChunk - 1) / kChunk;
    T* sums = scratch<T>(0, 2 * chunks);
    const Logits<In, T> a{data<In>(t.logits),      data<T>(t.targets),
                          data<T>(t.weights),      data<T>(t.teacher),
                          t.options<T>(),          sums,
                          sums + chunks,           mutable_data<T>(t.d_ce),
                          mutable_data<T>(t.d_kd)};
    torch::stable::parallel_for(0, chunks, 16, [&](int64_t begin, int64_t end) {
      T* block = scratch<T>(1, 4 * t.classes * kLanes);
      for (int64_t i = begin; i < end; ++i) logit_kernel<T>(a, i, block);
    });
    double total_ce = 0, total_kd = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      total_ce += double(a.ce[i]);
      total_kd += double(a.kd[i]);
    }
    const bool distils = a.options.kd != Kd::kNone;
    *mutable_data<T>(t.ce) = T(total_ce / double(t.batch));
    *mutable_data<T>(t.kd_loss) = distils ? T(total_kd) * kd_scale(a.options) : T(0);
  });
  return t.results();
}

Tensor backward(const Tensor& grad_ce, const Tensor& grad_kd, const Tensor& d_ce,
                const Tensor& d_kd, const Tensor& logits) {
  const LogitGradients t = logit_gradients(grad_ce, grad_kd, d_ce, d_kd, logits);
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = opmath_t<In>;
    const T c = *data<T>(t.grad_ce), k = *data<T>(t.grad_kd);
    const T *x = data<T>(t.d_ce), *y = data<T>(t.d_kd);
    In* out = mutable_data<In>(t.gradient);
    for (int64_t i = 0; i < t.elements; ++i)
      out[i] = from_opmath<In>(c * x[i] + (t.distils ? k * y[i] : T(0)));
  });
  return t.gradient;
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("logit_loss", TORCH_BOX(&ng::forward));
  m.impl("logit_loss_backward", TORCH_BOX(&ng::backward));
}
