// Usage: remember_choices FILE [KEY CHOICE]      remembers the choice if one is given, and prints that of KEY
// "a"
#include <iostream>

#include "math/cudnn_choices.hpp"

int main(int count, char** words) {
  caffe::cuda::Choices choices(words[1]);
  if (count > 3) choices.remember(words[2], words[3]);
  std::cout << choices.find("a") << '\n';
}
