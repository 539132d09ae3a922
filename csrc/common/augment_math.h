// What augment does to one pixel, on the host and on the device. Definition in
// neurogaze_fast/reference/augment.py.
#pragma once

#include <cstdint>

#include "half.h"
#include "host_device.h"

namespace ng {

constexpr int kAugmentParams = 12;

// One image's row of `params`, ready for its pixels.
struct Plan {
  // Output pixel (x, y) is read at column xx * x + xy * y + x0 of the source, and at row
  // yx * x + yy * y + y0. On the device the unit is the whole image, because clamping to [0, 1] costs
  // nothing there.
  float xx, xy, x0;
  float yx, yy, y0;
  float gain, bias;                        // from a byte to the result
  int32_t cutout_x0, cutout_x1, cutout_y0, cutout_y1;  // pixels set to 0
};

// Source of an image: pixels are `step` bytes apart, rows `row`, the image has `bytes`.
struct ImageLayout {
  float last_x, last_y;  // W - 1, H - 1
  int32_t step, row, bytes;
};

NG_HD ImageLayout image_layout(int64_t height, int64_t width, int channels) {
  return ImageLayout{float(width - 1), float(height - 1), channels, int32_t(width * channels),
                     int32_t(height * width * channels)};
}

// First of the pixels 0..size whose number is not below `edge`.
NG_HD int32_t cutout_edge(float edge, int32_t size, int32_t if_nan) {
  float e = edge > 0.0f ? edge : 0.0f;
  e = e < float(size) ? e : float(size);
  const int32_t whole = int32_t(e);
  return edge == edge ? whole + (float(whole) < e) : if_nan;
}

NG_HD Plan plan_of(const float* p, ImageLayout layout, int32_t size) {
  // MEAN 0.5 and STD 0.25, and bytes of 1 / 255.
  constexpr float kScale = 1.0f / (255.0f * 0.25f);
#if NG_ON_DEVICE
  // One column or row: any unit does, all coordinates are the same pixel.
  const float unit_x = layout.last_x > 0.0f ? layout.last_x : 1.0f;
  const float unit_y = layout.last_y > 0.0f ? layout.last_y : 1.0f;
#else
  const float unit_x = 1.0f, unit_y = 1.0f;
#endif
  return Plan{p[0] / unit_x,
              p[1] / unit_x,
              p[2] / unit_x,
              p[3] / unit_y,
              p[4] / unit_y,
              p[5] / unit_y,
              p[10] * kScale,
              (p[11] - 0.5f) * 4.0f,
              cutout_edge(p[6], size, size),
              cutout_edge(p[8], size, 0),
              cutout_edge(p[7], size, size),
              cutout_edge(p[9], size, 0)};
}

// Clamped to the image; NaN becomes 0, so that whatever the parameters are,
// the result lies in the image.
NG_HD float clamp_coordinate(float coordinate, [[maybe_unused]] float last) {
#if NG_ON_DEVICE
  return __saturatef(coordinate);
#else
  coordinate = coordinate > 0.0f ? coordinate : 0.0f;
  return coordinate < last ? coordinate : last;
#endif
}

// Splits a clamped coordinate into a pixel 0..last, to which kPixelBias is added, and the fraction of
// the way to the next pixel. At the last pixel that fraction is 0: what is read as "the next" does
// not matter there, as long as it is finite.
#if NG_ON_DEVICE
constexpr uint32_t kPixelBias = 0x4b000000u;  // the bits of 2^23
#else
constexpr uint32_t kPixelBias = 0;
#endif
NG_HD uint32_t split_coordinate(float coordinate, [[maybe_unused]] float last, float& fraction) {
#if NG_ON_DEVICE
  const float whole = __fmaf_rd(coordinate, last, 8388608.0f);  // its low bits are the pixel's number
  fraction = __fmaf_rn(coordinate, last, 8388608.0f - whole);
  return __float_as_uint(whole);
#else
  const int32_t pixel = int32_t(coordinate);
  fraction = coordinate - float(pixel);
  return uint32_t(pixel);
#endif
}

// The byte offset of split_coordinate's pixel is column * step + line * row + offset_origin().
NG_HD uint32_t offset_origin(ImageLayout f) {
  return 0u - kPixelBias * (uint32_t(f.step) + uint32_t(f.row));
}

// Bilinear blend of two rows, each given by its left value and the difference to its right one.
NG_HD float blend(float top, float top_step, float bottom, float bottom_step, float fraction_x,
                  float fraction_y) {
  top += fraction_x * top_step;
  bottom += fraction_x * bottom_step;
  return top + fraction_y * (bottom - top);
}

// The 2 x 2 bytes at `offset` of an image, as bytes of one word: left to right, top to bottom. Past
// the image's end (where split_coordinate's fraction is 0) its last bytes are read.
NG_HD uint32_t corners(const uint8_t* image, uint32_t offset, ImageLayout f) {
  const uint32_t last = uint32_t(f.bytes - 1), right = offset + uint32_t(f.step),
                 below = offset + uint32_t(f.row), across = right + uint32_t(f.row);
  return uint32_t(image[offset]) | uint32_t(image[right < last ? right : last]) << 8 |
         uint32_t(image[below < last ? below : last]) << 16 |
         uint32_t(image[across < last ? across : last]) << 24;
}

NG_HD float blend_corners(uint32_t word, float fraction_x, float fraction_y) {
  // Through int32_t: conversions from unsigned do not vectorise below AVX-512.
  const float a = float(int32_t(word & 255u)), b = float(int32_t(word >> 8 & 255u));
  const float c = float(int32_t(word >> 16 & 255u)), d = float(int32_t(word >> 24));
  return blend(a, b - a, c, d - c, fraction_x, fraction_y);
}

}  // namespace ng
