// neurogaze_fast._io: reads the rows of fer2013.csv straight into uint8[N, 48, 48].
//
// Takes only rows in their regular form: 2304 numbers of one to three digits with one space between
// them, fields bare or wholly quoted, with spaces around them or not, \n or \r\n. Before any other
// row it stops: neurogaze_fast/faces/fer_csv.py, which says what is valid and words every error,
// goes on from there.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,popcnt")))
#endif

namespace py = pybind11;
namespace {

constexpr int64_t kSide = 48, kPixels = kSide * kSide;
constexpr int64_t kMinFieldBytes = 2 * kPixels - 1;  // one digit and a space per pixel
constexpr int64_t kBlockBytes = 256 * 1024;  // stays in a core's second-level cache
constexpr int64_t kPad = 64;  // decode_lanes reads 3 bytes before a field and up to 32 after it

struct Text {
  const char *begin, *end;
  int64_t size() const { return end - begin; }
};

// Writes the 2304 values of a field, or returns false where it is not in its regular form. Just
// before and after a field lies a comma, quote, space, line end or padding: never a digit.
using PixelDecoder = bool (*)(Text field, uint8_t* out);

// Which column holds what (-1: none does), and the arrays that its rows go to.
struct Plan {
  int columns, pixels_column, emotion_column, usage_column;
  PixelDecoder decode_pixels;
  uint8_t *pixels, *usage;
  int8_t* emotion;
  int64_t capacity;
};

bool decode_pixels_portable(Text field, uint8_t* out) {
  const char* at = field.begin;
  for (int64_t i = 0; i < kPixels; ++i) {
    int value = 0, digits = 0;
    for (; *at >= '0' && *at <= '9' && digits < 4; ++digits) value = 10 * value + (*at++ - '0');
    if (digits < 1 || digits > 3 || value > 255) return false;
    out[i] = static_cast<uint8_t>(value);
    if (i < kPixels - 1 && *at++ != ' ') return false;
  }
  return at == field.end;
}

#ifdef AVX2
constexpr int64_t kMaxFieldBytes = 4 * kPixels - 1;  // three digits and a space per pixel
// Entry m moves the bytes whose bits are set in m to the front.
constexpr std::array<uint64_t, 256> kToFront = [] {
  std::array<uint64_t, 256> table{};
  for (int mask = 0; mask < 256; ++mask) {
    for (uint64_t byte = 0, count = 0; byte < 8; ++byte) {
      if (mask >> byte & 1) table[mask] |= byte << 8 * count++;
    }
  }
  return table;
}();

AVX2 inline __m256i load(const char* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
AVX2 inline __m256i are_digits(__m256i text) {  // signed: bytes of 128 and more are none
  return _mm256_cmpgt_epi8(text, _mm256_set1_epi8('/'));
}
AVX2 inline __m256i look_up(__m128i table, __m256i digits) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), digits);
}
AVX2 inline __m128i lower_half(__m256i lanes) { return _mm256_castsi256_si128(lanes); }
AVX2 inline __m128i upper_half(__m256i lanes) { return _mm256_extracti128_si256(lanes, 1); }

// Writes those of the first 8 `values` whose bits are set in `mask`; returns how many.
AVX2 inline int64_t write_marked(__m128i values, unsigned mask, uint8_t* out) {
  const __m128i order = _mm_cvtsi64_si128(static_cast<int64_t>(kToFront[mask]));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_shuffle_epi8(values, order));
  return _mm_popcnt_u32(mask);
}

