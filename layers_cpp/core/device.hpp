// Where arrays lie and layers compute.
#pragma once

namespace caffe {

enum class Device { cpu, cuda };

}  // namespace caffe
