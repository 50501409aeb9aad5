#include "stream.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "block.hpp"
#include "error.hpp"

using namespace caffe::emulation;

// Work that was recorded instead of queued. One stream captures it: to wait for work of another one, or to
// let another one wait, is refused.
struct CUgraph_st {
  std::vector<Work> work;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool valid = true;
};

struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Work>> work;
};

struct CUstream_st {
  std::deque<Work> queue;
  std::unique_ptr<CUgraph_st> capture;  // null unless the stream captures
};

// The moment of an event's last record.
struct Mark {
  cudaStream_t stream;
  bool done = false;
  std::chrono::steady_clock::time_point when;
};

struct CUevent_st {
  bool timed;
  std::shared_ptr<Mark> mark;           // null before the first record
  const CUgraph_st* capture = nullptr;  // if the last record was captured; only compared
};

namespace {

struct Streams {
  CUstream_st standard;
  std::vector<cudaStream_t> all{&standard};
  cudaError_t error = cudaSuccess;  // of queued work, not yet reported
};

Streams& streams() {
  static auto* streams = new Streams;
  return *streams;
}

cudaStream_t resolve(cudaStream_t stream) { return stream ? stream : &streams().standard; }

bool exists(cudaStream_t stream) {
  const auto& all = streams().all;
  return std::find(all.begin(), all.end(), stream) != all.end();
}

// An error leaves out the work queued behind it, as the real device does.
void step(cudaStream_t stream) {
  const Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  try {
    work();
  } catch (const KernelFailure& failure) {
    describe_failure(failure.what());
    streams().error = cudaErrorLaunchFailure;
    for (cudaStream_t other : streams().all) other->queue.clear();
  }
}

void run_until(const Mark& mark) {
  while (!mark.done && !mark.stream->queue.empty()) step(mark.stream);
}

cudaError_t take_error() { return report(std::exchange(streams().error, cudaSuccess)); }

cudaError_t invalidate(CUgraph_st& capture, cudaError_t error) {
  capture.valid = false;
  return report(error);
}

bool forbids_waits(const CUgraph_st& capture) {
  return capture.mode == cudaStreamCaptureModeGlobal ||
         (capture.mode == cudaStreamCaptureModeThreadLocal && capture.thread == std::this_thread::get_id());
}

// An event of a stream that captures now, or has captured when the event was recorded.
bool captured(cudaEvent_t event) { return event->capture != nullptr; }

}  // namespace

namespace caffe::emulation {

bool captures(cudaStream_t stream) { return resolve(stream)->capture != nullptr; }

cudaError_t refuse_in_capture(cudaStream_t stream) {
  stream = resolve(stream);
  return stream->capture ? invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t refuse_in_any_capture() {
  cudaError_t error = cudaSuccess;
  for (cudaStream_t stream : streams().all)
    if (stream->capture && forbids_waits(*stream->capture)) error = refuse_in_capture(stream);
  return error;
}

cudaError_t enqueue(cudaStream_t stream, Work work) {
  const Lock lock;
  stream = resolve(stream);
  if (!exists(stream)) return report(cudaErrorInvalidResourceHandle);
  if (!stream->capture) {
    stream->queue.push_back(std::move(work));
    return cudaSuccess;
  }
  if (!stream->capture->valid) return report(cudaErrorStreamCaptureInvalidated);
  stream->capture->work.push_back(std::move(work));
  return cudaSuccess;
}

cudaError_t finish(cudaStream_t stream) {
  stream = resolve(stream);
  while (!stream->queue.empty()) step(stream);
  return take_error();
}

cudaError_t finish_all() {
  for (cudaStream_t stream : streams().all)
    while (!stream->queue.empty()) step(stream);
  return take_error();
}

}  // namespace caffe::emulation

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock;
  if (flags > cudaStreamNonBlocking) return report(cudaErrorInvalidValue);
  *stream = new CUstream_st;
  streams().all.push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock;
  if (stream == nullptr || !exists(stream)) return report(cudaErrorInvalidResourceHandle);
  while (!stream->queue.empty()) step(stream);
  std::erase(streams().all, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock;
  if (!exists(resolve(stream))) return report(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_in_capture(stream)) return error;
  return finish(stream);
}

// A stream that nobody waits for is never ready.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock;
  if (!exists(resolve(stream))) return report(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_in_capture(stream)) return error;
  return resolve(stream)->queue.empty() ? take_error() : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock;
  if (const cudaError_t error = refuse_in_any_capture()) return error;
  return finish_all();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  const Lock lock;
  stream = resolve(stream);
  if (!exists(stream)) return report(cudaErrorInvalidResourceHandle);
  if (!event->mark) return cudaSuccess;
  if (stream->capture) {
    if (event->capture == stream->capture.get()) return cudaSuccess;
    return invalidate(*stream->capture, cudaErrorStreamCaptureIsolation);
  }
  if (captured(event)) return report(cudaErrorCapturedEvent);
  return enqueue(stream, [mark = event->mark] { run_until(*mark); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{(flags & cudaEventDisableTiming) == 0, nullptr};
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock;
  stream = resolve(stream);
  auto mark = std::make_shared<Mark>(Mark{stream, false, {}});
  const cudaError_t error = enqueue(stream, [mark] {
    mark->done = true;
    mark->when = std::chrono::steady_clock::now();
  });
  if (error != cudaSuccess) return error;
  event->mark = mark;
  event->capture = stream->capture.get();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock;
  if (captured(event)) return report(cudaErrorCapturedEvent);
  if (event->mark) run_until(*event->mark);
  return take_error();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock;
  if (captured(event)) return report(cudaErrorCapturedEvent);
  if (const cudaError_t error = refuse_in_any_capture()) return error;
  return event->mark && !event->mark->done ? cudaErrorNotReady : take_error();
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Lock lock;
  if (!start->timed || !end->timed || !start->mark || !end->mark || captured(start) || captured(end))
    return report(cudaErrorInvalidResourceHandle);
  if (!start->mark->done || !end->mark->done) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->mark->when - start->mark->when).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock;
  if (stream == nullptr) return report(cudaErrorStreamCaptureUnsupported);
  if (!exists(stream)) return report(cudaErrorInvalidResourceHandle);
  if (stream->capture) return report(cudaErrorIllegalState);
  stream->capture = std::make_unique<CUgraph_st>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock;
  *graph = nullptr;
  if (!exists(resolve(stream))) return report(cudaErrorInvalidResourceHandle);
  if (!captures(stream)) return report(cudaErrorIllegalState);
  if (stream->capture->mode != cudaStreamCaptureModeRelaxed &&
      stream->capture->thread != std::this_thread::get_id())
    return invalidate(*stream->capture, cudaErrorStreamCaptureWrongThread);
  const std::unique_ptr<CUgraph_st> capture = std::move(stream->capture);
  if (!capture->valid) return report(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st(std::move(*capture));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock;
  stream = resolve(stream);
  if (!exists(stream)) return report(cudaErrorInvalidResourceHandle);
  *status = !stream->capture         ? cudaStreamCaptureStatusNone
            : stream->capture->valid ? cudaStreamCaptureStatusActive
                                     : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long /*flags*/) {
  const Lock lock;
  if (graph == nullptr) return report(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->work)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Lock lock;
  if (executable == nullptr) return report(cudaErrorInvalidValue);
  if (!exists(resolve(stream))) return report(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_in_capture(stream)) return error;
  return enqueue(stream, [recorded = executable->work] {
    for (const Work& work : *recorded) work();
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
