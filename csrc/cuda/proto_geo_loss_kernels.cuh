// The kernels of proto_geo_loss; proto_geo_loss.cu says how they work together.
#pragma once

#include "launch.h"
#include "proto_geo_math.h"
#include "vector4.h"

namespace ng {
namespace {

constexpr int kWarps = 4, kRows = 4, kCells = 32, kColumns = 128;
constexpr int kThreads = 32 * kWarps, kGroup = kWarps * kRows;
constexpr int kClassThreads = 1024;

// Lane L gets the sum over all lanes of their v[L]: 31 exchanges instead of 32 x 5.
template <int STEP, class T>
__device__ __forceinline__ T sum_transposed(T (&v)[32], int lane) {
  const bool upper = lane & STEP;
#pragma unroll
  for (int i = 0; i < STEP; ++i) {
    const T keep = upper ? v[i + STEP] : v[i], send = upper ? v[i] : v[i + STEP];
    v[i] = keep + __shfl_xor_sync(0xffffffffu, send, STEP);
  }
  if constexpr (STEP > 1) return sum_transposed<STEP / 2>(v, lane);
  return v[0];
}

template <class In, class T>
struct Rows {
  const In* features;
  const T *prototypes, *target_cells;
  const int64_t* labels;
  int64_t batch, width, cells, chunk;
  int classes;
  bool aligned;
  T inverse_tau;
  T *sums, *counts, *losses, *unit, *row_stats;
  int* finished;
};

// Cosines of kRows rows with up to 32 prototypes: cosine[r] of lane k is that of prototype first + k.
// All warps of the block take part in loading; warps without rows just do not use the result.
template <class In, class T>
__device__ __forceinline__ void cosines(const Rows<In, T>& a, const int64_t (&row)[kRows],
                                        int64_t first, T (*tile)[kColumns], T* inverse_p,
                                        T (&cosine)[kRows], T (&inverse_f)[kRows]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  T dots[kRows][kCells] = {}, square_f[kRows] = {}, square_p[kCells / kWarps] = {};
  for (int64_t d0 = 0; d0 < a.width; d0 += kColumns) {
    const int64_t d = d0 + 4 * lane;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kCells / kWarps; ++i) {
      const int k = warp + i * kWarps;
      T p[4] = {};
      if (first + k < a.cells)
        load4(a.prototypes + (first + k) * a.width + d, a.width - d, a.aligned, p);
      for (int j = 0; j < 4; ++j) {
        tile[k][4 * lane + j] = p[j];
        square_p[i] += p[j] * p[j];
      }
    }
    __syncthreads();
    T f[kRows][4];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      load4(a.features + row[r] * a.width + d, a.width - d, a.aligned, f[r]);
      for (int j = 0; j < 4; ++j) square_f[r] += f[r][j] * f[r][j];
    }
#pragma unroll
    for (int k = 0; k < kCells; ++k) {
      T p[4];
      for (int j = 0; j < 4; ++j) p[j] = tile[k][4 * lane + j];
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        dots[r][k] += (f[r][0] * p[0] + f[r][1] * p[1]) + (f[r][2] * p[2] + f[r][3] * p[3]);
    }
  }
#pragma unroll
  for (int i = 0; i < kCells / kWarps; ++i) {
    const T total = warp_sum(square_p[i]);
    if (lane == 0) inverse_p[warp + i * kWarps] = inverse_norm(total);
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    inverse_f[r] = inverse_norm(warp_sum(square_f[r]));
    cosine[r] = sum_transposed<16>(dots[r], lane) * inverse_f[r] * inverse_p[lane];
  }
}

