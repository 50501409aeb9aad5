#include "core/layer.hpp"

#include "core/error.hpp"

namespace caffe {

std::string Layer::explain(const Complaint& complaint) const {
  return message("value ", complaint.value, " at position ", complaint.place, " is not allowed (code ",
                 complaint.code, ", limit ", complaint.limit, ")");
}

}  // namespace caffe