// Writes the numbers that end in the 32 bytes at `at`, in the lanes where `inside` is -1; returns
// how many. Each lane works out the number that ends at its byte, of which there are at most one
// per two bytes. Sets sign bits in `irregular` where the field is not in its regular form.
AVX2 inline int64_t decode_lanes(const char* at, __m256i inside, uint8_t* out, __m256i& irregular) {
  const __m256i here = load(at), back1 = load(at - 1), back2 = load(at - 2);
  const __m256i digit = are_digits(here), digit1 = are_digits(back1);
  const __m256i digits12 = digit1 & are_digits(back2);
  const __m256i zero = _mm256_set1_epi8('0'), ones = _mm256_sub_epi8(here, zero);
  const __m256i tens = _mm256_sub_epi8(back1, zero) & digit1;
  const __m256i hundreds = _mm256_sub_epi8(back2, zero) & digits12;
  const __m256i twice = _mm256_add_epi8(tens, tens), eight_times = _mm256_slli_epi16(tens, 3);
  const __m256i rest = _mm256_add_epi8(ones, _mm256_add_epi8(twice, eight_times));
  const __m128i hundred_times = _mm_setr_epi8(0, 100, -56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256i value = _mm256_add_epi8(rest, look_up(hundred_times, hundreds));
  // Lifts the rest to the sign bit from 256 on: after 200 that is from 56 on, after 300 always.
  const __m128i lift =
      _mm_setr_epi8(0, 0, 72, -128, -128, -128, -128, -128, -128, -128, 0, 0, 0, 0, 0, 0);
  const __m256i over_255 = _mm256_add_epi8(rest, look_up(lift, hundreds));
  const __m256i four_digits = digits12 & are_digits(load(at - 3));
  const __m256i over_nine = _mm256_cmpgt_epi8(ones, _mm256_set1_epi8(9));
  const __m256i space = _mm256_cmpeq_epi8(here, _mm256_set1_epi8(' ')) & digit1;
  irregular |= inside & (over_nine | (digit & (over_255 | four_digits)) | ~(digit | space));

  const __m256i ends = inside & digit & ~are_digits(load(at + 1));
  const __m256i values = value & ends;
  const __m256i pairs = (values | _mm256_srli_epi16(values, 8)) & _mm256_set1_epi16(255);
  const __m256i marks = ends | _mm256_slli_epi16(ends, 8);  // in the sign of each pair
  const __m128i packed = _mm_packus_epi16(lower_half(pairs), upper_half(pairs));
  const unsigned mask = _mm_movemask_epi8(_mm_packs_epi16(lower_half(marks), upper_half(marks)));
  const int64_t count = write_marked(packed, mask & 255, out);
  return count + write_marked(_mm_unpackhi_epi64(packed, packed), mask >> 8, out + count);
}

AVX2 bool decode_pixels_avx2(Text field, uint8_t* out) {
  if (field.size() < kMinFieldBytes || field.size() > kMaxFieldBytes) return false;
  uint8_t values[kMaxFieldBytes / 2 + kPad];  // room for the most that such a field can hold
  int64_t count = 0, at = 0;
  __m256i irregular = _mm256_setzero_si256(), inside = _mm256_set1_epi8(-1);
  for (; at + 32 <= field.size(); at += 32) {
    count += decode_lanes(field.begin + at, inside, values + count, irregular);
  }
  inside = _mm256_setzero_si256();
  std::memset(&inside, -1, field.size() - at);
  count += decode_lanes(field.begin + at, inside, values + count, irregular);
  if (_mm256_movemask_epi8(irregular) != 0 || count != kPixels) return false;
  std::memcpy(out, values, kPixels);
  return true;
}
#endif

const char* find(Text text, char wanted) {
  return static_cast<const char*>(std::memchr(text.begin, wanted, text.size()));
}

Text trimmed(Text field) {
  while (field.begin < field.end && field.begin[0] == ' ') ++field.begin;
  while (field.begin < field.end && field.end[-1] == ' ') --field.end;
  const bool quoted = field.size() >= 2 && field.begin[0] == '"' && field.end[-1] == '"';
  return {field.begin + quoted, field.end - quoted};
}

// Decodes one line, given without its line end, into row `row`; false where it is not regular.
bool decode_row(Text line, int64_t row, const Plan& plan) {
  static constexpr std::string_view kUsages[] = {"Training", "PublicTest", "PrivateTest"};
  if (row >= plan.capacity) return false;  // the file grew while it was read
  plan.emotion[row] = -1;                  // what a file without these columns gets
  plan.usage[row] = 255;
  for (int column = 0; column < plan.columns; ++column) {
    const char* comma = find(line, ',');
    const bool last = column == plan.columns - 1;
    if ((comma == nullptr) != last) return false;
    const Text field = trimmed({line.begin, last ? line.end : comma});
    if (column == plan.pixels_column) {
      if (!plan.decode_pixels(field, plan.pixels + row * kPixels)) return false;
    } else if (column == plan.emotion_column) {
      if (field.size() != 1 || *field.begin < '0' || *field.begin > '6') return false;
      plan.emotion[row] = static_cast<int8_t>(*field.begin - '0');
    } else if (column == plan.usage_column) {
      const std::string_view name(field.begin, field.size());
      plan.usage[row] = static_cast<uint8_t>(std::find(kUsages, kUsages + 3, name) - kUsages);
      if (plan.usage[row] == 3) return false;
    } else if (find(field, '"') || find(field, '\0')) {
      return false;  // a column that is not wanted: a quote could hide a comma
    }
    if (!last) line.begin = comma + 1;
  }
  return true;
}

struct Block {
  std::vector<char> buffer = std::vector<char>(kPad + kBlockBytes + kPad);
  Text lines{};                       // whole lines within the buffer, each ended by '\n'
  int64_t first_row = 0, offset = 0;  // of the first line; the offset is that in the file
};

// Hands the file out in blocks, in order, to any number of threads. The lock is held while a block
// is read and its lines are counted, which takes a small part of the time that decoding takes.
class BlockReader {
 public:
  BlockReader(int file, int64_t start, int64_t size) : file_(file), size_(size), offset_(start) {
    carry_.reserve(kBlockBytes);
  }

  // False at the end of the file, after a refusal, and where no whole line can be read (a read
  // error included): what is left is then for the caller to read.
  bool next(Block& block) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (closed_) return false;
    const char* begin = block.buffer.data() + kPad;
    char* end = std::copy(carry_.begin(), carry_.end(), block.buffer.data() + kPad);
    const int64_t room = kBlockBytes - 1 - (end - begin);
    end += std::max<int64_t>(0, pread(file_, end, room, offset_ + (end - begin)));
    // The last line of the file may lack its line end: the byte kept free above is for that.
    const bool unended = offset_ + (end - begin) == size_ && end > begin && end[-1] != '\n';
    if (unended) *end++ = '\n';
    block.first_row = next_row_;
    block.offset = offset_;
    block.lines = {begin, begin};
    while (const char* newline = find({block.lines.end, end}, '\n')) {
      block.lines.end = newline + 1;
      ++next_row_;
    }
    carry_.assign(block.lines.end, static_cast<const char*>(end));
    offset_ += block.lines.size() - unended;
    closed_ = block.lines.size() == 0;
    return !closed_;
  }

  void refuse(int64_t row, int64_t offset) {
    const std::lock_guard<std::mutex> guard(mutex_);
    closed_ = true;
    refused_ = std::min(refused_, {row, offset});
  }

  // How many rows there are once the threads have ended, and where the next line begins. The blocks
  // before a refused row were all handed out before it, so none of its rows is missing.
  std::pair<int64_t, int64_t> finished() const { return std::min(refused_, {next_row_, offset_}); }
 private:
  std::mutex mutex_;
  std::vector<char> carry_;  // the part of a line that the last block cut off
  const int file_;
  const int64_t size_;
  int64_t offset_, next_row_ = 0;
  bool closed_ = false;
  std::pair<int64_t, int64_t> refused_{INT64_MAX, 0};
};

