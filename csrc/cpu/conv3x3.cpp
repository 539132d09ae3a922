// 3x3 convolution (stride 1, padding 1) and its weight gradient by Winograd's F(2x2, 3x3), bfloat16 in
// channels-last order with float32 sums.
#include "conv3x3_winograd.h"

#include <vector>

#include "scratch.h"
#include "tensors.h"

namespace ng {
namespace {

bool conv3x3_available() {
#if NG_WINOGRAD
  return cpu_level() == Level::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

#if NG_WINOGRAD
using namespace winograd;

// Tiles worked on together, at most: what they become stays in the second cache with few channels;
// with many the weights do not, and are read once for so many tiles. More makes nothing faster.
constexpr int64_t kBlock = 48;
// For the weights' gradient, whose sums are read and written once for so many tiles.
constexpr int64_t kGradientTiles = 512;

struct Shape {
  Tiles tiles;
  int64_t inputs, outputs, count;  // channels; tiles in all
};

Shape shape_of(const Tensor& x, int64_t outputs) {
  const int64_t height = x.size(1), width = x.size(2);
  const Tiles tiles{height, width, (height + 1) / 2, (width + 1) / 2};
  return {tiles, x.size(3), outputs, x.size(0) * tiles.of_image()};
}

// Weights [O, 3, 3, C] -> [place][outputs / kPanel][inputs / 2][kPanel][2], for kLane of the O from
// `first` on. Turned, for the data's gradient: C are the outputs, and the kernel is turned about.
template <bool TURNED>
NG_AVX512 void pack(const float* weight, int64_t O, int64_t C, bf16* packed, int64_t first) {
  const int64_t inputs = TURNED ? O : C;
  for (int64_t c = 0; c < C; c += kLane) {
    Floats w[9][kLane];  // vectors of outputs, one for each input
    for (int k = 0; k < 9; ++k) {
      for (int64_t i = 0; i < kLane; ++i) w[k][i] = load(weight + ((first + i) * 9 + k) * C + c);
      if (!TURNED) transpose(w[k]);
    }
    const int64_t output = TURNED ? c : first, input = TURNED ? first : c;
    for (int64_t i = 0; i < kLane; i += 2) {
      Floats d[2][16];
      for (int half = 0; half < 2; ++half) {
        for (int k = 0; k < 9; ++k)
          d[half][k / 3 * 4 + k % 3] = w[TURNED ? 8 - k : k][i + half];
        for (int j = 0; j < 3; ++j) spread_weights(d[half] + j, 4);
        for (int j = 0; j < 4; ++j) spread_weights(d[half] + 4 * j, 1);
      }
      bf16* to = packed + (output / kPanel * inputs + input + i) * kPanel + output % kPanel * 2;
      for (int k = 0; k < 16; ++k) store_pairs(to + k * O * C, d[0][k], d[1][k]);
    }
  }
}

// Results of `n` tiles from `first` on. `spread` and `sums` hold a value a channel, tile and place;
// the places are `stride` values apart, not a power of two, or all would share a set of the cache.
NG_AVX512 void convolve(const Shape& s, const bf16* x, const bf16* packed, bf16* y, int64_t first,
                        int64_t n, bf16* spread, float* sums, const bf16* zero, bf16* outside) {
  const int64_t C = s.inputs, O = s.outputs;
  const int64_t spread_stride = n * C + 96, sums_stride = n * O + 48;
  for (int64_t i = 0; i < n; ++i) {
    const bf16* at[16];
    find_inputs(s.tiles, x, C, first + i, zero, at);
    for (int64_t c = 0; c < C; c += kLane) {
      Floats d[16];
      input_of_tile(at, c, d);
      for (int k = 0; k < 16; ++k) store(spread + k * spread_stride + i * C + c, d[k]);
    }
  }
  for (int64_t k = 0; k < kPlaces; ++k)
    for (int64_t o = 0; o < O; o += kPanel)
      product<false>(spread + k * spread_stride, C, 2, packed + k * C * O + o * C, kPanel * 2, C / 2,
                     sums + k * sums_stride + o, O, n);
  for (int64_t i = 0; i < n; ++i) {
    bf16* at[4];
    find_outputs(s.tiles, y, O, first + i, outside, at);
    for (int64_t o = 0; o < O; o += kLane) {
      Floats d[16];
      for (int k = 0; k < 16; ++k) d[k] = load(sums + k * sums_stride + i * O + o);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) gather_output(d + j, 4);
      gather_output(d, 1);
      gather_output(d + 4, 1);
      store(at[0] + o, d[0]);
      store(at[1] + o, d[1]);
      store(at[2] + o, d[4]);
      store(at[3] + o, d[5]);
    }
  }
}

// x [B, H, W, C], weight [O, 3, 3, C] -> [B, H, W, O]; turned: x [B, H, W, O] -> [B, H, W, C].
Tensor conv3x3(const Tensor& x, const Tensor& weight, bool turned) {
  STD_TORCH_CHECK(conv3x3_available(), "conv3x3 needs a processor with AVX-512 and bfloat16");
  const Tensor w = contiguous(weight, ScalarType::Float), in = contiguous(x, ScalarType::BFloat16);
  const int64_t O = w.size(0), C = w.size(3);
  check_shape(w, {O, 3, 3, C}, "weight");
  check_shape(in, {x.size(0), x.size(1), x.size(2), turned ? O : C}, "x");
  STD_TORCH_CHECK(O % kPanel == 0 && C % kPanel == 0, "channels must be a multiple of 32");
  const Shape s = shape_of(in, turned ? C : O);
  const Tensor y = empty(in, {x.size(0), x.size(1), x.size(2), s.outputs}, ScalarType::BFloat16);
  if (s.count == 0) return y;
  bf16* packed = scratch<bf16>(0, kPlaces * O * C);
  const float* from = data<float>(w);
  torch::stable::parallel_for(0, O / kLane, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin * kLane; o < end * kLane; o += kLane) {
      if (turned) pack<true>(from, O, C, packed, o);
      else pack<false>(from, O, C, packed, o);
    }
  });
  // As many blocks for each thread; a tile's results do not depend on the block it is in.
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t blocks = round_up((s.count + kBlock - 1) / kBlock, threads);
  const int64_t block = round_up((s.count + blocks - 1) / blocks, 4);
  const int64_t widest = O > C ? O : C;
  const std::vector<bf16> zero(widest, bf16{0});
  torch::stable::parallel_for(0, (s.count + block - 1) / block, 1, [&](int64_t begin, int64_t end) {
    bf16* spread = scratch<bf16>(1, kPlaces * (block * s.inputs + 96));
    float* sums = scratch<float>(2, kPlaces * (block * s.outputs + 48));
    bf16* outside = scratch<bf16>(3, widest);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * block, left = s.count - first;
      convolve(s, data<bf16>(in), packed, mutable_data<bf16>(y), first, left < block ? left : block,
               spread, sums, zero.data(), outside);
    }
  });
  return y;
}

