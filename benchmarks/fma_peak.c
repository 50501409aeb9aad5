// Peak multiply-add rate: independent chains in registers on every OpenMP thread, by processor time, so that other
// programs hardly disturb it. Prints GFLOP/s in float32, then in bfloat16 (0 if the processor cannot). Best of 5.
#include <omp.h>
#include <stdio.h>
#include <time.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { kBytes = 64, kChains = 24 };
#elif defined(__AVX2__)
enum { kBytes = 32, kChains = 12 };
#else
enum { kBytes = 16, kChains = 24 };
#endif
enum { kLanes = kBytes / 4, kRepeats = 5 };
typedef float Vector __attribute__((vector_size(kBytes)));

static volatile float sink;

static void keep(const Vector* acc) {
  float sum = 0;
  for (int i = 0; i < kChains; ++i) sum += acc[i][0];
  sink = sum;
}

static void chains_f32(long steps) {
  Vector acc[kChains], a, b;
  for (int i = 0; i < kLanes; ++i) a[i] = 0.999f, b[i] = 0.001f;
  for (int i = 0; i < kChains; ++i) acc[i] = a * (float)i;
  for (long step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = acc[i] * a + b;
  }
  keep(acc);
}

#ifdef __AVX512BF16__
static void chains_bf16(long steps) {
  __m512 acc[kChains];
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_setzero_ps();
  for (long step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], a, a);
  }
  keep((const Vector*)acc);
}
#endif

static double thread_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

// `flops`: of one thread in one step.
static double best_gflops(void (*chains)(long), double flops) {
  const long steps = 10000000;  // some 50 ms
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    double rate = 0;
#pragma omp parallel reduction(+ : rate)
    {
      const double start = thread_seconds();
      chains(steps);
      rate = flops * steps / (thread_seconds() - start) * 1e-9;
    }
    if (rate > best) best = rate;
  }
  return best;
}

int main(void) {
  printf("%.1f\n", best_gflops(chains_f32, 2.0 * kLanes * kChains));
#ifdef __AVX512BF16__
  printf("%.1f\n", best_gflops(chains_bf16, 4.0 * kLanes * kChains));
#else
  printf("0\n");
#endif
}
