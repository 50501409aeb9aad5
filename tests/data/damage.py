"""Child process of test_damaged_lmdb: damages copies of a database and reads each one to its end.

Prints one line a trial: what was done, and `read` or the error. A signal shows as missing lines.
"""

import random
import shutil
import sys
from pathlib import Path

from pycaffe_like.data.database_images import DatabaseImages
from pycaffe_like.data.lmdb_database import open_database
from pycaffe_like.data.loader import image_loader
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.errors import DataError
from pycaffe_like.prototxt import schema


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def flip_meta(data: bytearray, rng: random.Random) -> None:
    for _ in range(3):
        data[rng.choice((0, 4096)) + rng.randrange(16, 152)] = rng.randrange(256)


def flip_page_headers(data: bytearray, rng: random.Random) -> None:
    for _ in range(4):
        data[4096 * rng.randrange(2, len(data) // 4096) + rng.randrange(64)] = rng.randrange(256)


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(8):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def read_everything(folder: Path, records: int) -> str:
    try:
        database = open_database(folder)
        transformer = Transformer(schema.TransformationParameter(), phase=1)
        with image_loader(DatabaseImages(database), transformer, batch_size=8) as loader:
            for _ in range(records // 8 + 2):
                loader.next().arrays[0].sum()
    except DataError as error:
        return f"error: {str(error).splitlines()[0]}"
    return f"read {len(database)}"


def main(source: Path, folder: Path, kind: str, trials: int, records: int) -> None:
    intact = (source / "data.mdb").read_bytes()
    for trial in range(trials):
        data = bytearray(intact)
        globals()[kind](data, random.Random(f"{kind} {trial}"))
        damaged = folder / f"{kind}_{trial}"
        damaged.mkdir()
        (damaged / "data.mdb").write_bytes(data)
        print(trial, read_everything(damaged, records), flush=True)
        shutil.rmtree(damaged)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
