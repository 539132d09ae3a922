// The threads of the emulated cuda_runtime.h: how they start, wait, and pass values to each other.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace ng_emulated {

constexpr size_t kStackBytes = 256 * 1024, kPageBytes = 64 * 1024;  // pages are at most that large
constexpr size_t kSharedBytes = 48 * 1024, kOptInSharedBytes = 227 * 1024;

enum class State { ready, at_barrier, in_collective, ended };

// Saves the registers that a function must keep for its caller, and goes on where `to` was saved.
// swapcontext also keeps the signal mask, by two system calls that took most of the time of a launch.
#ifdef __x86_64__
using Context = void*;  // the stack pointer: the six registers lie there, then the way back
__attribute__((naked, noinline)) inline void switch_to(Context* /*from*/, const Context* /*to*/) {
  asm("pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n\t"
      "movq %rsp, (%rdi); movq (%rsi), %rsp\n\t"
      "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}
inline void start_at(Context* context, char* stack, size_t bytes, void (*function)()) {
  // Eight words, so that `function` finds the stack aligned as after a call.
  void** const top = reinterpret_cast<void**>(stack + bytes) - 8;
  top[6] = reinterpret_cast<void*>(function);
  *context = top;
}
#else
using Context = ucontext_t;
inline void switch_to(Context* from, const Context* to) { swapcontext(from, to); }
inline void start_at(Context* context, char* stack, size_t bytes, void (*function)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = bytes;
  makecontext(context, function, 0);
  context->uc_stack.ss_size = 0;  // or address sanitizer forgets the stack at each switch
}
#endif

struct Fiber {
  State state = State::ended;
  uint3 index{};
  // What it waits for, and from where it was called.
  const char *call = "", *file = "";
  int line = 0;
  unsigned mask = 0;
  // What it brings to a collective, the lane whose value it asks for, and what it gets.
  uint64_t value = 0, result = 0;
  unsigned source = 0, ballot = 0;
  Context context{};
  char* stack = nullptr;
};

struct Cancelled {};  // unwinds the threads of a block in which another one failed

// One at a time: `launching` is held for the whole of a launch.
struct Machine {
  std::mutex launching;
  std::atomic<int64_t> launches{0};
  std::atomic<int64_t> shared_bytes{0};  // dynamic ones, of the last launch
  std::map<const void*, size_t> shared_limits;  // as cudaFuncSetAttribute raised them
  std::vector<std::unique_ptr<Fiber>> fibers;  // by index in the block; kept from launch to launch
  unsigned threads = 0;  // how many of them the block at hand has
  Fiber* running = nullptr;
  std::function<void()> body;
  const char* kernel = "";
  std::exception_ptr error;
  bool cancelled = false;
  unsigned char* dynamic_shared = nullptr;
  Context scheduler{};
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
};
inline Machine machine;
inline thread_local char thread_local_anchor;

// Address sanitizer must be told which stack is in use, before and after each switch.
inline void leave_for([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack,
                      [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#endif
}
inline void arrived([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** from = nullptr,
                    [[maybe_unused]] size_t* bytes = nullptr) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack, from, bytes);
#endif
}

inline void resume(Fiber& fiber) {
  machine.running = &fiber;
  threadIdx = fiber.index;
  void* fake_stack = nullptr;
  leave_for(&fake_stack, fiber.stack, kStackBytes);
  switch_to(&machine.scheduler, &fiber.context);
  arrived(fake_stack);
  machine.running = nullptr;
}

inline void suspend() {
  void* fake_stack = nullptr;
  leave_for(&fake_stack, machine.scheduler_stack, machine.scheduler_stack_bytes);
  switch_to(&machine.running->context, &machine.scheduler);
  arrived(fake_stack, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
}

// A fiber's whole life: one thread of one block after another.
inline void live() {
  arrived(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
  for (;;) {
    try {
      if (!machine.cancelled) machine.body();
    } catch (const Cancelled&) {
    } catch (...) {
      if (!machine.error) machine.error = std::current_exception();
    }
    machine.running->state = State::ended;
    suspend();
  }
}

inline std::unique_ptr<Fiber> new_fiber() {
  auto fiber = std::make_unique<Fiber>();
  // A page below the stack stays out of reach, so that a thread that overflows it stops there.
  void* memory = mmap(nullptr, kPageBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPageBytes, PROT_NONE)) throw std::bad_alloc();
  fiber->stack = static_cast<char*>(memory) + kPageBytes;
  start_at(&fiber->context, fiber->stack, kStackBytes, live);
  return fiber;
}

[[noreturn]] inline void fail(const std::string& what) {
  throw std::runtime_error("emulated kernel " + std::string(machine.kernel) + ", block (" +
                           std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
                           std::to_string(blockIdx.z) + "): " + what);
}

inline std::string where(const Fiber& fiber) {
  if (fiber.state == State::ended) return "ended";
  std::string text = std::string("at ") + fiber.call;
  if (fiber.state == State::in_collective) {
    char mask[32];
    std::snprintf(mask, sizeof mask, " with mask %08x", fiber.mask);
    text += mask;
  }
  return text + ", " + fiber.file + ":" + std::to_string(fiber.line);
}

inline Fiber& wait_at(State state, const char* call, unsigned mask, const char* file, int line) {
  if (!machine.running) throw std::runtime_error(std::string(call) + " called outside a kernel");
  Fiber& self = *machine.running;
  self.state = state, self.call = call, self.mask = mask, self.file = file, self.line = line;
  suspend();
  if (machine.cancelled) throw Cancelled();
  return self;
}

inline unsigned lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % warpSize;
}

inline Fiber& collective(const char* call, unsigned mask, uint64_t value, unsigned source,
                         const char* file, int line) {
  if (machine.running && !(mask >> lane() & 1)) {
    fail(std::string(call) + " called by lane " + std::to_string(lane()) +
         ", which its mask does not name, " + file + ":" + std::to_string(line));
  }
  if (machine.running) machine.running->value = value, machine.running->source = source;
  return wait_at(State::in_collective, call, mask, file, line);
}

template <typename T>
T shuffle(const char* call, unsigned mask, T value, unsigned source, const char* file, int line) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8, "shuffles take numbers");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = collective(call, mask, bits, source, file, line).result;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace ng_emulated
