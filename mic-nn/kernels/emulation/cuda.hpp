// Runs the kernels as plain C++, to test their arithmetic on a machine without a GPU.
//
// Blocks run one after the other; the threads of a block are fibres of one operating-system
// thread, switched at barriers and warp exchanges. The order of fibres and blocks can be reversed:
// a result that changes with it depends on a race. What CUDA leaves undefined is an error here: a
// barrier that part of a block does not reach, a warp exchange without some of the lanes it names.
// Shared memory is not cleared between blocks, as on a GPU.
#ifndef MIC_EMULATION_CUDA_HPP
#define MIC_EMULATION_CUDA_HPP

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
// Blocks of one operating-system thread follow each other, so they can share the memory.
#define __shared__ static thread_local

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
};

inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;

namespace emulation {

constexpr unsigned LANES = 32;
constexpr size_t STACK = 128 * 1024;

enum class State { ready, at_barrier, in_exchange, done };

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state;
    // Warp exchanges so far; the next one uses the slots of its parity.
    unsigned exchanges;
};

struct Exchange {
    unsigned arrived = 0;
    unsigned mask = 0;
    uint64_t values[LANES];
};

struct Warp {
    Exchange exchanges[2];
};

// The fibres of one operating-system thread; they are kept from launch to launch.
class Machine {
   public:
    const char* run(dim3 grid, dim3 block, bool reversed, std::function<void()> kernel) {
        body = std::move(kernel);
        error = nullptr;
        blockDim = block;
        gridDim = grid;
        count = block.x * block.y * block.z;
        prepare();
        uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
        for (uint64_t i = 0; i < blocks && !error; i++) {
            uint64_t b = reversed ? blocks - 1 - i : i;
            blockIdx = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y),
                        unsigned(b / grid.x / grid.y)};
            run_block(reversed);
        }
        if (error) {
            // Fibres that wait for ever are given up.
            threads.clear();
            made = 0;
        }
        return error;
    }

    void barrier() { stop(State::at_barrier); }

    // Puts `value` into the lane's slot, waits for the lanes of `mask` and returns all slots.
    const uint64_t* exchange(unsigned mask, uint64_t value) {
        Warp& warp = warps[running / LANES];
        Thread& own = threads[running];
        Exchange& slots = warp.exchanges[own.exchanges++ % 2];
        unsigned lane = running % LANES;
        if (slots.arrived == 0) {
            slots.mask = mask;
        }
        if (slots.mask != mask || !(mask >> lane & 1)) {
            error = "a warp exchange with different masks, or without the lane itself";
        }
        slots.values[lane] = value;
        slots.arrived |= 1u << lane;
        if (slots.arrived == mask) {
            slots.arrived = 0;
            unsigned first = running - lane;
            for (unsigned i = 0; i < LANES && first + i < count; i++) {
                if ((mask >> i & 1) && threads[first + i].state == State::in_exchange) {
                    threads[first + i].state = State::ready;
                }
            }
        } else {
            stop(State::in_exchange);
        }
        return slots.values;
    }

    unsigned lane() const { return running % LANES; }

    static Machine& get() {
        static thread_local Machine machine;
        return machine;
    }

   private:
    static void enter() {
        Machine& machine = get();
        for (;;) {
            machine.body();
            machine.stop(State::done);
        }
    }

    void prepare() {
        while (threads.size() < count) {
            threads.emplace_back();
            Thread& thread = threads.back();
            thread.stack.reset(new char[STACK]);
        }
        // Contexts point into themselves: they are made when the vector no longer moves.
        if (made < threads.size() || made_at != threads.data()) {
            for (Thread& thread : threads) {
                getcontext(&thread.context);
                thread.context.uc_stack.ss_sp = thread.stack.get();
                thread.context.uc_stack.ss_size = STACK;
                thread.context.uc_link = nullptr;
                makecontext(&thread.context, enter, 0);
            }
            made = threads.size();
            made_at = threads.data();
        }
        warps.assign((count + LANES - 1) / LANES, Warp());
    }

    void run_block(bool reversed) {
        for (unsigned i = 0; i < count; i++) {
            threads[i].state = State::ready;
            threads[i].exchanges = 0;
        }
        for (;;) {
            bool progress = false;
            for (unsigned i = 0; i < count; i++) {
                unsigned t = reversed ? count - 1 - i : i;
                if (threads[t].state == State::ready) {
                    resume(t);
                    progress = true;
                    if (error) {
                        return;
                    }
                }
            }
            if (progress) {
                continue;
            }
            unsigned waiting = 0, done = 0;
            for (unsigned i = 0; i < count; i++) {
                waiting += threads[i].state == State::at_barrier;
                done += threads[i].state == State::done;
            }
            if (done == count) {
                return;
            }
            if (waiting != count) {
                error = "a barrier or warp exchange that some of its threads do not reach";
                return;
            }
            for (unsigned i = 0; i < count; i++) {
                threads[i].state = State::ready;
            }
        }
    }

    void resume(unsigned t) {
        running = t;
        threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
        swapcontext(&scheduler, &threads[t].context);
    }

    void stop(State state) {
        threads[running].state = state;
        swapcontext(&threads[running].context, &scheduler);
    }

    std::function<void()> body;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    ucontext_t scheduler;
    unsigned count = 0, running = 0;
    size_t made = 0;
    const Thread* made_at = nullptr;
    const char* error = nullptr;
};

