"""Decoding into the cache against the fastest single reader per core times cores.

Run: PYTHONPATH=. python tests/benchmarks/prepare.py FOLDER_OF_JPEGS [--size 128]
`cache.build` reads, hashes, decodes, resizes and writes with fsync. The reader reads and decodes one file after the
other with one thread, to pixels of the asked size, by the fastest of the libraries that are here: OpenCV with libjpeg's
scaling, Pillow with its draft mode, simplejpeg where it is installed; nothing is kept.
"""

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from measure import line, machine_line, paired
from PIL import Image

from pipeline.competition_config import DataConfig
from pipeline.config import Config, ImageConfig
from pipeline.cores import num_cores
from pipeline.images import fill


def by_opencv(data: bytes, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        times = min(image.size) / size
    factor = next((factor for factor in (8, 4, 2) if times >= factor), 1)
    flags = getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}") if factor > 1 else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def by_pillow(data: bytes, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (size, size))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def by_simplejpeg(data: bytes, size: int) -> np.ndarray:
    import simplejpeg

    pixels = simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True, min_height=size, min_width=size)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    root = args.folder.resolve()
    paths = sorted(file.name for file in root.glob("*.jp*g"))
    for path in paths:
        (root / path).read_bytes()  # into the system's file cache
    readers: list[Callable[[bytes, int], np.ndarray]] = [by_opencv, by_pillow]
    try:
        import simplejpeg  # noqa: F401

        readers.append(by_simplejpeg)
    except ImportError:
        pass

    def read(reader: Callable[[bytes, int], np.ndarray]) -> float:
        start = time.perf_counter()
        for path in paths:
            reader((root / path).read_bytes(), args.size)
        return len(paths) / (time.perf_counter() - start) * num_cores()

    speeds = {reader.__name__: read(reader) for reader in readers}
    fastest = max(readers, key=lambda reader: speeds[reader.__name__])
    print(*(f"{name}: {speed:,.0f} images/s on {num_cores()} cores" for name, speed in speeds.items()), sep="\n")
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        os.chdir(scratch)
        cfg = Config(data=DataConfig(root=str(root)), image=ImageConfig(size=args.size))

        def prepare() -> float:
            shutil.rmtree("output", ignore_errors=True)
            start = time.perf_counter()
            fill.decode_missing(cfg, "train", paths)
            return len(paths) / (time.perf_counter() - start)

        print(line(f"{len(paths):,} files to {args.size} px", *paired(prepare, lambda: read(fastest), 5)))
        start = time.perf_counter()
        fill.decode_missing(cfg, "train", paths)
        print(f"again: {time.perf_counter() - start:.2f} s, nothing is decoded")
        os.chdir("..")
    print(machine_line())


if __name__ == "__main__":
    main()
