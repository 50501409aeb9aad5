"""Images a second and core that the data path makes: ``python -m benchmarks.loader``.

Raw 28x28 records, and JPEG of 500x375 beside a bare `cv2.imdecode` of the same bytes. Rates are by
processor time, all threads of the loader included, so they are "of one core" however many there are.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pycaffe_like import schema
from pycaffe_like.data.lmdb_database import create_database, open_database
from pycaffe_like.data.loader import DataLoader
from pycaffe_like.data.transformer import Transformer

BATCH = 32
PREFETCH = 2
JPEG_QUALITY = 90

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


def raw_records(count: int) -> Iterator[bytes]:
    """Serialized records like those of MNIST."""
    random = np.random.default_rng(1)
    for label in range(count):
        pixels = random.integers(256, size=28 * 28, dtype=np.uint8).tobytes()
        yield schema.Datum(channels=1, height=28, width=28, data=pixels, label=label % 10).SerializeToString()


def jpegs(count: int) -> list[bytes]:
    """Encoded images of 500 x 375."""
    random = np.random.default_rng(1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return [cv2.imencode(".jpg", make_image(random, 375, 500), quality)[1].tobytes() for _ in range(count)]


def jpeg_records(images: list[bytes]) -> Iterator[bytes]:
    """Serialized records of encoded images."""
    for label, data in enumerate(images):
        yield schema.Datum(data=data, encoded=True, label=label).SerializeToString()


def open_loader(folder: Path, records: Iterator[bytes], transform: str) -> DataLoader:
    """Write a database and open a loader of it."""
    with create_database(folder) as writer:
        for index, record in enumerate(records):
            writer.put(b"%08d" % index, record)
        writer.commit()
    transformer = Transformer(_parse_transform(transform), schema.TRAIN)
    return DataLoader(open_database(folder), transformer, BATCH, prefetch=PREFETCH)


def _parse_transform(text: str) -> object:
    from google.protobuf import text_format

    return text_format.Parse(text, schema.TransformationParameter())


def rate_of_loader(loader: DataLoader, seconds: float) -> float:
    """Images per second of processor time, once the queue is full and each batch taken is one made."""
    for _ in range(PREFETCH + 2):
        loader.next()
    return _rate(lambda: loader.next() and BATCH, seconds, time.process_time)


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
        raw = open_loader(Path(folder, "raw"), raw_records(4096), "scale: 0.00390625")
        crop = "crop_size: 224 mirror: true mean_value: 104 mean_value: 117 mean_value: 123"
        jpeg = open_loader(Path(folder, "jpeg"), jpeg_records(images), crop)
        rates = [
            (
                rate_of_loader(raw, options.seconds),
                rate_of_loader(jpeg, options.seconds),
                rate_of_imdecode(images, options.seconds),
            )
            for _ in range(options.pairs)
        ]
        for loader in (raw, jpeg):
            loader.close()
    _print_table(rates, statistics.mean(map(len, images)))


def _print_table(rates: list[tuple[float, float, float]], jpeg_bytes: float) -> None:
    raw, jpeg, bare = (statistics.median(column) for column in zip(*rates))
    ratio = statistics.median(jpeg / bare for _, jpeg, bare in rates)
    print("| what | images/s of one core |\n|---|---:|")
    print(f"| DataLoader, raw 28x28 | {raw:,.0f} |")
    print(f"| DataLoader, JPEG 500x375 ({jpeg_bytes / 1000:.0f} KB), crop 224, mirror, mean | {jpeg:,.0f} |")
    print(f"| cv2.imdecode alone | {bare:,.0f} |")
    print(f"\nDataLoader / imdecode: {ratio:.2f} (median of {len(rates)} pairs)")


if __name__ == "__main__":
    main()
