// The fillers of several tops, each parameter given as one list.
#pragma once

#include <iterator>
#include <sstream>

#include "core/args.hpp"
#include "math/filler.hpp"

namespace caffe {

inline std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

inline std::vector<Filler> filler_list(const Args& args) {
  const auto types = words(args.text("types")), norms = words(args.text("variance_norms"));
  const auto value = args.reals("value"), min = args.reals("min"), max = args.reals("max");
  const auto mean = args.reals("mean"), std = args.reals("std");
  const auto sparse = args.integers("sparse");
  std::vector<Filler> fillers;
  for (size_t i = 0; i < types.size(); ++i)
    fillers.push_back({types[i], value[i], min[i], max[i], mean[i], std[i], sparse[i], norms[i]});
  return fillers;
}

}  // namespace caffe
