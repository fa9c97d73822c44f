import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from pipeline.config import ConfigError, TrainConfig
from pipeline.engine.losses import class_weights, make_loss

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)) * 3
HARD = torch.tensor([0, 1, 2, 3, 1, 1])
SOFT = torch.rand(6, 4, generator=torch.Generator().manual_seed(2)).softmax(1)
TAGS = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]).float()
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25])
CLASSES = ["single", "ordinal"]


def loss_of(kind, logits, targets, weights=None, **settings):
    losses = make_loss(TrainConfig(**settings), kind, weights)(logits, targets)
    assert losses.shape == (len(logits),)
    assert losses.dtype == torch.float32
    return losses


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("targets", [HARD, SOFT])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["auto", "cross_entropy"])
def test_cross_entropy_is_torchs(kind, targets, weights, smoothing, loss):
    expected = functional.cross_entropy(LOGITS, targets, weights, reduction="none", label_smoothing=smoothing)
    actual = loss_of(kind, LOGITS, targets, weights, loss=loss, label_smoothing=smoothing)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_nll_is_torchs(weights):
    expected = functional.nll_loss(LOGITS.log_softmax(1), HARD, weights, reduction="none")
    torch.testing.assert_close(loss_of("single", LOGITS, HARD, weights, loss="nll"), expected)
    torch.testing.assert_close(loss_of("single", LOGITS.log_softmax(1), HARD, weights, loss="nll"), expected)
    expected = functional.cross_entropy(LOGITS, SOFT, weights, reduction="none")
    torch.testing.assert_close(loss_of("single", LOGITS, SOFT, weights, loss="nll"), expected)


@pytest.mark.parametrize("targets", [HARD, SOFT])
def test_mse_of_classes_is_torchs_on_probabilities(targets):
    soft = SOFT if targets is SOFT else functional.one_hot(HARD, 4).float()
    expected = functional.mse_loss(LOGITS.softmax(1), soft, reduction="none").mean(1)
    torch.testing.assert_close(loss_of("single", LOGITS, targets, loss="mse"), expected)
    expected = expected * (soft @ WEIGHTS)
    torch.testing.assert_close(loss_of("single", LOGITS, targets, WEIGHTS, loss="mse"), expected)


@pytest.mark.parametrize("targets", [TAGS, SOFT])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("loss", ["auto", "bce"])
def test_bce_is_torchs(targets, weights, loss):
    expected = nn.BCEWithLogitsLoss(pos_weight=weights, reduction="none")(LOGITS, targets).mean(1)
    torch.testing.assert_close(loss_of("multi", LOGITS, targets, weights, loss=loss), expected)


