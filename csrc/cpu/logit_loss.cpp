// Cross-entropy and logit distillation on the CPU, with their gradients, in one pass. Rows have few
// classes, so vectors run across rows: a block of rows is turned to [classes][rows] first.
#include <algorithm>
#include <tuple>

#include "logit_math.h"
#include "scratch.h"
#include "simd.h"
#include "tensors.h"

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
NG_INLINE void turn(const In* x, int64_t rows, int classes, T* out) {
  for (int c = 0; c < classes; ++c)
    for (int l = 0; l < kLanes; ++l)
      out[c * kLanes + l] = to_float(x[(l < rows ? l : rows - 1) * classes + c]);
}

template <class T>
NG_INLINE void turn_back(const T* x, int64_t rows, int classes, T* out) {
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
    turn(a.logits + at, n, C, z);
    turn(a.targets + at, n, C, y);
    T loss[kLanes] = {}, mass[kLanes] = {};
    for (int i = 0; i < C * kLanes; ++i) t[i] = z[i];
    log_softmax(z, C, T(1));
    for (int c = 0; c < C; ++c)
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) {
        const int i = c * kLanes + l;
        y[i] = target_share(o, y[i], a.weights[c]);
        mass[l] += y[i];
        loss[l] -= y[i] * z[i];
      }
    for (int c = 0; c < C; ++c)
#pragma omp simd
      for (int l = 0; l < kLanes; ++l) {
        const int i = c * kLanes + l;
        g[i] = (exp_of(z[i]) * mass[l] - y[i]) / T(o.batch);
      }
    turn_back(g, n, C, a.d_ce + at);
    for (int64_t l = 0; l < n; ++l) ce += double(loss[l]);
    if (o.kd == Kd::kNone) continue;

    for (int i = 0; i < C * kLanes; ++i) z[i] = t[i];
    turn(a.teacher + at, n, C, t);
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
    turn_back(g, n, C, a.d_kd + at);
    for (int64_t l = 0; l < n; ++l) kd += double(loss[l]);
  }
  a.ce[chunk] = T(ce);
  a.kd[chunk] = T(kd);
}

NG_FOR_EACH_LEVEL(logit_kernel, logit_body)

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(const Tensor& logits_in, const Tensor& targets_in,
                                                   const Tensor& weights_in,
                                                   std::optional<Tensor> teacher_in,
                                                   double smoothing, int64_t kd_kind,
                                                   double temperature) {
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
  with_float_type(logits.scalar_type(), [&](auto in) {
    using In = decltype(in);
    using T = decltype(to_float(in));
    const int64_t chunks = (B + kChunk - 1) / kChunk;
    T* sums = scratch<T>(0, 2 * chunks);
    const Logits<In, T> a{
        static_cast<const In*>(logits.const_data_ptr()),
        static_cast<const T*>(targets.const_data_ptr()),
        static_cast<const T*>(weights.const_data_ptr()),
        static_cast<const T*>(teacher.const_data_ptr()),
        LogitOptions<T>{B, int(C), distils ? Kd(kd_kind) : Kd::kNone, T(smoothing), T(temperature)},
        sums, sums + chunks, static_cast<T*>(d_ce.mutable_data_ptr()),
        static_cast<T*>(d_kd.mutable_data_ptr())};
    torch::stable::parallel_for(0, chunks, 16, [&](int64_t begin, int64_t end) {
      T* own = scratch<T>(1, 4 * C * kLanes);
      for (int64_t i = begin; i < end; ++i) logit_kernel<T>(a, i, own);
    });
    double total_ce = 0, total_kd = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      total_ce += double(a.ce[i]);
      total_kd += double(a.kd[i]);
    }
    *static_cast<T*>(ce.mutable_data_ptr()) = T(total_ce / double(B));
    *static_cast<T*>(kd.mutable_data_ptr()) = distils ? T(total_kd) * kd_scale(a.options) : T(0);
  });
  return {ce, kd, d_ce, d_kd};
}

Tensor backward(const Tensor& grad_ce, const Tensor& grad_kd, const Tensor& d_ce_in,
                const Tensor& d_kd_in, const Tensor& logits) {
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
    const T c = *static_cast<const T*>(gc.const_data_ptr());
    const T k = *static_cast<const T*>(gk.const_data_ptr());
    const T* x = static_cast<const T*>(d_ce.const_data_ptr());
    const T* y = static_cast<const T*>(d_kd.const_data_ptr());
    In* out = static_cast<In*>(gradient.mutable_data_ptr());
    for (int64_t i = 0; i < n; ++i) out[i] = from_float<In>(c * x[i] + (distilled ? k * y[i] : T(0)));
  });
  return gradient;
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("logit_loss", TORCH_BOX(&ng::forward));
  m.impl("logit_loss_backward", TORCH_BOX(&ng::backward));
}
