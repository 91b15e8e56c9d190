/*
 * Gloo's ring allreduce of float32 sums, in place, measured as agg-perf measures: barrier, clock, operation, clock; the time of an iteration is
 * the largest over the ranks; median and 99th percentile; every element checked in the first and last iteration. Buffers are page-aligned
 * malloc, touched. The ranks meet through files in a directory that all see. Prints agg-perf's JSON fields.
 *
 *   gloo_allreduce RANK RANKS DIRECTORY INTERFACE WARMUP ITERATIONS BYTES...
 */
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

namespace {

using Clock = std::chrono::steady_clock;
using Reduce = void (*)(void *, const void *, const void *, size_t);

double cpu_s() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Small whole numbers: sums are exact. */
float input(int of_rank, size_t i, int round) {
  return static_cast<float>(1 + (i * 31 + static_cast<size_t>(of_rank) * 17 + static_cast<size_t>(round) * 7) % 1021);
}

class Bench {
 public:
  Bench(std::shared_ptr<gloo::Context> context, int warmup, int iterations)
      : context_(std::move(context)), warmup_(warmup), iterations_(iterations) {}

  /* The number of wrong elements over all ranks. */
  double measure(size_t bytes) {
    size_t count = bytes / sizeof(float);
    void *memory = nullptr;
    if (count == 0 || posix_memalign(&memory, 4096, bytes) != 0) {
      std::fprintf(stderr, "gloo_allreduce: no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    float *data = static_cast<float *>(memory);
    std::vector<double> times, cpu{0}, wrong{0};
    fill(data, count, -1);
    for (int i = 0; i < warmup_; i++) timed(data, count);
    for (int i = 0; i < iterations_; i++) {
      bool checked = i == 0 || i + 1 == iterations_;
      if (checked) fill(data, count, i);
      barrier();
      double before = cpu_s();
      times.push_back(timed(data, count));
      cpu[0] += cpu_s() - before;
      if (checked) wrong[0] += static_cast<double>(count_wrong(data, count, i));
    }
    allreduce(times.data(), times.size(), gloo::max<double>);
    allreduce(cpu.data(), 1, gloo::sum<double>);
    allreduce(wrong.data(), 1, gloo::sum<double>);
    if (context_->rank == 0) report(times, bytes, cpu[0], wrong[0]);
    std::free(memory);
    return wrong[0];
  }

 private:
  template <typename T>
  void allreduce(T *data, size_t count, Reduce reduce) {
    gloo::AllreduceOptions options(context_);
    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setOutput(data, count);
    options.setReduceFunction(reduce);
    options.setTag(tag_++);
    gloo::allreduce(options);
  }

  void barrier() {
    gloo::BarrierOptions options(context_);
    options.setTag(tag_++);
    gloo::barrier(options);
  }

  double timed(float *data, size_t count) {
    barrier();
    auto begin = Clock::now();
    allreduce(data, count, gloo::sum<float>);
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  void fill(float *data, size_t count, int round) const {
    for (size_t i = 0; i < count; i++) data[i] = input(context_->rank, i, round);
  }

  size_t count_wrong(const float *data, size_t count, int round) const {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
      double want = 0;
      for (int r = 0; r < context_->size; r++) want += static_cast<double>(input(r, i, round));
      wrong += !(static_cast<double>(data[i]) == want);
    }
    return wrong;
  }

  void report(std::vector<double> times, size_t bytes, double cpu, double wrong) const {
    std::sort(times.begin(), times.end());
    size_t n = times.size();
    double median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
    double algbw = static_cast<double>(bytes) / median * 1e-9;
    size_t last = static_cast<size_t>(std::ceil(0.99 * static_cast<double>(n))) - 1;
    std::printf("{\"peer\":\"Gloo\",\"op\":\"allreduce\",\"dtype\":\"f32\",\"redop\":\"sum\",\"bytes\":%zu,\"count\":%zu,\"inplace\":1,", bytes,
                bytes / sizeof(float));
    std::printf("\"ranks\":%d,\"servers\":0,\"transport\":\"tcp\",\"plan\":\"gloo\",\"memory\":\"malloc\",\"iterations\":%zu,", context_->size, n);
    std::printf("\"median_us\":%.3f,\"p99_us\":%.3f,\"min_us\":%.3f,\"algbw_GBps\":%.6f,\"busbw_GBps\":%.6f,", median * 1e6, times[last] * 1e6,
                times[0] * 1e6, algbw, algbw * 2 * (context_->size - 1) / context_->size);
    std::printf("\"cpu_s_per_GB\":%.4f,\"wrong\":%.0f,\"checked\":1}\n", cpu / (static_cast<double>(bytes) * 1e-9 * static_cast<double>(n)), wrong);
    std::fflush(stdout);
  }

  std::shared_ptr<gloo::Context> context_;
  int warmup_, iterations_;
  uint32_t tag_ = 0;
};

}  // namespace

int main(int argc, char **argv) {
  if (argc < 8 || std::atoi(argv[6]) < 1) {
    std::fprintf(stderr, "usage: gloo_allreduce RANK RANKS DIRECTORY INTERFACE WARMUP ITERATIONS BYTES...\n");
    return 2;
  }
  try {
    gloo::transport::tcp::attr attr;
    attr.iface = argv[4];
    auto device = gloo::transport::tcp::CreateDevice(attr);
    gloo::rendezvous::FileStore store(argv[3]);
    auto context = std::make_shared<gloo::rendezvous::Context>(std::atoi(argv[1]), std::atoi(argv[2]));
    context->connectFullMesh(store, device);
    Bench bench(context, std::atoi(argv[5]), std::atoi(argv[6]));
    double wrong = 0;
    for (int i = 7; i < argc; i++) wrong += bench.measure(std::strtoull(argv[i], nullptr, 10));
    return wrong > 0;
  } catch (const std::exception &e) {
    std::fprintf(stderr, "gloo_allreduce: %s\n", e.what());
    return 1;
  }
}
