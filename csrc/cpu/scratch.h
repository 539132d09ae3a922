// Memory a kernel needs while it runs, kept by each thread from call to call.
#pragma once

#include <cstddef>
#include <memory>

namespace ng {

// `slot` tells apart buffers one thread holds at the same time. Not initialised.
template <class T>
T* scratch(int slot, size_t count) {
  struct Buffer {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
  };
  static thread_local Buffer buffers[4];
  Buffer& buffer = buffers[slot];
  const size_t needed = count * sizeof(T) + 64;
  if (buffer.size < needed) {
    buffer.bytes.reset(new char[needed]);
    buffer.size = needed;
  }
  const size_t address = reinterpret_cast<size_t>(buffer.bytes.get());
  return reinterpret_cast<T*>((address + 63) / 64 * 64);
}

}  // namespace ng
