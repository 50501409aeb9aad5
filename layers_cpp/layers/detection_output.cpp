// DetectionOutput (SSD): from the offsets and scores of P prior boxes to detections, rows
// [image, class, score, xmin, ymin, xmax, ymax].
//
//   loc (N, P L 4), conf (N, P C), priors (1, 2, P 4): boxes, then their variances, the same for all images;
//   L is C, or 1 where all classes share a box
//
// For every image and class but the background: scores above the threshold, the best top_k of them, their
// boxes decoded, those that overlap a better one too much left out; then the best keep_top_k of the image. Of
// equal scores the lower class comes first, then the lower prior. Rows lie in the order of images, classes
// and falling scores. Without any, there is one row for each image, [image, -1, ...]. No gradient.
//
// Only what is above the threshold is sorted and decoded. Scores are read once, a vector of classes at a
// time; then the classes are independent.
#include <algorithm>
#include <tuple>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/box_suppression.hpp"

namespace caffe {
namespace {

constexpr int64_t kRow = 7;

struct Candidate {
  float score;
  int32_t prior;
};

bool better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.prior < b.prior;
}

struct Detection {
  Candidate from;
  Box box;
};

// Neighbouring classes, at most a vector of them.
struct ClassGroup {
  int64_t first;
  int size;
};

// Appends the scores above the threshold to the list of each class. scores: `priors` rows, `step` apart
template <class Lanes>
void collect(const float* scores, int64_t priors, int64_t step, Lanes lanes, float threshold,
             std::vector<Candidate>* lists) {
  for (int64_t p = 0; p < priors; ++p, scores += step) {
    if (!any(load(scores, lanes) > threshold)) continue;
    for (int c = 0; c < lanes; ++c)
      if (scores[c] > threshold) lists[c].push_back({scores[c], static_cast<int32_t>(p)});
  }
}

// The best `most`, in their order; all for a negative number.
void keep_best(std::vector<Candidate>& candidates, int64_t most) {
  if (most >= 0 && most < static_cast<int64_t>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + most, candidates.end(), better);
    candidates.resize(static_cast<size_t>(most));
  }
  std::sort(candidates.begin(), candidates.end(), better);
}

BoxCode code_of(const std::string& name) {
  if (name == "corner") return BoxCode::corner;
  return name == "corner_size" ? BoxCode::corner_size : BoxCode::center_size;
}

class DetectionOutputLayer : public Layer {
 public:
  explicit DetectionOutputLayer(const Args& args)
      : classes_(args.integer("num_classes")),
        background_(args.integer("background_label_id")),
        share_location_(args.flag("share_location")),
        code_(code_of(args.text("code_type"))),
        variance_encoded_(args.flag("variance_encoded_in_target")),
        confidence_threshold_(args.real("confidence_threshold")),
        nms_threshold_(args.real("nms_threshold")),
        eta_(args.real("eta")),
        top_k_(args.integer("top_k")),
        keep_top_k_(args.integer("keep_top_k")),
        kept_(static_cast<size_t>(max_threads())) {
    add_groups(0, std::clamp<int64_t>(background_, 0, classes_));
    add_groups(std::clamp<int64_t>(background_ + 1, 0, classes_), classes_);
  }

