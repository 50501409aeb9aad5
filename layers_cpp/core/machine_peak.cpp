#include "core/machine_peak.hpp"

#include <immintrin.h>
#include <time.h>

#include <chrono>
#include <cstring>
#include <memory>

#include "core/parallel.hpp"
#include "math/simd.hpp"

namespace caffe {
namespace {

constexpr int kRepeats = 5;
constexpr int64_t kSteps = 2'000'000;  // some 20 ms
// Enough independent sums to hide the latency of an instruction, and few enough for the registers.
constexpr int kChains = kLanes == 16 ? 24 : 12;
constexpr double kCopySeconds = 0.1;

volatile float sink;

void keep(const Floats* sums) {
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += sums[i][0];
  sink = total;
}

// Written out: the compiler is told not to contract expressions.
Floats multiply_add(Floats a, Floats b, Floats c) {
#ifdef __AVX512F__
  return std::bit_cast<Floats>(_mm512_fmadd_ps(a, b, c));
#else
  return std::bit_cast<Floats>(_mm256_fmadd_ps(a, b, c));
#endif
}

void chains_f32() {
  const Floats a = broadcast(0.999f), b = broadcast(0.001f);
  Floats sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = broadcast(static_cast<float>(i));
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) sums[i] = multiply_add(sums[i], a, b);
  }
  keep(sums);
}

#ifdef __AVX512F__
[[gnu::target("avx512bf16")]] void chains_bf16() {
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_setzero_ps();
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
  }
  keep(reinterpret_cast<const Floats*>(sums));
}
#endif

// Of this thread, so that other programs hardly disturb what is measured.
double processor_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// `flops`: of one chain in one step.
double best_gflops(void (*chains)(), double flops) {
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    double rate = 0;
#pragma omp parallel num_threads(max_threads()) reduction(+ : rate)
    {
      const double start = processor_seconds();
      chains();
      rate = 1e-9 * flops * kChains * static_cast<double>(kSteps) / (processor_seconds() - start);
    }
    best = std::max(best, rate);
  }
  return best;
}

}  // namespace

double peak_gflops(DType type) {
  if (type == DType::float32) return best_gflops(chains_f32, 2.0 * kLanes);
#ifdef __AVX512F__
  if (__builtin_cpu_supports("avx512bf16")) return best_gflops(chains_bf16, 4.0 * kLanes);
#endif
  return 0;
}

double copy_gbytes_per_second(int64_t bytes) {
  const int64_t size = std::max<int64_t>(bytes / 2, 1);
  const std::unique_ptr<char[]> from(
      new char[static_cast<size_t>(size)]);  // not touched before its thread does
  const std::unique_ptr<char[]> to(new char[static_cast<size_t>(size)]);
  const auto on_threads = [size](auto work) {
    parallel_for(size, 4 * kElementwiseGrain,
                 [&](int64_t begin, int64_t end, int) { work(begin, static_cast<size_t>(end - begin)); });
  };
  on_threads([&](int64_t begin, size_t count) {
    std::memset(&from[static_cast<size_t>(begin)], 1, count);
    std::memset(&to[static_cast<size_t>(begin)], 1, count);
  });
  double best = 0;
  const double end = wall_seconds() + kCopySeconds;
  for (int repeat = 0; repeat < kRepeats || wall_seconds() < end; ++repeat) {
    const double start = wall_seconds();
    on_threads([&](int64_t begin, size_t count) {
      std::memcpy(&to[static_cast<size_t>(begin)], &from[static_cast<size_t>(begin)], count);
    });
    best = std::max(best, 2e-9 * static_cast<double>(size) / (wall_seconds() - start));
  }
  return best;
}

}  // namespace caffe