template <class In, class T>
__global__ void __launch_bounds__(kThreads) rows_kernel(Rows<In, T> a) {
  __shared__ __align__(16) T tile[kCells][kColumns];
  __shared__ T inverse_p[kMaxCells];
  __shared__ T warp_loss[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t begin = blockIdx.x * a.chunk;
  const int64_t end = begin + a.chunk < a.batch ? begin + a.chunk : a.batch;
  const T scale = a.inverse_tau / T(a.batch);
  if (blockIdx.x == 0 && threadIdx.x == 0) *a.finished = 0;
  T loss = 0;
  for (int64_t group = begin; group < end; group += kGroup) {
    int64_t row[kRows];
    const int64_t mine = group + warp * kRows;
    for (int r = 0; r < kRows; ++r) row[r] = mine + r < end ? mine + r : end - 1;
    T cosine[kRows], inverse_f[kRows];
    for (int64_t first = 0; first < a.cells; first += kCells) {
      cosines(a, row, first, tile, inverse_p + first, cosine, inverse_f);
      // Kept in `unit` until the row's softmax is known; lane k % 32 is also the one to read it.
      if (first + lane < a.cells)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
          if (mine + r < end) a.unit[row[r] * a.cells + first + lane] = cosine[r];
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (mine + r >= end) break;
      const T* q = a.target_cells + row[r] * a.cells;
      T* unit = a.unit + row[r] * a.cells;
      T top = -INFINITY;
      for (int64_t k = lane; k < a.cells; k += 32) top = unit[k] <= top ? top : unit[k];
      top = warp_max(top);
      T total = 0, q_sum = 0;
      for (int64_t k = lane; k < a.cells; k += 32) {
        total += exp_of((unit[k] - top) * a.inverse_tau);
        q_sum += q[k];
      }
      total = warp_sum(total);
      q_sum = warp_sum(q_sum);
      const T log_total = top * a.inverse_tau + log_of(total), per_total = T(1) / total;
      T kl = 0, radial = 0;
      for (int64_t k = lane; k < a.cells; k += 32) {
        const T s = unit[k];
        kl += kl_term(q[k], s * a.inverse_tau - log_total);
        const T p = exp_of((s - top) * a.inverse_tau) * per_total;
        const T slope = kl_gradient(p, q[k], q_sum, scale);
        radial += slope * s;
        unit[k] = slope * inverse_p[k];
      }
      radial = warp_sum(radial);
      loss += warp_sum(kl);
      if (lane == 0) {
        a.row_stats[2 * row[r]] = inverse_f[r];
        a.row_stats[2 * row[r] + 1] = norm_is_clamped(inverse_f[r]) ? T(0) : radial;
      }
    }
  }

  // From here on threads own columns (class sums) and classes (counts).
  if (lane == 0) warp_loss[warp] = loss;
  __syncthreads();
  bool bad = false;
  for (int64_t i = begin; i < end; ++i) bad |= a.labels[i] < 0 || a.labels[i] >= a.classes;
  const T poison = bad ? T(NAN) : T(0);
  if (threadIdx.x == 0) {
    T total = poison;
    for (int w = 0; w < kWarps; ++w) total += warp_loss[w];
    a.losses[blockIdx.x] = total;
  }
  for (int c = threadIdx.x; c < a.classes; c += kThreads) {
    T count = poison;
    for (int64_t i = begin; i < end; ++i) count += a.labels[i] == c ? T(1) : T(0);
    a.counts[blockIdx.x * a.classes + c] = count;
  }
  static_assert(kMaxClasses <= kCells && kThreads <= kColumns);
  T* slab = &tile[0][threadIdx.x];  // [classes][kThreads], a column for each thread
  for (int64_t d = threadIdx.x; d < a.width; d += kThreads) {
    for (int c = 0; c < a.classes; ++c) slab[c * kColumns] = T(0);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t label = a.labels[i];
      if (label >= 0 && label < a.classes)
        slab[label * kColumns] += T(to_opmath(a.features[i * a.width + d])) * a.row_stats[2 * i];
    }
    for (int c = 0; c < a.classes; ++c)
      a.sums[(blockIdx.x * int64_t(a.classes) + c) * a.width + d] = slab[c * kColumns];
  }
}

template <class T>
struct Classes {
  const T *sums, *counts, *losses;
  int64_t parts, batch, width;
  T *mean, *gram, *pull, *proto, *cap, *margin;  // gram: [blocks, C, C]
  int* finished;
  Geometry geometry;
};

