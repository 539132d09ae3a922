// Shapes of augment's tensors and its output, for both kinds of kernel.
#pragma once

#include "augment_math.h"
#include "tensors.h"

namespace ng {

struct AugmentShape {
  int64_t images, batch, size, channels;
  ImageLayout layout;
};

inline AugmentShape augment_shape(const Tensor& store, const Tensor& index, const Tensor& params,
                                  int64_t size, int64_t channels) {
  const bool colour = store.dim() == 4;
  STD_TORCH_CHECK(store.scalar_type() == ScalarType::Byte && (store.dim() == 3 || colour),
                  "store must be uint8 [M, H, W] or [M, H, W, 3]");
  const int64_t height = store.size(1), width = store.size(2), batch = index.numel();
  check_shape(index, {batch}, "index");
  check_shape(params, {batch, kAugmentParams}, "params");
  STD_TORCH_CHECK((!colour || store.size(3) == 3) && (channels == 3 || (channels == 1 && !colour)),
                  "channels must be 1 or 3 (3 for colour)");
  // A pixel's number is a float on the way, its byte offset 32 bits wide.
  constexpr int64_t kSide = 1 << 22, kBytes = int64_t(1) << 30;
  STD_TORCH_CHECK(height > 0 && width > 0 && height < kSide && width < kSide &&
                      height * width * 3 < kBytes && size > 0 && size < (1 << 14),
                  "images must have 1 to ", kBytes / 3, " pixels and size must be below 16384");
  return {store.size(0), batch, size, channels, image_layout(height, width, colour ? 3 : 1)};
}

inline Tensor augment_output(const Tensor& like, const AugmentShape& s, ScalarType dtype) {
  return torch::stable::empty({s.batch, s.channels, s.size, s.size}, dtype, std::nullopt,
                              like.device(), std::nullopt,
                              torch::headeronly::MemoryFormat::ChannelsLast);
}

}  // namespace ng
