// The launches of the emulated cuda_runtime.h: in which order blocks, warps and lanes run, and when
// those that wait may go on.
#pragma once

#include <link.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "threads.h"

namespace ng_emulated {

class Order {
 public:
  Order() {
    const char* given = std::getenv("NG_EMULATED_ORDER");
    const std::string text = given && *given ? given : "forward";
    reverse_ = text == "reverse";
    random_ = text.rfind("random:", 0) == 0 && text.size() > 7 &&
              text.find_first_not_of("0123456789", 7) == std::string::npos;
    if (random_) {
      random_bits_.seed(std::strtoull(text.c_str() + 7, nullptr, 10));
    } else if (!reverse_ && text != "forward") {
      throw std::runtime_error("NG_EMULATED_ORDER is forward, reverse or random:SEED, not " + text);
    }
  }
  std::vector<unsigned> of(size_t count) {
    std::vector<unsigned> order(count);
    std::iota(order.begin(), order.end(), 0U);
    if (reverse_) std::reverse(order.begin(), order.end());
    if (random_) std::shuffle(order.begin(), order.end(), random_bits_);
    return order;
  }
  size_t choose(size_t count) { return random_ ? random_bits_() % count : 0; }

 private:
  bool reverse_, random_;
  std::mt19937_64 random_bits_;
};

// Lets those lanes go on whose collective has all its lanes. Lanes that ended count as present, as
// on a GPU, but have no value to give.
inline void release_collectives(Fiber** lanes, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    if (lanes[i]->state != State::in_collective) continue;
    unsigned group = 0, ballot = 0;
    bool complete = true;
    for (unsigned j = 0; j < count; ++j) {
      const Fiber &first = *lanes[i], &other = *lanes[j];
      if (!(first.mask >> j & 1) || other.state == State::ended) continue;
      complete &= other.state == State::in_collective && other.mask == first.mask &&
                  std::strcmp(other.call, first.call) == 0;
      group |= 1U << j;
      ballot |= static_cast<unsigned>(other.value != 0) << j;
    }
    if (!complete) continue;
    for (unsigned j = 0; j < count; ++j) {
      Fiber& one = *lanes[j];
      if (!(group >> j & 1)) continue;
      if (!(group >> one.source & 1)) {
        fail("lane " + std::to_string(j) + " asks for the value of lane " +
             std::to_string(one.source) + ", which takes no part, " + where(one));
      }
      one.result = lanes[one.source]->value;
      one.ballot = ballot;
    }
    for (unsigned j = 0; j < count; ++j) {
      if (group >> j & 1) lanes[j]->state = State::ready;
    }
  }
}

// Runs the ready lanes of a warp, each until it waits. Returns whether any can go on after that.
inline bool run_warp(unsigned warp, Order& order) {
  Fiber* lanes[warpSize];
  const unsigned count = std::min<unsigned>(warpSize, machine.threads - warp * warpSize);
  for (unsigned i = 0; i < count; ++i) lanes[i] = machine.fibers[warp * warpSize + i].get();
  for (unsigned i : order.of(count)) {
    if (lanes[i]->state == State::ready) resume(*lanes[i]);
    if (machine.error) std::rethrow_exception(machine.error);
  }
  release_collectives(lanes, count);
  return std::any_of(lanes, lanes + count, [](Fiber* f) { return f->state == State::ready; });
}

[[noreturn]] inline void fail_divergent() {
  std::map<std::string, std::pair<unsigned, unsigned>> places;  // how many are there; the first one
  for (unsigned i = 0; i < machine.threads; ++i) {
    ++places.try_emplace(where(*machine.fibers[i]), 0, i).first->second.first;
  }
  std::string text = "its threads wait for each other for ever:";
  for (const auto& [place, who] : places) {
    text += "\n  " + std::to_string(who.first) + " of them (the first is " +
            std::to_string(who.second) + ") " + place;
  }
  fail(text);
}

inline void run_block(Order& order) {
  for (unsigned i = 0; i < machine.threads; ++i) {
    const unsigned row = i / blockDim.x;
    machine.fibers[i]->index = {i % blockDim.x, row % blockDim.y, row / blockDim.y};
    machine.fibers[i]->state = State::ready;
  }
  for (;;) {
    // Warps meet at barriers only. Each runs to the next one before another starts, or, in a random
    // order, they take turns.
    std::vector<unsigned> warps = order.of((machine.threads + warpSize - 1) / warpSize);
    while (!warps.empty()) {
      const size_t turn = order.choose(warps.size());
      if (!run_warp(warps[turn], order)) warps.erase(warps.begin() + turn);
    }
    const Fiber& first = *machine.fibers[0];
    for (unsigned i = 0; i < machine.threads; ++i) {
      const Fiber& other = *machine.fibers[i];
      const bool together = other.state == first.state && other.state != State::in_collective &&
                            (other.state == State::ended ||
                             (other.line == first.line && !std::strcmp(other.file, first.file)));
      if (!together) fail_divergent();
    }
    if (first.state == State::ended) return;
    for (unsigned i = 0; i < machine.threads; ++i) machine.fibers[i]->state = State::ready;
  }
}