template <class T>
__global__ void __launch_bounds__(kClassThreads) classes_kernel(Classes<T> a) {
  constexpr int kWarpsHere = kClassThreads / 32;
  __shared__ T part[kWarpsHere][33], mean[kMaxClasses][33], count[kMaxClasses];
  __shared__ T gram[kMaxClasses][kMaxClasses], cross[kMaxClasses][kMaxClasses + 1];
  __shared__ T cap_pull[kMaxClasses], cap_value[kMaxClasses], margin_value[kMaxClasses];
  __shared__ int last;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, C = a.geometry.classes;
  const int64_t d = blockIdx.x * 32 + lane, D = a.width;
  const int slices = kWarpsHere / C;  // warps that share a class; C <= 32
  const int c = warp / slices, slice = warp % slices;

  if (warp < C) {
    T n = 0;
    for (int64_t p = lane; p < a.parts; p += 32) n += a.counts[p * C + warp];
    n = warp_sum(n);
    if (lane == 0) count[warp] = n;
  }
  T sum = 0;
  if (c < C && d < D) {
#pragma unroll 8
    for (int64_t p = slice; p < a.parts; p += slices) sum += a.sums[(p * C + c) * D + d];
  }
  part[warp][lane] = sum;
  __syncthreads();
  if (c < C && slice == 0) {
    for (int i = 1; i < slices; ++i) sum += part[warp + i][lane];
    mean[c][lane] = sum / (count[c] < T(1) ? T(1) : count[c]);
    if (d < D) a.mean[c * D + d] = mean[c][lane];
  }
  __syncthreads();
  for (int pair = warp; pair < C * C; pair += kWarpsHere) {
    const T total = warp_sum(mean[pair / C][lane] * mean[pair % C][lane]);
    if (lane == 0) a.gram[blockIdx.x * C * C + pair] = total;
  }

  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(a.finished, 1) == int(gridDim.x) - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();

  // Volatile: what other blocks wrote must not be taken from this multiprocessor's own cache.
  const volatile T* grams = a.gram;
  for (int pair = threadIdx.x; pair < C * C; pair += kClassThreads) {
    T total = 0;
    for (int b = 0; b < int(gridDim.x); ++b) total += grams[b * C * C + pair];
    gram[pair / C][pair % C] = total;
  }
  __syncthreads();
  bool bad = false;
  for (int i = 0; i < C; ++i) bad |= count[i] != count[i];
  if (threadIdx.x < C) {  // one thread per class
    const int i = threadIdx.x;
    const int pairs = geo_pairs(a.geometry, count), high = geo_high_classes(a.geometry, count);
    T own = 0, margin_sum = 0, pull = 0, value = 0;
    for (int b = 0; b < C; ++b) {
      T x = 0, own_i = 0, own_b = 0, add = 0;
      if (b != i && geo_kept(count[i]) && geo_kept(count[b]))
        add = geo_margin(a.geometry, gram[i][i], gram[b][b], gram[i][b], pairs, x, own_i, own_b);
      cross[i][b] = x;
      own += own_i;
      if (b > i) margin_sum += add;
    }
    cross[i][i] = own;
    if (geo_kept(count[i]) && (a.geometry.high_valence >> i & 1))
      value = geo_cap(a.geometry, gram[i][i], high, pull);
    cap_pull[i] = pull;
    cap_value[i] = value;
    margin_value[i] = margin_sum;
  }
  if (warp == kWarpsHere - 1) {
    T loss = 0;
    for (int64_t p = lane; p < a.parts; p += 32) loss += a.losses[p];
    loss = warp_sum(loss);
    if (lane == 0) *a.proto = loss / T(a.batch);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    T cap = bad ? T(NAN) : T(0);
    for (int i = 0; i < C; ++i) cap += gram[i][i] * T(0);  // a NaN anywhere makes both terms NaN
    T margin_sum = cap;
    for (int i = 0; i < C; ++i) {
      cap += cap_value[i];
      margin_sum += margin_value[i];
    }
    *a.cap = cap;
    *a.margin = margin_sum;
  }
  const volatile T* means = a.mean;
  for (int64_t j = threadIdx.x; j < C * D; j += kClassThreads) {
    const int i = int(j / D);
    const T scale = T(1) / (count[i] < T(1) ? T(1) : count[i]);
    T margin = 0;
    for (int b = 0; b < C; ++b) margin += cross[i][b] * means[b * D + j % D];
    a.pull[j] = cap_pull[i] * means[j] * scale;
    a.pull[C * D + j] = margin * scale;
  }
}

