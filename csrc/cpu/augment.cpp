// augment on the CPU: each image's bytes become a table of 2 x 2 neighbourhoods, so that a pixel
// needs one look-up; then coordinates, look-ups and blends go over strips of rows that stay in the
// cache.
#include "augment_tensors.h"
#include "scratch.h"
#include "simd.h"

namespace ng {
namespace {

constexpr int64_t kStripPixels = 1024;
// Coordinates are computed in whole vectors; each row overwrites what the one before put past it.
constexpr int64_t kOverrun = 16;

template <class T>
struct Batch {
  const uint8_t* store;
  const int64_t* index;
  const float* params;
  T* out;  // [B, S, S, channels]
  ImageLayout layout;
  int32_t size, channels;
  bool tabled;

  int64_t strip_rows() const {
    const int64_t rows = kStripPixels / size;
    return rows < 1 ? 1 : rows > size ? size : rows;
  }
  int64_t strip_room() const { return strip_rows() * size + kOverrun; }
};

NG_INLINE void make_table(const uint8_t* image, ImageLayout f, uint32_t* table) {
  const int64_t inner = int64_t(f.bytes) - f.step - f.row;
  const uint8_t *right = image + f.step, *below = image + f.row, *across = below + f.step;
#pragma omp simd
  for (int64_t i = 0; i < inner; ++i)
    table[i] = uint32_t(image[i]) | uint32_t(right[i]) << 8 | uint32_t(below[i]) << 16 |
               uint32_t(across[i]) << 24;
  for (int64_t i = inner > 0 ? inner : 0; i < f.bytes; ++i)
    table[i] = corners(image, uint32_t(i), f);
}

// Where in the source the pixels of one output row lie.
NG_INLINE void row_places(Plan plan, ImageLayout f, int32_t y, int64_t size, uint32_t* offset,
                          float* fraction_x, float* fraction_y) {
  const float along_x = plan.xy * float(y) + plan.x0, along_y = plan.yy * float(y) + plan.y0;
  const uint32_t origin = offset_origin(f), step = uint32_t(f.step), row = uint32_t(f.row);
  const int32_t columns = int32_t(round_up(size, kOverrun));
#pragma omp simd
  for (int32_t x = 0; x < columns; ++x) {
    const float source_x = clamp_coordinate(plan.xx * float(x) + along_x, f.last_x);
    const float source_y = clamp_coordinate(plan.yx * float(x) + along_y, f.last_y);
    const uint32_t column = split_coordinate(source_x, f.last_x, fraction_x[x]);
    const uint32_t line = split_coordinate(source_y, f.last_y, fraction_y[x]);
    offset[x] = column * step + line * row + origin;
  }
}

template <class T, int BYTES>
NG_INLINE void images_body(Batch<T> a, int64_t begin, int64_t end, uint32_t* memory) {
  const ImageLayout f = a.layout;
  const int64_t size = a.size, room = a.strip_room(), strip_rows = a.strip_rows();
  uint32_t *offset = memory, *table = memory + 6 * room;
  float *fraction_x = reinterpret_cast<float*>(memory + room), *fraction_y = fraction_x + room;
  float* values = fraction_y + room;  // one strip for each of the source's channels
  for (int64_t b = begin; b < end; ++b) {
    const uint8_t* image = a.store + a.index[b] * f.bytes;
    const Plan plan = plan_of(a.params + b * kAugmentParams, f, a.size);
    if (a.tabled) make_table(image, f, table);
    for (int64_t y0 = 0; y0 < size; y0 += strip_rows) {
      const int64_t rows = size - y0 < strip_rows ? size - y0 : strip_rows, pixels = rows * size;
      for (int64_t r = 0; r < rows; ++r)
        row_places(plan, f, int32_t(y0 + r), size, offset + r * size, fraction_x + r * size,
                   fraction_y + r * size);
      for (int32_t c = 0; c < f.step; ++c) {
        float* value = values + c * room;
        if (a.tabled) {
          const uint32_t* channel = table + c;
#pragma omp simd
          for (int64_t i = 0; i < pixels; ++i)
            value[i] =
                blend_corners(channel[offset[i]], fraction_x[i], fraction_y[i]) * plan.gain + plan.bias;
        } else {
          for (int64_t i = 0; i < pixels; ++i)
            value[i] = blend_corners(corners(image, offset[i] + uint32_t(c), f), fraction_x[i],
                                     fraction_y[i]) * plan.gain + plan.bias;
        }
        const int64_t first = plan.cutout_y0 > y0 ? plan.cutout_y0 : y0;
        for (int64_t y = first; y < plan.cutout_y1 && y < y0 + rows; ++y)
          for (int64_t x = plan.cutout_x0; x < plan.cutout_x1; ++x)
            value[(y - y0) * size + x] = 0.0f;
      }
      T* out = a.out + (b * size + y0) * size * a.channels;
      if (a.channels == 1) {
#pragma omp simd
        for (int64_t i = 0; i < pixels; ++i) out[i] = from_opmath<T>(values[i]);
      } else {
        const float *green = values + (f.step == 3 ? room : 0), *blue = green + (green - values);
#pragma omp simd
        for (int64_t i = 0; i < pixels; ++i) {
          out[3 * i] = from_opmath<T>(values[i]);
          out[3 * i + 1] = from_opmath<T>(green[i]);
          out[3 * i + 2] = from_opmath<T>(blue[i]);
        }
      }
    }
  }
}

NG_FOR_EACH_LEVEL(images_kernel, images_body)

void check_index(const Tensor& index, int64_t images) {
  const int64_t* values = index.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < index.numel(); ++i)
    STD_TORCH_CHECK(values[i] >= 0 && values[i] < images, "index must lie in 0..", images - 1,
                    ", found ", values[i], " in row ", i);
}

Tensor augment(const Tensor& store_in, const Tensor& index_in, const Tensor& params_in,
               int64_t size, int64_t channels, ScalarType dtype) {
  const AugmentShape shape = augment_shape(store_in, index_in, params_in, size, channels);
  const Tensor store = torch::stable::contiguous(store_in);
  const Tensor index = contiguous(index_in, ScalarType::Long);
  const Tensor params = contiguous(params_in, ScalarType::Float);
  check_index(index, shape.images);
  Tensor out = augment_output(store, shape, dtype);
  with_float_type(dtype, [&](auto type) {
    using T = decltype(type);
    // A table of a large image leaves the cache and has more entries than pixels look up.
    const bool tabled = shape.layout.bytes <= 65536 && shape.layout.bytes <= 4 * size * size;
    const Batch<T> a{store.const_data_ptr<uint8_t>(), index.const_data_ptr<int64_t>(),
                     params.const_data_ptr<float>(), static_cast<T*>(out.mutable_data_ptr()),
                     shape.layout, int32_t(size), int32_t(channels), tabled};
    const int64_t words = 6 * a.strip_room() + (tabled ? shape.layout.bytes : 0);
    torch::stable::parallel_for(0, shape.batch, 4, [&](int64_t begin, int64_t end) {
      images_kernel<T>(a, begin, end, scratch<uint32_t>(0, words));
    });
  });
  return out;
}

}  // namespace
}  // namespace ng

STABLE_TORCH_LIBRARY_IMPL(neurogaze_fast, CPU, m) { m.impl("augment", TORCH_BOX(&ng::augment)); }
