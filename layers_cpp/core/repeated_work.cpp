#include "core/repeated_work.hpp"

#include <cstdlib>
#include <string>

namespace caffe {
namespace {

// CAFFE_RECORDING=0 queues the work anew in every run, for those who look for an error.
bool recording_wanted() {
  const char* wish = std::getenv("CAFFE_RECORDING");
  return !wish || std::string(wish) != "0";
}

}  // namespace

void RepeatedWork::run(uint64_t fingerprint, const std::vector<Storage*>& storages,
                       const std::function<void()>& body) {
  if (fingerprint != fingerprint_ || !recording_wanted()) {
    recording_.reset();
    repeated_ = false;
    fingerprint_ = fingerprint;
    body();
    return;
  }
  if (!recording_) record(storages, body);
  recording_->run();
  for (Storage* storage : written_) storage->overwrite();
  repeated_ = true;
}

void RepeatedWork::record(const std::vector<Storage*>& storages, const std::function<void()>& body) {
  std::vector<Storage*> pending;
  for (Storage* storage : storages)
    if (storage->zero()) pending.push_back(storage);
  recording_ = accelerator().record(body);
  written_.clear();
  for (Storage* storage : pending)
    if (!storage->zero()) written_.push_back(storage);
}

}  // namespace caffe
