#include "core/repeated_work.hpp"

namespace caffe {

void RepeatedWork::run(uint64_t fingerprint, const std::vector<Storage*>& storages,
                       const std::function<void()>& body) {
  if (fingerprint != fingerprint_) {
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
