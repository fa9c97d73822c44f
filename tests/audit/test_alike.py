"""Images that are alike to a network: against scikit-learn's components, in crowds, and in other folds."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from pipeline.audit import alike
from pipeline.audit.alike import find_alike
from pipeline.audit.alike_table import alike_in_other_folds


def some_features(num_images: int, num_features: int) -> np.ndarray:
    """Of a network, none below 0, with a few strong directions; every fifth image is nearly the one before."""
    generator = np.random.default_rng(0)
    strong = generator.normal(size=(num_images, 12)) @ generator.normal(size=(12, num_features))
    features = np.maximum(strong + generator.normal(size=(num_images, num_features)), 0)
    features[4::5] = features[3::5] + 0.3 * generator.normal(size=features[3::5].shape)
    return features.astype(np.float16)


@pytest.mark.parametrize(("num_images", "num_features"), [(200, 150), (60, 150), (200, 20)])
def test_pairs_are_those_of_all_cosines(num_images: int, num_features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever block they lie in, of more components than are kept, than there are images, or than there are."""
    monkeypatch.setattr(alike, "BLOCK_HEIGHT", 7)
    monkeypatch.setattr(alike, "BLOCK_WIDTH", 16)
    monkeypatch.setattr(alike, "ROWS", 50)
    features = some_features(num_images, num_features)
    pca = PCA(svd_solver="full").fit(features.astype(np.float64))
    variances = np.zeros(num_features)
    variances[: len(pca.explained_variance_)] = pca.explained_variance_ * (num_images - 1) / num_images
    kept = variances[:128]
    scores = pca.transform(features.astype(np.float64))[:, :128]
    cosines = cosine_similarity(scores / np.sqrt(kept + kept.mean())[: scores.shape[1]])
    wanted = {
        (first, second): cosines[first, second]
        for first in range(num_images)
        for second in range(first + 1, num_images)
        if cosines[first, second] >= 0.85
    }
    found = find_alike(features)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert set(pairs) == set(wanted) and len(pairs) == len(wanted) >= num_images // 5
    np.testing.assert_allclose(found.cosine, [wanted[pair] for pair in pairs], atol=1e-4)
    assert (np.diff(found.cosine) <= 0).all() and found.num_crowded == 0


@pytest.mark.parametrize(("height", "width"), [(512, 2048), (4, 16)])
def test_a_crowd_has_no_pairs(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 22 equal images each is near to 21; of 21 that are equal in another way, to 20."""
    monkeypatch.setattr(alike, "BLOCK_HEIGHT", height)
    monkeypatch.setattr(alike, "BLOCK_WIDTH", width)
    features = np.random.default_rng(0).normal(size=(120, 64))
    crowd, many = np.arange(0, 110, 5), np.arange(1, 106, 5)
    features[crowd], features[many] = features[0], features[1]
    found = find_alike(features)
    assert found.num_crowded == len(crowd) == 22
    wanted = {(first, second) for first in many.tolist() for second in many.tolist() if first < second}
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("num_images", [1, 3])
def test_images_that_are_all_the_same_are_not_compared(num_images: int) -> None:
    """They have no components that could tell what is alike."""
    found = find_alike(np.full((num_images, 5), 0.1, np.float16))
    assert len(found) == found.num_crowded == 0


def test_who_is_alike_to_an_image_of_another_fold(tmp_path: Path) -> None:
    header = "cosine,split,id,label,fold,other_split,other,other_label,other_fold\n"
    rows = ["0.9,train,a,x,0,train,b,x,1", "0.9,train,c,x,0,train,d,x,0", "0.9,train,e,x,1,test,f,,"]
    (tmp_path / "alike.csv").write_text(header + "\n".join(rows) + "\n")
    ids, folds = ["d", "c", "b", "a", "e"], np.array([0, 0, 1, 0, 1])
    assert alike_in_other_folds(tmp_path / "alike.csv", ids, folds).tolist() == [False, False, True, True, False]
    assert not alike_in_other_folds(tmp_path / "none.csv", ids, folds).any()
