// Usage: cache FOLDER KEY [TEXT]      remembers the text if one is given, and prints what is found
#include <iostream>

#include "math/cudnn_cache.hpp"

int main(int count, char** words) {
  const caffe::cuda::Cache cache(words[1]);
  if (count > 3) cache.remember(words[2], words[3]);
  std::cout << cache.find(words[2]).value_or("absent");
}
