"""Pairs of near hashes against comparing each with each; what passes the strict check, and what must not."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from pipeline.audit.near import (
    LEAST_CORRELATION,
    MOST_BITS,
    MOST_DIFFERENCE,
    WINDOW,
    Details,
    compare,
    count_bits,
    details_of,
    join_alike,
    pairs_of_near_hashes,
)

Pairs = set[tuple[int, int]]


def found(looks: np.ndarray) -> Pairs:
    return {
        (min(pair), max(pair))
        for first, second in pairs_of_near_hashes(looks)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    }


def by_hand(looks: np.ndarray) -> Pairs:
    values = looks.tolist()
    return {
        (one, other)
        for other in range(len(values))
        for one in range(other)
        if (values[one] ^ values[other]).bit_count() <= MOST_BITS
    }


def test_bits_are_counted() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 500, np.uint64, endpoint=False)
    values = np.concatenate([values, np.array([0, 1, 2**63, 2**64 - 1], np.uint64)])
    assert count_bits(values).tolist() == [value.bit_count() for value in values.tolist()]


def test_every_pair_of_near_hashes_is_found() -> None:
    """Also those that differ in as many bits as may be, one in each band but one: any of the bands may be that."""
    draw = np.random.default_rng(0)
    looks = draw.integers(0, 2**64, 150, np.uint64, endpoint=False)
    flips = [draw.choice(64, count, replace=False) for count in range(MOST_BITS + 3) for _ in range(6)]
    flips += [63 - np.delete(np.arange(MOST_BITS + 1), band) for band in range(MOST_BITS + 1)]
    near = [looks[n] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64)) for n, bits in enumerate(flips)]
    looks = np.concatenate([looks, np.array(near, np.uint64)])
    wanted = by_hand(looks)
    assert len(wanted) >= 6 * MOST_BITS and found(looks) == wanted


def test_the_work_does_not_grow_with_the_square() -> None:
    """Of thousands of equal hashes each is compared with as many as the window holds, in each band."""
    num_images = 10 * WINDOW
    pairs = list(pairs_of_near_hashes(np.full(num_images, 12345, np.uint64)))
    assert len(pairs) == MOST_BITS + 1
    assert max(len(first) for first, _ in pairs) <= num_images * WINDOW
    first, second = pairs[0]
    joined = np.zeros((num_images, num_images), bool)
    joined[first, second] = True
    assert joined[np.arange(num_images - 1), np.arange(1, num_images)].all(), "all are linked, one to the next"


@pytest.mark.parametrize("channels", [1, 3])
def test_details_are_compared(channels: int) -> None:
    """Against scipy's filter and numpy's correlation, of images of twice the side: averages are those of 2 x 2 px."""
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, channels), np.uint8)
    images[4] = np.clip(images[3] * 0.9 + 5, 0, 255).astype(np.uint8)
    first, second = np.array([0, 1, 3, 3]), np.array([4, 2, 0, 4])
    small = images.reshape(5, 16, 2, 16, 2, channels).mean((2, 4)).round()
    fine = (small - uniform_filter(small, (0, 5, 5, 0), mode="nearest")).reshape(5, -1)
    fine = (fine - fine.mean(1, keepdims=True)) / fine.std(1, keepdims=True)
    pairs = list(zip(first, second, strict=True))
    details = Details(lambda indices: images[indices], 5)
    correlation, difference = compare(details(first), details(second))
    assert np.allclose(correlation, [np.corrcoef(fine[one], fine[other])[0, 1] for one, other in pairs], atol=5e-3)
    assert np.allclose(difference, [np.abs(fine[one] - fine[other]).max() for one, other in pairs], atol=0.05)
    assert correlation[3] > LEAST_CORRELATION > max(correlation[:3]) and difference[3] < MOST_DIFFERENCE


def test_a_common_background_makes_no_version() -> None:
    """Two small things in the same light: all pixels correlate, their details do not."""
    light = np.linspace(60, 220, 64)[None, :, None] * np.ones((64, 1, 3))
    one, other = light.copy(), light.copy()
    one[10:22, 12:20] -= 40
    other[40:48, 34:50] -= 40
    images = np.stack([one, other]).astype(np.uint8)
    plain = np.corrcoef(images.reshape(2, -1).astype(float))[0, 1]
    found, _ = compare(*(details_of(image)[None] for image in images))
    assert plain > LEAST_CORRELATION > 0.5 > found[0]


def test_an_image_is_looked_at_once() -> None:
    images, seen = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8), []
    details = Details(lambda indices: (seen.extend(indices.tolist()), images[indices])[1], 6)
    first, again = details(np.array([3, 1, 3])), details(np.array([1, 5, 3]))
    assert seen == [1, 3, 5] and (first[[1, 0]] == again[[0, 2]]).all()
    assert np.allclose(again, [details_of(images[place]) for place in (1, 5, 3)], atol=5e-3)


def test_where_one_stroke_ends_images_differ() -> None:
    """Of many strokes one is missing: all correlates, one place does not."""
    draw = np.random.default_rng(0)
    one = np.kron(draw.integers(0, 2, (16, 16)) * 200, np.ones((4, 4)))[..., None].astype(np.uint8)
    other = one.copy()
    other[24:32, 24:36] = 200 - one[24:32, 24:36]
    correlation, difference = compare(*(details_of(image)[None] for image in (one, other)))
    assert correlation[0] > 0.9 and difference[0] > MOST_DIFFERENCE


def test_versions_are_joined_and_others_are_not() -> None:
    """Equal looks alone make no group; what is known to be one stays one."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (6, 32, 32, 3), np.uint8)
    images[1] = images[0] // 2 + 30
    images[4] = images[1] // 2 + 30
    images[5] = images[3]
    images[5, 8:10, 8:10] = 255
    assert compare(details_of(images[3])[None], details_of(images[5])[None])[0][0] > LEAST_CORRELATION
    looks, start = np.full(6, 99, np.uint64), np.array([0, 1, 2, 2, 4, 5])
    labels = join_alike(looks, lambda indices: images[indices], start)
    assert [labels.tolist().index(label) for label in labels] == [0, 0, 2, 2, 0, 5]
    labels = join_alike(looks, lambda indices: images[indices], start, num_done=4)
    assert [labels.tolist().index(label) for label in labels] == [0, 0, 2, 2, 0, 5], "by the fifth, which is new"
    labels = join_alike(looks, lambda indices: images[indices], start, num_done=6)
    assert [labels.tolist().index(label) for label in labels] == [0, 1, 2, 2, 4, 5]
