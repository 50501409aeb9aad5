#!/usr/bin/env bash
# Installs the project into .venv, trains LeNet on a part of Fashion-MNIST, tests it and classifies a picture.
# Needs Python 3.10 or newer, a C++20 compiler and the network (for pip). Run it again at will.
set -euo pipefail
cd "$(dirname "$0")"

.ci/install
caffe=.venv/bin/caffe
model=models/lenet
weights=$model/lenet_small_iter_2000.caffemodel

[ -d data/fashion-mnist_test_lmdb ] || "$caffe" dataset fashion-mnist --from "$model/data" --output data
"$caffe" train -solver "$model/solver_small.prototxt" -overwrite
"$caffe" test -model "$model/train_val.prototxt" -weights "$weights" -iterations 20 2>&1 | tee data/lenet_test.log
"$caffe" classify -model "$model/deploy.prototxt" -weights "$weights" -labels "$model/labels.txt" \
  -scale 0.00390625 -top 3 "$model/sneaker.png"
echo "LeNet, 2,000 iterations on 10,000 pictures: $(grep -o 'accuracy = [0-9.]*' data/lenet_test.log | tail -1)" \
  "on the 2,000 test pictures."
