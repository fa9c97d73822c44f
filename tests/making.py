"""Small things that tests make: pictures and tables."""

import csv
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TOML = """
[data]
root = "input/tiny"
answers = "answers.csv"
[folds]
num_folds = 2
[image]
size = 12
[model]
name = "mlp"
[train]
num_epochs = 2
batch_size = 8
lr = 0.01
"""


def picture(label: int, seed: int, side: int = 12) -> np.ndarray:
    """A noisy uint8 (side, side, 3) picture whose brightest corner shows its label, 0 to 3."""
    pixels = np.random.default_rng(seed).integers(0, 120, (side, side, 3))
    half = side // 2
    top, left = divmod(label % 4, 2)
    pixels[top * half : (top + 1) * half, left * half : (left + 1) * half] += 120
    return pixels.astype(np.uint8)


def smooth(height: int = 24, width: int = 24) -> np.ndarray:
    """A uint8 (height, width, 3) picture without symmetry, smooth enough for JPEG."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return (255 * np.stack([x, y, (x + y * y) / 2], 2)).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image as a file of one of Pillow's kinds."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def black_png(side: int) -> bytes:
    """A square grey PNG without light, made without holding its pixels."""
    num_rows = side // 100
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A full flush forgets what was before: the same bytes may follow again and again.
    rows = packer.compress(bytes((side + 1) * num_rows)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = side % num_rows
    end = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    pixels = rows * (side // num_rows) + end.compress(bytes((side + 1) * rest)) + end.flush()
    adler = side * (side + 1) % 65521 << 16 | 1  # RFC 1950, of zeros
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    stream = b"\x78\x01" + pixels + struct.pack(">I", adler)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read a csv: its header and its rows."""
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    return header, rows


def write_table(path: Path, header: list[str], rows: list[list[object]], encoding: str = "utf-8") -> None:
    """Write a csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def tiny_competition(place: Path, num_train: int = 24, num_test: int = 8, toml: str = TOML) -> None:
    """Write a tiny competition of three classes to `place`/input/tiny, and its config to `place`/configs/tiny.toml."""
    root, names = place / "input" / "tiny", ["ant", "bee", "cow"]
    rows: dict[str, list[list[object]]] = {"train": [], "test": []}
    for part, count in (("train", num_train), ("test", num_test)):
        for number in range(count):
            label, id_ = number % 3, f"{number:03d}"
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(label, number + 1000 * (part == "test"))).save(root / part / f"{id_}.png")
            rows[part].append([id_, names[label]])
    write_table(root / "train.csv", ["id", "label"], rows["train"])
    write_table(root / "answers.csv", ["id", "label"], rows["test"])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, names[0]] for id_, _ in rows["test"]])
    (place / "configs").mkdir(exist_ok=True)
    (place / "configs" / "tiny.toml").write_text(toml, encoding="utf-8")
