import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
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


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["auto", "bce"])
def test_bce_is_torchs(weights, smoothing, loss):
    targets = TAGS * (1 - smoothing) + smoothing / 2
    expected = functional.binary_cross_entropy_with_logits(LOGITS, targets, weights, reduction="none").mean(1)
    torch.testing.assert_close(loss_of("multi", LOGITS, TAGS, weights, loss=loss, label_smoothing=smoothing), expected)


@pytest.mark.parametrize("targets", [TAGS, SOFT])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_tags_is_torchvisions(targets, gamma):
    expected = sigmoid_focal_loss(LOGITS, targets, alpha=-1, gamma=gamma)
    actual = loss_of("multi", LOGITS, targets, loss="focal", focal_gamma=gamma)
    torch.testing.assert_close(actual, expected.mean(1))
    actual = loss_of("multi", LOGITS, targets, WEIGHTS, loss="focal", focal_gamma=gamma)
    torch.testing.assert_close(actual, (expected * WEIGHTS).mean(1))


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


def test_balanced_weights_of_tags_count_tags():
    tags = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 0, 1]])
    torch.testing.assert_close(class_weights(tags, 3), torch.tensor([5 / (2 * 2), 0, 5 / (2 * 3)]))
