import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide

from pipeline.images.augment import policies


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "svhn"])
def test_autoaugment_tables_are_torchvisions(name):
    policy = policies.find(f"autoaugment-{name}")
    assert list(policy.sub_policies) == AutoAugment(AutoAugmentPolicy(name))._get_policies(AutoAugmentPolicy(name))
    assert not policy.wide


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", ["autoaugment-cifar10", "randaugment", "trivialaugment"])
def test_magnitudes_are_torchvisions(name, size):
    policy = policies.find(name)
    bins = policy.num_bins
    space = {
        "autoaugment-cifar10": lambda: AutoAugment()._augmentation_space(bins, (size, size)),
        "randaugment": lambda: RandAugment()._augmentation_space(bins, (size, size)),
        "trivialaugment": lambda: TrivialAugmentWide()._augmentation_space(bins),
    }[name]()
    ours = policies.magnitudes(bins, size, policy.wide)
    for operation, (theirs, signed) in space.items():
        assert signed == (operation in policies.SIGNED)
        assert ours.get(operation, 0.0) == theirs.tolist()


def test_randaugment_is_every_pair_at_one_magnitude():
    policy, theirs = policies.find("randaugment"), RandAugment()
    names = list(theirs._augmentation_space(31, (32, 32)))
    assert policy.num_bins == theirs.num_magnitude_bins
    pairs = [tuple(name for name, _, _ in steps) for steps in policy.sub_policies]
    assert sorted(pairs) == sorted((first, second) for first in names for second in names)
    bins = {(name, index) for steps in policy.sub_policies for name, _, index in steps}
    assert {index for _, index in bins} == {theirs.magnitude, None}
    assert {probability for steps in policy.sub_policies for _, probability, _ in steps} == {1.0}


def test_trivialaugment_is_every_operation_at_every_magnitude_equally_often():
    policy, theirs = policies.find("trivialaugment"), TrivialAugmentWide()
    assert policy.num_bins == theirs.num_magnitude_bins
    assert all(len(steps) == 1 and steps[0][1] == 1.0 for steps in policy.sub_policies)
    for name, (strengths, _) in theirs._augmentation_space(31).items():
        drawn = [index for ((operation, _, index),) in policy.sub_policies if operation == name]
        assert drawn == (list(range(31)) if torch.as_tensor(strengths).ndim else [None] * 31)


def test_no_policy():
    assert policies.find("none") is None
