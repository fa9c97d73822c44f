"""The loop of the tutorials that `jobs.py` compares with: a DataLoader, Pillow, torchvision, float32; per fold.

Run: python tests/benchmarks/tutorial.py FOLDER OUTPUT.csv --model resnet18 --size 128 --batch 32 --folds 2 --epochs 2
With --tuned as an expert would: channels_last, fused AdamW, persistent workers that read ahead, and --bfloat16 where
the machine is faster in it.
"""

import argparse
import copy
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Pictures(Dataset):
    def __init__(self, files: list[Path], labels: list[int], change: object) -> None:
        self.files, self.labels, self.change = files, labels, change

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.change(Image.open(self.files[index]).convert("RGB")), self.labels[index]


def network(name: str, num_classes: int, size: int) -> nn.Module:
    if name == "lenet5":
        from pipeline.model.networks import LeNet5

        return LeNet5(size, 3, num_classes)
    import timm

    return timm.create_model(name, num_classes=num_classes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="resnet18")
    for name, value in (("size", 128), ("batch", 32), ("folds", 2), ("epochs", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name in ("tuned", "bfloat16"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)

    train = pd.read_csv(args.folder / "train.csv", dtype=str)
    sample = pd.read_csv(args.folder / "sample_submission.csv", dtype=str)
    id_, label = sample.columns[0], sample.columns[1]
    classes = sorted(train[label].unique())
    targets = train[label].map(classes.index).to_numpy()
    found = {part: {file.stem: file for file in (args.folder / part).iterdir()} for part in ("train", "test")}
    files = [found["train"][Path(name).stem] for name in train[id_]]
    test_files = [found["test"][Path(name).stem] for name in sample[id_]]
    moving = transforms.Compose(
        [
            transforms.RandomResizedCrop(args.size),
            transforms.RandomHorizontalFlip(),
            transforms.AutoAugment(),
            transforms.ToTensor(),
            NORMALISE,
        ]
    )
    still = transforms.Compose([transforms.Resize((args.size, args.size)), transforms.ToTensor(), NORMALISE])
    workers = {"num_workers": 2}
    if args.tuned:
        workers |= {"persistent_workers": True, "prefetch_factor": 4}
    precision = torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16)
    layout = torch.channels_last if args.tuned else torch.contiguous_format

    def loader(numbers: np.ndarray, change: object, shuffle: bool) -> DataLoader:
        data = Pictures([files[n] for n in numbers], [int(targets[n]) for n in numbers], change)
        return DataLoader(data, args.batch, shuffle=shuffle, drop_last=shuffle, **workers)

    def outputs(model: nn.Module, batches: DataLoader) -> torch.Tensor:
        model.eval()
        with torch.no_grad(), precision:
            return torch.cat([model(x.to(memory_format=layout)).float().softmax(1) for x, _ in batches])

    total, training = torch.zeros(len(sample), len(classes)), 0.0
    splitter = StratifiedKFold(args.folds, shuffle=True, random_state=0)
    test = DataLoader(Pictures(test_files, [0] * len(test_files), still), args.batch, **workers)
    for chosen, held_out in splitter.split(files, targets):
        model = network(args.model, len(classes), args.size).to(memory_format=layout)
        batches, valid = loader(chosen, moving, True), loader(held_out, still, False)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=args.tuned)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=args.epochs * len(batches))
        best, kept = -1.0, None
        for _ in range(args.epochs):
            model.train()
            start = time.perf_counter()
            for images, wanted in batches:
                optimizer.zero_grad()
                with precision:
                    logits = model(images.to(memory_format=layout))
                nn.functional.cross_entropy(logits.float(), wanted).backward()
                optimizer.step()
                schedule.step()
            training += time.perf_counter() - start
            right = outputs(model, valid).argmax(1).numpy() == targets[held_out]
            if right.mean() > best:
                best, kept = right.mean(), copy.deepcopy(model.state_dict())
        model.load_state_dict(kept)
        total += outputs(model, test)
        print(f"fold accuracy {best:.4f}", flush=True)
    seen = args.folds * args.epochs * (len(files) - len(files) // args.folds)
    print(f"training loop {seen / training:.1f} images/s")
    sample[label] = [classes[number] for number in total.argmax(1)]
    sample.to_csv(args.output, index=False)


if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    main()
