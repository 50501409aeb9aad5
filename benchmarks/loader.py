"""Images a second and core that the data path makes: ``python -m benchmarks.loader``.

Raw records of 28x28, and of 3x256x256 beside a bare copy of as many floats; JPEG of 500x375 beside a bare
`cv2.imdecode` of the same bytes and PyTorch's DataLoader doing the same. Rates are by processor time, all
threads of the loader included, so they are "of one core" however many there are. The last line is by the
clock, with PyTorch's best number of worker processes.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pycaffe_like.data.database_images import DatabaseImages
from pycaffe_like.data.lmdb_database import create_database, open_database
from pycaffe_like.data.loader import DataLoader, image_loader
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.prototxt import schema

BATCH = 32
PREFETCH = 2
JPEG_QUALITY = 90
CROP = 224
RAW_CROP = 227
MEAN = (104, 117, 123)

RAW = "DataLoader, raw 28x28"
RAW_COLOR = "DataLoader, raw 3x256x256, crop 227, mirror, mean"
COPY = "copy of 3x227x227 floats"
JPEG = "DataLoader, JPEG 500x375, crop 224, mirror, mean"
TORCH = "PyTorch DataLoader, the same"
BARE = "cv2.imdecode alone"

Image = npt.NDArray[np.uint8]


def make_image(random: np.random.Generator, height: int, width: int) -> Image:
    """Noise with the spectrum of photographs, amplitude falling with frequency, in three related channels."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    shared = _noise(random, frequency, height, width)
    channels = [shared + 0.3 * _noise(random, frequency, height, width) for _ in range(3)]
    return np.clip(128 + 45 * np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def _noise(
    random: np.random.Generator, frequency: npt.NDArray[np.float64], height: int, width: int
) -> npt.NDArray[np.float64]:
    phases = np.exp(2j * np.pi * random.random(frequency.shape))
    values = np.fft.irfft2(phases / frequency, (height, width))
    return (values - values.mean()) / values.std()


def raw_records(count: int, channels: int = 1, side: int = 28) -> Iterator[bytes]:
    """Serialized records of pixels, by default like those of MNIST."""
    random = np.random.default_rng(1)
    size = {"channels": channels, "height": side, "width": side}
    for label in range(count):
        pixels = random.integers(256, size=channels * side * side, dtype=np.uint8).tobytes()
        yield schema.Datum(**size, data=pixels, label=label % 10).SerializeToString()


def jpegs(count: int) -> list[bytes]:
    """Encoded images of 500 x 375."""
    random = np.random.default_rng(1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return [cv2.imencode(".jpg", make_image(random, 375, 500), quality)[1].tobytes() for _ in range(count)]


def jpeg_records(images: list[bytes]) -> Iterator[bytes]:
    """Serialized records of encoded images."""
    for label, data in enumerate(images):
        yield schema.Datum(data=data, encoded=True, label=label).SerializeToString()


def open_loader(folder: Path, records: Iterator[bytes], transform: str, threads: int = 1) -> DataLoader:
    """Write a database and open a loader of it."""
    with create_database(folder) as writer:
        for index, record in enumerate(records):
            writer.put(b"%08d" % index, record)
        writer.commit()
    transformer = Transformer(_parse_transform(transform), schema.TRAIN)
    images = DatabaseImages(open_database(folder))
    return image_loader(images, transformer, BATCH, prefetch=PREFETCH, threads=threads)


def _parse_transform(text: str) -> object:
    from google.protobuf import text_format

    return text_format.Parse(text, schema.TransformationParameter())


class TorchImages:
    """The usual recipe for a data set of PyTorch: decode, crop and mirror at random, subtract the mean."""

    def __init__(self, images: list[bytes], count: int) -> None:
        self._images = images
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> object:
        import torch

        buffer = np.frombuffer(self._images[index % len(self._images)], np.uint8)
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
        assert image is not None
        height, width = (int(torch.randint(side - CROP + 1, ())) for side in image.shape[:2])
        image = image[height : height + CROP, width : width + CROP]
        if torch.rand(()) < 0.5:
            image = image[:, ::-1]
        values = image.astype(np.float32) - np.array(MEAN, np.float32)
        return torch.from_numpy(values.transpose(2, 0, 1)), index % 10


def torch_batches(images: list[bytes], workers: int) -> Iterator[Any]:
    """Batches of PyTorch's DataLoader, without end for any measurement here."""
    import torch
    from torch.utils.data import DataLoader as TorchLoader

    torch.set_num_threads(1)  # the rates are of one core
    return iter(TorchLoader(TorchImages(images, 10**6), batch_size=BATCH, num_workers=workers))  # type: ignore[arg-type]


def rate_of_batches(
    next_batch: Callable[[], object], seconds: float, clock: Callable[[], float] = time.process_time
) -> float:
    """Images a second, once the queue is full and each batch taken is one made."""
    for _ in range(PREFETCH + 2):
        next_batch()

    def work() -> int:
        next_batch()
        return BATCH

    return _rate(work, seconds, clock)


def rate_of_copy(seconds: float) -> float:
    """Images of 3x227x227 floats that are copied in a second, in batches."""
    batch = np.ones((BATCH, 3, RAW_CROP, RAW_CROP), np.float32)
    copy = np.empty_like(batch)
    return rate_of_batches(lambda: np.copyto(copy, batch), seconds)


def rate_of_imdecode(images: list[bytes], seconds: float) -> float:
    """Images per second of this thread's processor time."""
    buffers = itertools.cycle([np.frombuffer(image, np.uint8) for image in images])
    return _rate(
        lambda: int(cv2.imdecode(next(buffers), cv2.IMREAD_COLOR) is not None), seconds, time.thread_time
    )


def _rate(work: Callable[[], int], seconds: float, clock: Callable[[], float]) -> float:
    """Repeat `work`, which returns a number of images, for some time; returns images per second."""
    done, start = 0, clock()
    while (elapsed := clock() - start) < seconds:
        done += work()
    return done / elapsed


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader")
    parser.add_argument("--pairs", type=int, default=15, help="repeats; medians are shown")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one measurement")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    images = jpegs(64)
    with tempfile.TemporaryDirectory() as folder:
        rows, clock = measure(Path(folder), images, options.pairs, options.seconds)
    _print_table(rows, clock)


def measure(
    folder: Path, images: list[bytes], pairs: int, seconds: float
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return rates of one core, `pairs` of each, and rates by the clock."""
    mean = " ".join(f"mean_value: {value}" for value in MEAN)
    raw_color = f"crop_size: {RAW_CROP} mirror: true {mean}"
    crop = f"crop_size: {CROP} mirror: true {mean}"
    with (
        open_loader(folder / "raw", raw_records(4096), "scale: 0.00390625") as raw,
        open_loader(folder / "raw_color", raw_records(64, 3, 256), raw_color) as color,
        open_loader(folder / "jpeg", jpeg_records(images), crop) as jpeg,
        open_loader(folder / "jpeg_2", jpeg_records(images), crop, threads=2) as jpeg_2,
    ):
        next_of_torch = torch_batches(images, 0).__next__
        contenders: dict[str, Callable[[], float]] = {
            RAW: lambda: rate_of_batches(raw.next, seconds),
            RAW_COLOR: lambda: rate_of_batches(color.next, seconds),
            COPY: lambda: rate_of_copy(seconds),
            JPEG: lambda: rate_of_batches(jpeg.next, seconds),
            TORCH: lambda: rate_of_batches(next_of_torch, seconds),
            BARE: lambda: rate_of_imdecode(images, seconds),
        }
        rows: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(pairs):
            for name, contender in contenders.items():
                rows[name].append(contender())
        clock = {"2 threads": rate_of_batches(jpeg_2.next, 4 * seconds, time.perf_counter)}
    for workers in (0, 1, 2):
        next_batch = torch_batches(images, workers).__next__
        clock[f"num_workers={workers}"] = rate_of_batches(next_batch, 4 * seconds, time.perf_counter)
    return rows, clock


def _print_table(rows: dict[str, list[float]], clock: dict[str, float]) -> None:
    print("| what | images/s of one core |\n|---|---:|")
    for name, rates in rows.items():
        print(f"| {name} | {statistics.median(rates):,.0f} |")
    print()
    for ours, other in ((RAW_COLOR, COPY), (JPEG, BARE), (JPEG, TORCH)):
        ratio = statistics.median(a / b for a, b in zip(rows[ours], rows[other]))
        print(f"{ours} / {other}: {ratio:.2f}")
    print("JPEG by the clock: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in clock.items()))


if __name__ == "__main__":
    main()