// Two tiles' inputs or gradients, as pairs: [place][tiles / 2][channels][2].
template <bool INPUT>
NG_AVX512 void spread_two(const Tiles& t, const bf16* from, int64_t channels, int64_t tile,
                          int64_t last, const bf16* zero, bf16* to, int64_t stride) {
  const bf16* at[2][16];
  for (int half = 0; half < 2; ++half) {
    const int64_t i = tile + half;
    if (i > last) {
      for (int k = 0; k < 16; ++k) at[half][k] = zero;
    } else if (INPUT) {
      find_inputs(t, from, channels, i, zero, at[half]);
    } else {
      find_outputs(t, from, channels, i, zero, at[half]);
    }
  }
  for (int64_t c = 0; c < channels; c += kLane) {
    Floats d[2][16];
    for (int half = 0; half < 2; ++half) {
      if (INPUT) input_of_tile(at[half], c, d[half]);
      else gradient_of_tile(at[half], c, d[half]);
    }
    for (int k = 0; k < 16; ++k) store_pairs(to + k * stride + c * 2, d[0][k], d[1][k]);
  }
}

NG_AVX512 void accumulate(const bf16* g, int64_t O, const bf16* x, int64_t C, int64_t pairs,
                          float* sums, int64_t c, bool add) {
  if (add) product<true>(g, 2, O * 2, x + c * 2, C * 2, pairs, sums + c, C, O);
  else product<false>(g, 2, O * 2, x + c * 2, C * 2, pairs, sums + c, C, O);
}