inline void poison_static_shared() {
#ifndef __SANITIZE_ADDRESS__
  volatile char* const anchor = &thread_local_anchor;
  *anchor = 0;  // the first use in an OS thread allocates the library's thread-local variables
  const auto fill = [](dl_phdr_info* library, size_t, void* inside) {
    for (int i = 0; i < library->dlpi_phnum; ++i) {
      char* const at = static_cast<char*>(library->dlpi_tls_data);
      const size_t bytes = library->dlpi_phdr[i].p_memsz;
      if (library->dlpi_phdr[i].p_type != PT_TLS || !at) continue;
      if (inside < at || inside >= at + bytes) continue;
      std::memset(at, 0xFF, bytes);
      return 1;  // no further libraries
    }
    return 0;
  };
  dl_iterate_phdr(fill, const_cast<char*>(anchor));
#endif
}

inline void run_grid(dim3 grid, dim3 block, size_t shared_bytes) {
  Order order;
  gridDim = grid, blockDim = block;
  machine.threads = block.x * block.y * block.z;
  while (machine.fibers.size() < machine.threads) machine.fibers.push_back(new_fiber());
  constexpr std::align_val_t alignment{128};
  const auto free_shared = [](void* at) { operator delete(at, alignment); };
  const std::unique_ptr<void, decltype(free_shared)> shared(operator new(shared_bytes, alignment),
                                                            free_shared);
  machine.dynamic_shared = static_cast<unsigned char*>(shared.get());
  for (unsigned i : order.of(size_t{grid.x} * grid.y * grid.z)) {
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    std::memset(shared.get(), 0xFF, shared_bytes);
    poison_static_shared();
    run_block(order);
  }
}

// What a GPU refuses to launch.
inline void check_launch(dim3 grid, dim3 block, size_t shared_bytes, const void* kernel) {
  const auto fits = [](dim3 size, unsigned x, unsigned y, unsigned z) {
    return size.x && size.y && size.z && size.x <= x && size.y <= y && size.z <= z;
  };
  const auto text = [](dim3 size) {
    const auto number = [](unsigned n) { return std::to_string(n); };
    return number(size.x) + " x " + number(size.y) + " x " + number(size.z);
  };
  const auto refuse = [](const std::string& what) {
    throw std::runtime_error("emulated kernel " + std::string(machine.kernel) + ": " + what);
  };
  if (!fits(grid, 0x7FFFFFFF, 65535, 65535)) refuse("cannot have a grid of " + text(grid));
  if (!fits(block, 1024, 1024, 64) || size_t{block.x} * block.y * block.z > 1024) {
    refuse("cannot have blocks of " + text(block));
  }
  const auto raised = machine.shared_limits.find(kernel);
  const size_t limit = raised == machine.shared_limits.end() ? kSharedBytes : raised->second;
  if (shared_bytes > limit) {
    refuse("asks for " + std::to_string(shared_bytes) + " bytes of dynamic shared memory and may " +
           "have " + std::to_string(limit) + " (cudaFuncSetAttribute raises that)");
  }
}

template <typename T>
struct Same {
  using type = T;
};

// Converts the arguments once, as a launch does, and gives each thread its own copy of them.
template <typename... P>
void launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const void* /*stream*/,
            void (*kernel)(P...), typename Same<P>::type... arguments) {
  const std::lock_guard<std::mutex> one_at_a_time(machine.launching);
  std::exception_ptr error;
  machine.kernel = name;
  machine.body = [&] { kernel(arguments...); };
  try {
    check_launch(grid, block, shared_bytes, reinterpret_cast<const void*>(kernel));
    ++machine.launches;
    machine.shared_bytes = static_cast<int64_t>(shared_bytes);
    run_grid(grid, block, shared_bytes);
  } catch (...) {
    error = std::current_exception();
  }
  if (!error) return;
  machine.cancelled = true;
  for (const auto& fiber : machine.fibers) {
    if (fiber->state != State::ended) resume(*fiber);
  }
  machine.cancelled = false;
  machine.error = nullptr;
  std::rethrow_exception(error);
}

}  // namespace ng_emulated

// How many launches there have been.
extern "C" __attribute__((used, visibility("default"))) inline int64_t ng_emulated_launches() {
  return ng_emulated::machine.launches;
}

// How many bytes of dynamic shared memory a block of the last launch had.
extern "C" __attribute__((used, visibility("default"))) inline int64_t ng_emulated_shared_bytes() {
  return ng_emulated::machine.shared_bytes;
}