template <class In, class T>
struct Backward {
  const In* features;
  const T *prototypes, *unit, *row_stats, *pull, *grad_proto, *grad_cap, *grad_margin;
  const int64_t* labels;
  int64_t batch, width, cells;
  int classes;
  bool aligned;
  In* gradient;
};

template <class In, class T>
__global__ void __launch_bounds__(kThreads) backward_kernel(Backward<In, T> a) {
  __shared__ __align__(16) T tile[kCells][kColumns];
  __shared__ T slope[kWarps][kRows][kCells];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const T gp = *a.grad_proto, gc = *a.grad_cap, gm = *a.grad_margin;
  const int64_t mine = blockIdx.x * int64_t(kGroup) + warp * kRows;
  int64_t row[kRows];
  const T* pull[kRows];
  T inverse[kRows], radial[kRows];
  for (int r = 0; r < kRows; ++r) {
    row[r] = mine + r < a.batch ? mine + r : a.batch - 1;
    int64_t label = a.labels[row[r]];
    label = label < 0 || label >= a.classes ? 0 : label;  // the loss is NaN already
    pull[r] = a.pull + label * a.width;
    inverse[r] = a.row_stats[2 * row[r]];
  }
  const int64_t other = a.classes * a.width;  // from pull of the cap to that of the margin
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    T along = 0;
    for (int64_t d = 4 * lane; d < a.width; d += kColumns) {
      T f[4], cap[4], margin[4];
      load4(a.features + row[r] * a.width + d, a.width - d, a.aligned, f);
      load4(pull[r] + d, a.width - d, a.aligned, cap);
      load4(pull[r] + other + d, a.width - d, a.aligned, margin);
      for (int j = 0; j < 4; ++j) along += f[j] * (gc * cap[j] + gm * margin[j]);
    }
    along = norm_is_clamped(inverse[r]) ? T(0) : warp_sum(along) * inverse[r];
    radial[r] = (gp * a.row_stats[2 * row[r] + 1] + along) * inverse[r];
  }
  for (int64_t d0 = 0; d0 < a.width; d0 += kColumns) {
    const int64_t d = d0 + 4 * lane;
    T sum[kRows][4] = {};
    for (int64_t first = 0; first < a.cells; first += kCells) {
      __syncthreads();
      for (int k = warp; k < kCells; k += kWarps) {
        T p[4] = {};
        if (first + k < a.cells)
          load4(a.prototypes + (first + k) * a.width + d, a.width - d, a.aligned, p);
        for (int j = 0; j < 4; ++j) tile[k][4 * lane + j] = p[j];
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        slope[warp][r][lane] =
            first + lane < a.cells ? a.unit[row[r] * a.cells + first + lane] : T(0);
      __syncthreads();
#pragma unroll 8
      for (int k = 0; k < kCells; ++k) {
        T p[4];
        for (int j = 0; j < 4; ++j) p[j] = tile[k][4 * lane + j];
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[r][j] += slope[warp][r][k] * p[j];
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (mine + r >= a.batch) break;
      T f[4], cap[4], margin[4];
      load4(a.features + row[r] * a.width + d, a.width - d, a.aligned, f);
      load4(pull[r] + d, a.width - d, a.aligned, cap);
      load4(pull[r] + other + d, a.width - d, a.aligned, margin);
      Vector4<In> out;
      for (int j = 0; j < 4; ++j)
        out.x[j] = from_opmath<In>(
            inverse[r] * (gp * sum[r][j] + gc * cap[j] + gm * margin[j] - f[j] * radial[r]));
      store4(a.gradient + row[r] * a.width + d, a.width - d, a.aligned, out);
    }
  }
}

}  // namespace
}  // namespace ng
