"""Versions of one image: exact copies, and near ones, within train, within test, and between them.

Exact copies have the same pixels, whatever the bytes of their files; near ones pass the checks of `near`. Groups are
connected components. Those of train images depend on train images alone, so that another test image moves no fold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audit.hashes import Hashes, hash_images
from pipeline.audit.near import join_alike, joined
from pipeline.files import digest
from pipeline.images.cache import Images

Array = np.ndarray[Any, Any]

# Height and width of a file and of the cache, in pixels, below which only exact copies count: two digits of one class
# are alike as two versions of a photo are.
LEAST_SIDE = 32
# A component of near versions with more different images than this part of all, and than this number, is a crowd of
# images that are alike as all of their kind are: only exact copies count among them.
LARGEST_SHARE = 0.05
LARGEST = 20


@dataclass(frozen=True)
class Duplicates:
    """Groups of images that are versions of one.

    names: by split, for each image the name of its group, "" where it has no other version; a group's name is the split
        and the id of its first image, which is a train image wherever it has any.
    identity: hash of the groups of train images; "" where there are none.
    num_crowded: images of components that were too large.
    """

    names: dict[str, list[str]]
    identity: str
    num_crowded: int

    def describe(self) -> str:
        """Say how many there are in a sentence without its end; "" where there are none."""
        train, test = (self._repeated(split) for split in ("train", "test"))
        known = set(self.names.get("train", ())) - {""}
        between = sum(name in known for name in self.names["test"])
        said = []
        if train or test or between:
            said.append(
                f"{sum(train):,} train images are versions of {len(train):,}, {sum(test):,} test images of "
                f"{len(test):,}, and {between:,} test images are train images"
            )
        if self.num_crowded:
            said.append(
                f"{self.num_crowded:,} images are a crowd in which each is like the next: only exact copies count there"
            )
        return "; ".join(said)

    def _repeated(self, split: str) -> list[int]:
        """Count the images of each group that has several in a split."""
        _, counts = np.unique([name for name in self.names.get(split, ()) if name], return_counts=True)
        return [count for count in counts.tolist() if count > 1]


def find_duplicates(
    images: Mapping[str, Images], ids: Mapping[str, Sequence[str]], folders: Mapping[str, Path]
) -> Duplicates:
    """Find versions of one image among the train and the test images.

    Args:
        images: by split, train first where it is here, with all that is known of each file.
        ids: of the images, by split.
        folders: of their caches, by split.
    """
    parts = list(images.values())
    of_parts = [hash_images(images[split], folders[split]) for split in images]
    hashes = Hashes(*map(np.concatenate, zip(*of_parts, strict=True)))
    is_small = np.concatenate([_is_small(part) for part in parts])
    hashes = hashes._replace(is_plain=hashes.is_plain | is_small)
    readable, gather = np.concatenate([part.readable for part in parts]), _gather_from(parts)
    num_train = len(images["train"]) if "train" in images else 0
    of_train = Hashes(*(values[:num_train] for values in hashes))
    train, num_crowded = first_versions(of_train, readable[:num_train], gather, np.arange(num_train))
    known = np.concatenate([train, np.arange(num_train, len(readable))])
    both, num_crowded_in_both = first_versions(hashes, readable, gather, known, num_train)
    # Train images do not become versions of each other by a test image that is like both.
    first = np.concatenate([train, both[num_train:]])
    has_others = np.bincount(first, minlength=len(first))[first] > 1
    images_names = [f"{split} {id_}" for split in images for id_ in ids[split]]
    names = [images_names[place] if others else "" for place, others in zip(first, has_others, strict=True)]
    num_of_group = np.bincount(train, minlength=num_train)
    groups = sorted(
        (images_names[place], id_)
        for place, id_ in zip(train.tolist(), ids.get("train", ()), strict=True)
        if num_of_group[place] > 1
    )
    by_split = {"train": names[:num_train], "test": names[num_train:]}
    return Duplicates(
        {split: by_split[split] for split in images},
        digest(groups)[:16] if groups else "",
        max(num_crowded, num_crowded_in_both),
    )


def _is_small(images: Images) -> Array:
    """Mark images that are too small to be compared by their looks: bool (num_images,)."""
    sides = [images.table[name].to_numpy() for name in ("width", "height")]
    return np.minimum(np.minimum(*sides), images.shape[0]) < LEAST_SIDE


def first_versions(
    hashes: Hashes, readable: Array, gather: Callable[[Array], Array], known: Array, num_done: int = 0
) -> tuple[Array, int]:
    """Find for each image the first one that it is a version of: itself where it is the first, or the only one.

    Args:
        hashes: of the images.
        readable: bool (num_images,); the others are versions of nothing.
        gather: gives the pixels of some of the images by their indices: uint8 (num, height, width, channels).
        known: int64 (num_images,), for each image the first that it is known to be a version of.
        num_done: among the first so many images `known` says all.

    Returns:
        int64 (num_images,), and how many images are of crowds: see LARGEST_SHARE.
    """
    num_images = len(readable)
    if not num_images:
        return known, 0
    _, exact = np.unique(hashes.pixels, return_inverse=True)
    exact = np.where(readable, exact, num_images + np.arange(num_images))
    labels = joined(exact, np.arange(num_images), known)
    # One image of each content.
    _, distinct = np.unique(exact, return_index=True)
    distinct = np.sort(distinct[readable[distinct] & ~hashes.is_plain[distinct]])
    if not len(distinct):
        return _first(labels), 0
    near = join_alike(
        hashes.look[distinct],
        lambda indices: gather(distinct[indices]),
        labels[distinct],
        int(np.searchsorted(distinct, num_done)),
    )
    first = _first(near)
    sizes = np.bincount(first, minlength=len(first))[first]
    is_crowd = sizes > max(LARGEST, LARGEST_SHARE * num_images)
    pairs = distinct[~is_crowd], distinct[first[~is_crowd]]
    return _first(joined(labels, *pairs)), int(is_crowd.sum())


def _first(labels: Array) -> Array:
    """Turn numbers of groups into the index of each one's first image: int64 (num_images,)."""
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first[place])


def _gather_from(parts: Sequence[Images]) -> Callable[[Array], Array]:
    """Make a function that gathers pixels by indices that run through all of some images."""
    bounds = np.cumsum([0, *map(len, parts)])

    def gather(indices: Array) -> Array:
        pixels = np.empty((len(indices), *parts[0].shape), np.uint8)
        for part, start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True):
            here = (indices >= start) & (indices < stop)
            if here.any():
                pixels[here] = part.gather(indices[here] - start)
        return pixels

    return gather
