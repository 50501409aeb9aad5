#include "math/filler.hpp"

#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "math/channels_last.hpp"
#include "math/philox.hpp"

namespace caffe {
namespace {

// Writes number(bits) for every element, four elements a Philox block.
template <class Number>
void draw(Blob& blob, const Philox& random, Number&& number) {
  float* data = blob.data();
  const int64_t count = blob.count();
  parallel_for((count + 3) / 4, 4096, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      const auto bits = random(static_cast<uint64_t>(block));
      for (int64_t lane = 0; lane < 4 && 4 * block + lane < count; ++lane)
        data[4 * block + lane] = number(bits, static_cast<int>(lane));
    }
  });
}

void uniform(Blob& blob, const Philox& random, float low, float high) {
  draw(blob, random, [=](const auto& bits, int lane) { return low + (high - low) * uniform01(bits[lane]); });
}

// Box-Muller: two uniform numbers make two normal ones.
void gaussian(Blob& blob, const Philox& random, float mean, float std) {
  draw(blob, random, [=](const auto& bits, int lane) {
    const float first = 1.0f - uniform01(bits[lane & 2]);  // in (0, 1], so that the logarithm is finite
    const float angle = 2.0f * std::numbers::pi_v<float> * uniform01(bits[(lane & 2) + 1]);
    const float radius = std::sqrt(-2.0f * std::log(first));
    return mean + std * radius * ((lane & 1) ? std::sin(angle) : std::cos(angle));
  });
}

// Keeps each value with probability sparse / d0, where d0 is the first dimension.
void sparsify(Blob& blob, const Philox& random, int64_t sparse) {
  if (blob.axes() < 1) throw ConfigError("a sparse filler needs a blob with at least one axis");
  const float keep = static_cast<float>(sparse) / static_cast<float>(blob.dim(0));
  float* data = blob.data();
  parallel_for((blob.count() + 3) / 4, 4096, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      const auto bits = random(static_cast<uint64_t>(block));
      for (int64_t lane = 0; lane < 4 && 4 * block + lane < blob.count(); ++lane)
        if (uniform01(bits[lane]) >= keep) data[4 * block + lane] = 0;
    }
  });
}

void positive_unitball(Blob& blob, const Philox& random) {
  uniform(blob, random, 0, 1);
  if (blob.count() == 0) return;
  const int64_t rows = blob.axes() ? blob.dim(0) : 1, row = blob.count() / rows;
  float* data = blob.data();
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0;
    for (int64_t i = 0; i < row; ++i) sum += data[r * row + i];
    for (int64_t i = 0; i < row; ++i) data[r * row + i] /= sum;
  }
}

// The weights of bilinear interpolation, for a Deconvolution that enlarges.
void bilinear(Blob& blob) {
  if (blob.axes() != 4 || blob.dim(2) != blob.dim(3))
    throw ConfigError(message("a bilinear filler needs a square 4-D blob, got ", to_string(blob.shape())));
  const int64_t width = blob.dim(3);
  const float factor = std::ceil(static_cast<float>(width) / 2);
  const float centre = static_cast<float>(width - 1) / (2 * factor);
  float* data = blob.data();
  for (int64_t i = 0; i < blob.count(); ++i) {
    const float x = static_cast<float>(i % width), y = static_cast<float>(i / width % width);
    data[i] = (1 - std::abs(x / factor - centre)) * (1 - std::abs(y / factor - centre));
  }
}

// The n of "variance 1 / n": how many numbers meet in one output (fan in), or come from one input (fan out).
float fan(const Filler& filler, const Blob& blob) {
  const int64_t count = blob.count();
  const int64_t in = blob.axes() > 0 ? count / blob.dim(0) : count;
  const int64_t out = blob.axes() > 1 ? count / blob.dim(1) : count;
  if (filler.variance_norm == "FAN_IN") return static_cast<float>(in);
  if (filler.variance_norm == "FAN_OUT") return static_cast<float>(out);
  return static_cast<float>(in + out) / 2;
}

}  // namespace

void fill(const Filler& filler, Blob& blob, uint64_t seed, uint64_t stream, uint64_t iteration) {
  const Philox random(seed, stream, iteration);
  const std::string& type = filler.type;
  if (filler.sparse != -1 && type != "gaussian")
    throw ConfigError("filler " + type + ": sparse is only supported by the gaussian filler");
  if (blob.count() == 0 && type != "bilinear" && type != "positive_unitball")
    throw ConfigError("filler " + type + " cannot fill an empty blob");
  if (type == "constant") {
    std::fill_n(blob.data(), blob.count(), filler.value);
  } else if (type == "uniform") {
    if (filler.min > filler.max)
      throw ConfigError(message("uniform filler: min ", filler.min, " > max ", filler.max));
    uniform(blob, random, filler.min, filler.max);
  } else if (type == "gaussian") {
    if (!(filler.std > 0)) throw ConfigError(message("gaussian filler: std must be > 0, got ", filler.std));
    gaussian(blob, random, filler.mean, filler.std);
    if (filler.sparse >= 0) sparsify(blob, Philox(~seed, stream, iteration), filler.sparse);
  } else if (type == "positive_unitball") {
    positive_unitball(blob, random);
  } else if (type == "xavier") {
    const float scale = std::sqrt(3.0f / fan(filler, blob));
    uniform(blob, random, -scale, scale);
  } else if (type == "msra") {
    gaussian(blob, random, 0, std::sqrt(2.0f / fan(filler, blob)));
  } else if (type == "bilinear") {
    bilinear(blob);
  } else {
    throw ConfigError("unknown filler type '" + type +
                      "'; known: bilinear, constant, gaussian, msra, positive_unitball, uniform, xavier");
  }
  blob.data_storage().touch();
}

void fill_logical(const Filler& filler, Blob& blob, Blob& staging, uint64_t seed, uint64_t stream,
                  uint64_t iteration) {
  if (blob.layout() == Layout::plain || filler.type == "constant")
    return fill(filler, blob, seed, stream, iteration);
  staging.reshape(blob.shape());
  fill(filler, staging, seed, stream, iteration);
  copy_to_channels_last(staging.data(), blob.data(), blob.shape());
  blob.data_storage().touch();
}

}  // namespace caffe