NG_AVX512 void gather(const float* sums, int64_t O, int64_t C, int64_t o, float* out) {
  for (int64_t c = 0; c < C; c += kLane) {
    Floats d[16];
    for (int k = 0; k < 16; ++k) d[k] = load(sums + (k * O + o) * C + c);
    for (int j = 0; j < 4; ++j) gather_weights(d + j, 4);
    for (int i = 0; i < 3; ++i) gather_weights(d + 4 * i, 1);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) store(out + (o * 9 + 3 * i + j) * C + c, d[4 * i + j]);
  }
}

// x [B, H, W, C], gradient of the result [B, H, W, O] -> float32 gradient of the weights [O, 3, 3, C].
// Chunks of tiles follow one another, and threads share the places of one, so that the sums have one
// order whatever the number of threads.
Tensor conv3x3_weight_gradient(const Tensor& x, const Tensor& gradient) {
  STD_TORCH_CHECK(conv3x3_available(), "conv3x3 needs a processor with AVX-512 and bfloat16");
  const Tensor in = contiguous(x, ScalarType::BFloat16);
  const Tensor g = contiguous(gradient, ScalarType::BFloat16);
  const int64_t O = g.size(3), C = in.size(3);
  check_shape(g, {x.size(0), x.size(1), x.size(2), O}, "gradient");
  STD_TORCH_CHECK(O % kPanel == 0 && C % kPanel == 0, "channels must be a multiple of 32");
  const Shape s = shape_of(in, O);
  const Tensor out = empty(in, {O, 3, 3, C}, ScalarType::Float);
  const int64_t pairs = kGradientTiles / 2;
  const int64_t x_stride = pairs * C * 2 + 96, g_stride = pairs * O * 2 + 96;
  bf16 *xs = scratch<bf16>(0, kPlaces * x_stride), *gs = scratch<bf16>(1, kPlaces * g_stride);
  float* sums = scratch<float>(2, kPlaces * O * C);
  const std::vector<bf16> zero(O > C ? O : C, bf16{0});
  for (int64_t first = 0; first == 0 || first < s.count; first += kGradientTiles) {
    const int64_t left = s.count - first;
    const int64_t n = ((left < kGradientTiles ? left : kGradientTiles) + 1) / 2;
    torch::stable::parallel_for(0, n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t tile = first + 2 * i;
        spread_two<true>(s.tiles, data<bf16>(in), C, tile, s.count - 1, zero.data(), xs + i * C * 2,
                         x_stride);
        spread_two<false>(s.tiles, data<bf16>(g), O, tile, s.count - 1, zero.data(), gs + i * O * 2,
                          g_stride);
      }
    });
    const int64_t panels = C / kPanel;
    torch::stable::parallel_for(0, kPlaces * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t k = i / panels, c = i % panels * kPanel;
        accumulate(gs + k * g_stride, O, xs + k * x_stride, C, n, sums + k * O * C, c, first > 0);
      }
    });
  }
  torch::stable::parallel_for(0, O, 16, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) gather(sums, O, C, o, mutable_data<float>(out));
  });
  return out;
}
#endif

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CompositeExplicitAutograd, m) {
  m.impl("conv3x3_available", TORCH_BOX(&ng::conv3x3_available));
}
#if NG_WINOGRAD
STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) {
  m.impl("conv3x3", TORCH_BOX(&ng::conv3x3));
  m.impl("conv3x3_weight_gradient", TORCH_BOX(&ng::conv3x3_weight_gradient));
}
#endif