def test_smoothed_bce_is_torchs():
    expected = functional.binary_cross_entropy_with_logits(LOGITS, TAGS * 0.8 + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(loss_of("multi", LOGITS, TAGS, label_smoothing=0.2), expected)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_weights_of_tags_leave_smoothing_its_meaning(smoothing):
    """By numpy: a network that tells the images apart ends at 1 - smoothing / 2 and smoothing / 2, whatever the weight;
    an image that is mixed of both has both of their losses."""
    weight, high, low = 100.0, 1 - smoothing / 2, smoothing / 2
    logits = np.linspace(-8, 8, 16001)

    def losses(share):
        tags = torch.full((len(logits), 1), share)
        settings = {"weights": torch.tensor([weight]), "label_smoothing": smoothing}
        return loss_of("multi", torch.from_numpy(logits)[:, None], tags, **settings).numpy()

    def entropy(target):
        return target * np.log1p(np.exp(-logits)) + (1 - target) * np.log1p(np.exp(logits))

    for share, target in ((1.0, high), (0.0, low)):
        best = logits[losses(share).argmin()]
        assert 1 / (1 + np.exp(-best)) == pytest.approx(target, abs=1e-3)
    np.testing.assert_allclose(losses(0.3), 0.3 * weight * entropy(high) + 0.7 * entropy(low), rtol=1e-5)


def rare_tags():
    """Features of 400 images and three tags that depend on them: of about 3, 50 and 97 % of the images."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 2))
    scores = features @ generator.normal(size=(2, 3)) + generator.normal(size=(400, 3))
    return features, (scores > np.quantile(scores, [0.97, 0.5, 0.03], axis=0).diagonal()).astype(np.float32)


def fitted(features, tags, weights, **settings):
    """The coefficients and intercepts at which our loss is least."""
    features, tags = torch.from_numpy(features).float(), torch.from_numpy(tags)
    layer = nn.Linear(2, tags.shape[1])
    nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-12)

    def closure():
        optimizer.zero_grad()
        loss = loss_of("multi", layer(features), tags, weights, **settings).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


@pytest.mark.parametrize("settings", [{"loss": "bce"}, {"loss": "focal", "focal_gamma": 0.0}])
def test_balanced_tags_end_where_scikit_learns_balanced_regression_does(settings):
    features, tags = rare_tags()
    weight, bias = fitted(features, tags, class_weights(torch.from_numpy(tags), 3), **settings)
    for column in range(3):
        regression = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-8).fit(features, tags[:, column])
        np.testing.assert_allclose(weight[column], regression.coef_[0], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(bias[column], regression.intercept_[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.2}, {"loss": "focal"}])
def test_a_network_that_sees_nothing_says_a_half_of_every_balanced_tag(settings):
    _, tags = rare_tags()
    blind = np.zeros((400, 2))
    assert np.abs(fitted(blind, tags, class_weights(torch.from_numpy(tags), 3), **settings)[1]).max() < 1e-3
    assert np.abs(fitted(blind, tags, None, **settings)[1][[0, 2]]).min() > 0.9


@pytest.mark.parametrize("targets", [TAGS, SOFT])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_tags_is_torchvisions(targets, gamma):
    expected = sigmoid_focal_loss(LOGITS, targets, alpha=-1, gamma=gamma)
    actual = loss_of("multi", LOGITS, targets, loss="focal", focal_gamma=gamma)
    torch.testing.assert_close(actual, expected.mean(1))
    entropy = functional.binary_cross_entropy_with_logits(LOGITS, targets, reduction="none")
    weighted = nn.BCEWithLogitsLoss(pos_weight=WEIGHTS, reduction="none")(LOGITS, targets)
    actual = loss_of("multi", LOGITS, targets, WEIGHTS, loss="focal", focal_gamma=gamma)
    torch.testing.assert_close(actual, (expected / entropy * weighted).mean(1))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_classes_is_its_formula(weights, gamma):
    entropy = functional.cross_entropy(LOGITS, HARD, weights, reduction="none")
    probs = LOGITS.softmax(1).gather(1, HARD[:, None])[:, 0]
    actual = loss_of("single", LOGITS, HARD, weights, loss="focal", focal_gamma=gamma)
    torch.testing.assert_close(actual, entropy * (1 - probs) ** gamma)
    soft = loss_of("single", LOGITS, functional.one_hot(HARD, 4).float(), weights, loss="focal", focal_gamma=gamma)
    torch.testing.assert_close(soft, actual)


@pytest.mark.parametrize("loss", ["auto", "mse", "huber"])
def test_losses_of_numbers_are_torchs(loss):
    logits, targets = LOGITS[:, :1], SOFT[:, :1]
    torchs = functional.huber_loss if loss == "huber" else functional.mse_loss
    torch.testing.assert_close(
        loss_of("number", logits, targets, loss=loss), torchs(logits, targets, reduction="none")[:, 0]
    )


EVERY = [
    *((kind, loss, HARD) for kind in CLASSES for loss in ("cross_entropy", "nll", "mse", "focal")),
    *(("multi", loss, TAGS) for loss in ("bce", "focal")),
    *(("number", loss, SOFT[:, :1]) for loss in ("mse", "huber")),
]


@pytest.mark.parametrize(("kind", "loss", "targets"), EVERY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computes_in_float32(kind, loss, targets, dtype):
    logits = LOGITS[:, : targets.shape[1] if targets.ndim == 2 else 4].to(dtype)
    assert torch.equal(loss_of(kind, logits, targets, loss=loss), loss_of(kind, logits.float(), targets, loss=loss))


@pytest.mark.parametrize(("kind", "loss", "targets"), EVERY)
@pytest.mark.parametrize("scale", [0.0, 100.0, -100.0])
def test_gradients_are_finite_when_the_network_is_sure(kind, loss, targets, scale):
    columns = targets.shape[1] if targets.ndim == 2 else 4
    logits = (torch.eye(6, columns) * scale).requires_grad_()
    losses = loss_of(kind, logits, targets, loss=loss, focal_gamma=0.5)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {"loss": loss}) for kind in CLASSES for loss in ("huber", "bce")),
        *(("multi", {"loss": loss}) for loss in ("huber", "nll", "cross_entropy", "mse")),
        *(("number", {"loss": loss}) for loss in ("bce", "nll", "cross_entropy", "focal")),
    ],
)
def test_senseless_losses_are_refused(kind, settings):
    with pytest.raises(ConfigError, match=rf"'train\.loss' must be one of auto.* {kind}.*{settings['loss']}"):
        make_loss(TrainConfig(**settings), kind, None)


@pytest.mark.parametrize(("kind", "loss"), [("single", "mse"), ("multi", "focal"), ("number", "auto")])
def test_smoothing_that_would_be_ignored_is_refused(kind, loss):
    with pytest.raises(ConfigError, match=r"train\.label_smoothing"):
        make_loss(TrainConfig(loss=loss, label_smoothing=0.1), kind, None)


def test_class_weights_of_numbers_are_refused():
    with pytest.raises(ConfigError, match=r"train\.class_weights"):
        make_loss(TrainConfig(), "number", torch.ones(1))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_balanced_weights_are_scikit_learns(labels):
    weights = class_weights(torch.tensor(labels), 7)
    present = sorted(set(labels))
    expected = torch.zeros(7)
    expected[present] = torch.tensor(
        compute_class_weight("balanced", classes=torch.tensor(present).numpy(), y=labels)
    ).float()
    torch.testing.assert_close(weights, expected)
    assert weights[labels].sum() == pytest.approx(len(labels), rel=1e-5)


def test_weighted_mean_of_an_epoch_is_torchs():
    weights = class_weights(HARD, 4)
    expected = functional.cross_entropy(LOGITS, HARD, weights)
    torch.testing.assert_close(loss_of("single", LOGITS, HARD, weights).mean(), expected)


def test_balanced_weights_of_tags_are_negatives_by_positives():
    tags = np.zeros((1000, 7), np.float32)
    for column, count in enumerate((500, 200, 800, 10, 1, 999, 990)):
        tags[:count, column] = 1
    weights = class_weights(torch.from_numpy(tags), 7).numpy()
    lacking, having = (tags == 0).sum(0), (tags == 1).sum(0)
    np.testing.assert_allclose(weights[:4], lacking[:4] / having[:4], rtol=1e-6)
    np.testing.assert_allclose(weights[4:], [100, 0.01, 10 / 990], rtol=1e-6)


def test_tags_of_all_images_or_none_have_the_weight_of_others():
    tags = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 0, 1]])
    assert class_weights(tags, 3).tolist() == [0.5, 1, 1]
    losses = loss_of("multi", LOGITS[:3, :3], tags, class_weights(tags, 3))
    assert losses.isfinite().all()
