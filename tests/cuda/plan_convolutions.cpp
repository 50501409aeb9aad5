// Plans convolutions for a GPU that is only described, not there.
//
// Usage: plan_convolutions DEVICE.json FOLDER...    the folders are those of NVIDIA's libraries
// Reads a convolution a line, "PASS TYPE EPILOGUE ITEMS CHANNELS OUTPUTS GROUP AXES IN OUT KERNEL STRIDE PAD
// DILATION", the last six with a number for each axis, and answers each with a line: name of the plan and
// bytes of scratch, or "none". Every plan must survive being written down and read again.
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>

#include "core/library_folders.hpp"
#include "math/cudnn_plan.hpp"

using namespace caffe;
using namespace caffe::cuda;

namespace {

Descriptor read_device(const char* path) {
  std::ifstream file(path);
  const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, text);
  device.finalize();
  return device;
}

bool read(std::istream& in, ConvolutionSpec& spec, std::string& pass) {
  std::string type, epilogue;
  size_t axes = 0;
  if (!(in >> pass >> type >> epilogue >> spec.items >> spec.channels >> spec.outputs >> spec.group >> axes))
    return false;
  for (auto* values : {&spec.in, &spec.out, &spec.kernel, &spec.stride, &spec.pad, &spec.dilation}) {
    values->resize(axes);
    for (int64_t& value : *values) in >> value;
  }
  const auto has = [&](const char* part) { return epilogue.find(part) != std::string::npos; };
  spec.dtype = type == "bfloat16" ? DType::bfloat16 : DType::float32;
  spec.tf32 = type == "tf32";
  spec.bias = has("bias");
  spec.addend = has("addend");
  spec.relu = has("relu");
  spec.accumulates = has("accumulates");
  return true;
}

std::string describe(const Plan& plan) { return message(plan.name(), ", scratch ", plan.workspace_bytes()); }

void plan_all(const char* device_file) {
  const std::map<std::string, Pass> passes{{"forward", Pass::forward},
                                           {"data_gradient", Pass::data_gradient},
                                           {"weight_gradient", Pass::weight_gradient}};
  const Descriptor properties = read_device(device_file);
  ConvolutionSpec spec{};
  std::string pass;
  while (read(std::cin, spec, pass)) {
    const PlanningDevice device{nullptr, &properties};
    const auto plans = make_plans(spec, passes.at(pass), device, 1);
    std::cout << (plans.empty() ? "none" : describe(plans[0])) << '\n';
    if (plans.empty()) continue;
    const std::string text = plans[0].to_text();
    const Plan again(text, device);
    if (describe(again) != describe(plans[0]) || again.to_text() != text)
      throw DeviceError("another plan came back from the text of " + describe(plans[0]));
  }
}

}  // namespace

int main(int, char** argv) {
  for (char** folder = argv + 2; *folder; ++folder) library_folders().push_back(*folder);
  try {
    plan_all(argv[1]);
  } catch (const DeviceError& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