void decode_blocks(BlockReader& reader, const Plan& plan, Block& block) {
  while (reader.next(block)) {
    int64_t row = block.first_row;
    for (Text rest = block.lines; rest.size() > 0; ++row) {
      const char* newline = find(rest, '\n');
      const bool carriage_return = newline > rest.begin && newline[-1] == '\r';
      if (!decode_row({rest.begin, newline - carriage_return}, row, plan)) {
        return reader.refuse(row, block.offset + (rest.begin - block.lines.begin));
      }
      rest.begin = newline + 1;
    }
  }
}

py::tuple parse_fer_rows(int file, int64_t start, int64_t size, int columns, int pixels,
                         int emotion, int usage, int threads, [[maybe_unused]] bool portable) {
  if (start < 0 || size < start || threads < 1 || pixels < 0 ||
      std::max({pixels, emotion, usage}) >= columns) {
    throw py::value_error("parse_fer_rows: offsets, columns or threads out of range");
  }
  // As many rows as the bytes have room for; memory that no row is written to is never touched.
  const int64_t capacity = (size - start) / (kMinFieldBytes + 1) + 1;
  py::array_t<uint8_t> faces({capacity, kSide, kSide}), usages(capacity);
  py::array_t<int8_t> emotions(capacity);
  Plan plan{columns, pixels, emotion, usage, decode_pixels_portable, faces.mutable_data(),
            usages.mutable_data(), emotions.mutable_data(), capacity};
#ifdef AVX2
  if (!portable && __builtin_cpu_supports("avx2")) plan.decode_pixels = decode_pixels_avx2;
#endif
  BlockReader reader(file, start, size);
  {
    const py::gil_scoped_release release;
    std::vector<Block> blocks(std::min<int64_t>(threads, 1 + (size - start) / kBlockBytes));
    std::vector<std::thread> others;
    try {
      for (size_t i = 1; i < blocks.size(); ++i) {
        others.emplace_back([&, i] { decode_blocks(reader, plan, blocks[i]); });
      }
    } catch (const std::exception&) {  // no more threads to be had: these do the work
    }
    decode_blocks(reader, plan, blocks[0]);
    for (std::thread& other : others) other.join();
  }
  const auto [count, stop] = reader.finished();
  faces.resize({count, kSide, kSide}, false);  // in place
  emotions.resize({count}, false);
  usages.resize({count}, false);
  return py::make_tuple(faces, emotions, usages, stop);
}

}  // namespace

PYBIND11_MODULE(_io, module) {
  module.doc() = "Native reader of fer2013.csv; neurogaze_fast/faces/fer_csv.py is its only user.";
  module.def("parse_fer_rows", &parse_fer_rows, py::arg("file"), py::kw_only(), py::arg("start"),
             py::arg("size"), py::arg("columns"), py::arg("pixels"), py::arg("emotion"),
             py::arg("usage"), py::arg("threads"), py::arg("portable") = false);
}
