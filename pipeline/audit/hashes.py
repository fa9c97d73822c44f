"""What images are compared by: a hash of their pixels, and one of how they look, kept beside the decoded pixels.

`pixels` is equal where two images decode to the same pixels at the size of the cache, whatever the bytes of their
files. `look` is the difference hash, dHash (N. Krawetz, "Kind of Like That", hackerfactor.com, 21 January 2013): the
grey image averaged to 9 x 8 px, and for each of 8 x 8 pairs of horizontal neighbours whether the right one is brighter.
It changes little with size, compression and brightness. Of an image almost of one colour it says nothing: `is_plain`.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files import atomic_write
from pipeline.images.cache import Images, decode_pool

Array = np.ndarray[Any, Any]

# The number in the name counts the changes of this module that give other hashes.
FILE = "hashes-1.parquet"
# Standard deviation, in levels, of the 9 x 8 averages below which an image is plain.
LEAST_CONTRAST = 4.0
_BATCH = 512
_SCHEMA = pa.schema([("sha256", pa.string()), ("pixels", pa.string()), ("look", pa.uint64()), ("is_plain", pa.bool_())])


class Hashes(NamedTuple):
    """Of each image: pixels, text (num_images,); look, uint64 (num_images,); is_plain, bool (num_images,)."""

    pixels: Array
    look: Array
    is_plain: Array


def hash_images(images: Images, folder: Path) -> Hashes:
    """Hash images, each once: the hashes are kept in their cache's folder by the hash of the file's bytes.

    Args:
        images: with all that is known of each file.
        folder: the cache's.
    """
    # What cannot be read today may be read tomorrow: it has the hashes of a black image, under no name.
    identities = pc.if_else(pa.array(images.readable), images.table["sha256"].combine_chunks(), "")
    known = _known(folder / FILE)
    is_new = ~np.asarray(pc.is_in(identities, value_set=known["sha256"].combine_chunks()))
    _, first = np.unique(identities.to_numpy(zero_copy_only=False).astype(str)[is_new], return_index=True)
    new = np.flatnonzero(is_new)[first]
    if len(new):
        known = pa.concat_tables([known, pa.table([identities.take(pa.array(new)), *_hashed(images, new)], _SCHEMA)])
        with atomic_write(folder / FILE) as stream:
            pq.write_table(known, stream)
    table = known.take(pc.index_in(identities, value_set=known["sha256"].combine_chunks()))
    return Hashes(*(table[name].to_numpy() for name in Hashes._fields))


def _known(file: Path) -> pa.Table:
    """Read the hashes that are kept; none where the file is broken: they are made again."""
    try:
        return pq.read_table(file, schema=_SCHEMA).combine_chunks()
    except (pa.ArrowException, OSError):
        return _SCHEMA.empty_table()


def _hashed(images: Images, indices: Array) -> list[pa.Array]:
    """Hash some images, on all cores: pixels, looks, and which are plain."""
    batches = [indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH)]
    with decode_pool() as pool:
        rows = [row for batch in pool.map(partial(_hash_batch, images), batches) for row in batch]
    pixels, looks, are_plain = zip(*rows, strict=True)
    return [pa.array(pixels), pa.array(looks, pa.uint64()), pa.array(are_plain)]


def _hash_batch(images: Images, indices: Array) -> list[tuple[str, int, bool]]:
    """Hash some images: of each pixels, look and whether it is plain."""
    return [hash_pixels(pixels) for pixels in images.gather(indices)]


def hash_pixels(pixels: Array) -> tuple[str, int, bool]:
    """Hash one image, uint8 (height, width, channels): its pixels, its look, and whether it is plain."""
    small = cv2.resize(grey(pixels), (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    exact = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()
    return exact, int.from_bytes(bits.tobytes(), "big"), bool(small.std() < LEAST_CONTRAST)


def grey(pixels: Array) -> Array:
    """Take the brightness of an image of 1, 3 or 4 channels: uint8 (height, width)."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :3]), cv2.COLOR_RGB2GRAY))