  bool shapes_at_run_time() const override { return true; }

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &loc = bottoms[0], &conf = bottoms[1], &priors = bottoms[2];
    if (priors.size() < 3 || priors[0] < 1 || priors[1] != 2 || priors[2] % 4 != 0 || count(priors, 3) != 1)
      throw ShapeError(
          message("the prior boxes must be (1, 2, 4 P), boxes and variances, got ", to_string(priors)));
    const int64_t boxes = priors[2] / 4;
    require(loc, "offsets", boxes * (share_location_ ? 1 : classes_) * 4, boxes);
    require(conf, "scores", boxes * classes_, boxes);
    if (loc[0] != conf[0])
      throw ShapeError(message("offsets are of ", loc[0], " images, scores of ", conf[0]));
    const Shape top = {1, 1, loc[0] * std::max<int64_t>(1, most_rows(boxes)), kRow};
    count(top);
    return {top};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    images_ = bottom[0]->dim(0);
    priors_ = bottom[2]->dim(2) / 4;
    candidates_.resize(static_cast<size_t>(images_ * classes_));
    found_.resize(static_cast<size_t>(images_ * classes_));
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    const float* priors = bottom[2]->data();
    check_sizes(priors);
    find_candidates(bottom[1]->data());
    const float* loc = bottom[0]->data();
    parallel_for(images_ * classes_, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t list = begin; list < end; ++list) suppress(list, loc, priors, kept_[thread]);
    });
    if (keep_top_k_ >= 0)
      for (int64_t image = 0; image < images_; ++image) keep_best_of_image(image);
    write(*top[0]);
  }

  void backward(const Context&, const Blobs&, const std::vector<bool>& propagate_down,
                const Blobs&) override {
    if (std::find(propagate_down.begin(), propagate_down.end(), true) != propagate_down.end())
      throw ConfigError("DetectionOutput has no gradient; include it in phase TEST only");
  }

 private:
  void add_groups(int64_t begin, int64_t end) {
    for (; begin < end; begin += kLanes)
      groups_.push_back({begin, static_cast<int>(std::min<int64_t>(kLanes, end - begin))});
  }

  static void require(const Shape& shape, const char* what, int64_t values, int64_t boxes) {
    if (shape.size() < 2 || count(shape, 1) != values)
      throw ShapeError(message("for ", boxes, " prior boxes the ", what, " must be (N, ", values, "), got ",
                               to_string(shape)));
  }

  // Of an image.
  int64_t most_rows(int64_t boxes) const {
    int64_t classes = 0;
    for (const ClassGroup& group : groups_) classes += group.size;
    const int64_t most = classes * (top_k_ < 0 ? boxes : std::min(top_k_, boxes));
    return keep_top_k_ < 0 ? most : std::min(most, keep_top_k_);
  }

  // A size is divided by when offsets are learned, so one that is not positive is a mistake.
  void check_sizes(const float* priors) const {
    if (code_ == BoxCode::corner) return;
    for (int64_t p = 0; p < priors_; ++p) {
      const Box box = box_at(priors + p * 4);
      if (!(box.width() > 0 && box.height() > 0))
        throw DataError(message("prior box ", p, " has width ", box.width(), " and height ", box.height(),
                                "; both must be > 0"));
    }
  }

  static Box box_at(const float* corners) { return {corners[0], corners[1], corners[2], corners[3]}; }

  void find_candidates(const float* conf) {
    for (auto& list : candidates_) list.clear();
    const auto groups = static_cast<int64_t>(groups_.size());
    parallel_for(images_ * groups, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t image = item / groups;
        const auto [first, size] = groups_[static_cast<size_t>(item % groups)];
        const float* scores = conf + image * priors_ * classes_ + first;
        std::vector<Candidate>* lists = &candidates_[static_cast<size_t>(image * classes_ + first)];
        if (size == kLanes)
          collect(scores, priors_, classes_, kAllLanes, confidence_threshold_, lists);
        else
          collect(scores, priors_, classes_, size, confidence_threshold_, lists);
      }
    });
  }

  void suppress(int64_t list, const float* loc, const float* priors, KeptBoxes& kept) {
    std::vector<Candidate>& candidates = candidates_[static_cast<size_t>(list)];
    std::vector<Detection>& found = found_[static_cast<size_t>(list)];
    found.clear();
    kept.clear();
    keep_best(candidates, top_k_);
    float most = nms_threshold_;
    for (const Candidate& candidate : candidates) {
      if (static_cast<int64_t>(found.size()) == keep_top_k_) break;  // the image keeps no more
      const Box box = box_of(list, candidate.prior, loc, priors);
      if (kept.overlap_more(box, most)) continue;
      kept.add(box);
      found.push_back({candidate, box});
      if (eta_ < 1 && most > 0.5f) most *= eta_;
    }
  }

  Box box_of(int64_t list, int64_t prior, const float* loc, const float* priors) const {
    static constexpr float kOnes[4] = {1, 1, 1, 1};
    const int64_t image = list / classes_, boxes = share_location_ ? 1 : classes_;
    const int64_t offset = (image * priors_ + prior) * boxes + (share_location_ ? 0 : list % classes_);
    const float* variance = variance_encoded_ ? kOnes : priors + (priors_ + prior) * 4;
    return decode(code_, box_at(priors + prior * 4), variance, loc + offset * 4);
  }

  // The first of every class's detections stay, since they are its best.
  void keep_best_of_image(int64_t image) {
    std::vector<Detection>* found = found_.data() + image * classes_;
    std::vector<std::tuple<float, int64_t, int32_t>> ranks;  // the best is the least
    for (int64_t c = 0; c < classes_; ++c)
      for (const Detection& detection : found[c])
        ranks.emplace_back(-detection.from.score, c, detection.from.prior);
    if (static_cast<int64_t>(ranks.size()) <= keep_top_k_) return;
    std::nth_element(ranks.begin(), ranks.begin() + keep_top_k_, ranks.end());
    std::vector<size_t> counts(static_cast<size_t>(classes_));
    for (int64_t i = 0; i < keep_top_k_; ++i) ++counts[static_cast<size_t>(std::get<1>(ranks[i]))];
    for (int64_t c = 0; c < classes_; ++c) found[c].resize(counts[c]);
  }

  void write(Blob& top) const {
    int64_t rows = 0;
    for (const auto& found : found_) rows += static_cast<int64_t>(found.size());
    top.reshape({1, 1, rows > 0 ? rows : images_, kRow});
    float* row = top.data();
    for (int64_t list = 0; list < images_ * classes_; ++list)
      for (const auto& [from, box] : found_[static_cast<size_t>(list)]) {
        const float values[kRow] = {static_cast<float>(list / classes_),
                                    static_cast<float>(list % classes_),
                                    from.score,
                                    box.xmin,
                                    box.ymin,
                                    box.xmax,
                                    box.ymax};
        row = std::copy_n(values, kRow, row);
      }
    for (int64_t image = 0; rows == 0 && image < images_; ++image) {
      *row = static_cast<float>(image);
      row = std::fill_n(row + 1, kRow - 1, -1.0f);
    }
  }

  const int64_t classes_, background_;
  const bool share_location_;
  const BoxCode code_;
  const bool variance_encoded_;
  const float confidence_threshold_, nms_threshold_, eta_;
  const int64_t top_k_, keep_top_k_;  // negative: no limit
  std::vector<ClassGroup> groups_;    // of all classes but the background
  int64_t images_ = 0, priors_ = 0;

  // For each class of each image.
  std::vector<std::vector<Candidate>> candidates_;
  std::vector<std::vector<Detection>> found_;
  std::vector<KeptBoxes> kept_;  // for each thread
};

REGISTER_LAYER("DetectionOutput", cpu, DetectionOutputLayer);

}  // namespace
}  // namespace caffe