template <class... A, size_t... I>
const char* launch(void (*kernel)(A...), const unsigned* dims, bool reversed, void** arguments,
                   std::index_sequence<I...>) {
    // `volatile` is no part of any argument's type; copies are what a launch takes, too.
    auto values = std::make_tuple(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
    return Machine::get().run({dims[0], dims[1], dims[2]}, {dims[3], dims[4], dims[5]}, reversed,
                              [&] { std::apply(kernel, values); });
}

// As cuLaunchKernel: `dims` are the grid's three and the block's three sizes, `arguments` point to
// the values. `sizes` are the values' sizes, which are checked. Returns what went wrong, or null.
template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* dims, int reversed, void** arguments,
                   const size_t* sizes, size_t count) {
    const size_t expected[] = {sizeof(A)...};
    if (count != sizeof...(A)) {
        return "the number of arguments is not the kernel's";
    }
    if (std::memcmp(expected, sizes, sizeof expected) != 0) {
        return "an argument's size is not that of the kernel's parameter";
    }
    return launch(kernel, dims, reversed != 0, arguments, std::index_sequence_for<A...>());
}

template <class T>
uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "warps exchange at most 64 bits");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace emulation

inline void __syncthreads() { emulation::Machine::get().barrier(); }

inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulation::Machine::get().exchange(mask, 0);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
    auto slots = emulation::Machine::get().exchange(mask, emulation::to_bits(value));
    return emulation::from_bits<T>(slots[unsigned(lane) % emulation::LANES]);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    auto& machine = emulation::Machine::get();
    auto slots = machine.exchange(mask, emulation::to_bits(value));
    return emulation::from_bits<T>(slots[machine.lane() ^ unsigned(distance)]);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
    auto& machine = emulation::Machine::get();
    auto slots = machine.exchange(mask, emulation::to_bits(value));
    unsigned from = machine.lane() + distance;
    return from < emulation::LANES ? emulation::from_bits<T>(slots[from]) : value;
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    auto slots = emulation::Machine::get().exchange(mask, predicate != 0);
    unsigned votes = 0;
    for (unsigned i = 0; i < emulation::LANES; i++) {
        votes |= unsigned((mask >> i & 1) && slots[i]) << i;
    }
    return votes;
}

// Fibres are switched at barriers alone, so that a plain change is atomic.
template <class T>
T atomicAdd(T* to, T value) {
    T old = *to;
    *to = old + value;
    return old;
}

template <class T>
T atomicMin(T* to, T value) {
    T old = *to;
    *to = value < old ? value : old;
    return old;
}

template <class T>
T __ldg(const T* from) {
    return *from;
}

inline float __uint_as_float(unsigned bits) { return emulation::from_bits<float>(bits); }
inline unsigned __float_as_uint(float value) { return unsigned(emulation::to_bits(value)); }
// Compiled without contraction, so that these are the plain operators.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }

#endif
