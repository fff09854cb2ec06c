"""Train a built-in network on Fashion-MNIST and write its weights.

    python tools/train_builtin.py fashion-cnn --data /usr/share/datasets/fashion-mnist

The data are the four idx files of Debian's package dataset-fashion-mnist. The whole run is fixed by the seed; the
last line printed is the accuracy on all 10,000 test images, which tools/write_card.py records in the model card.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import torch
from fashion import NORMALISATION, read_split
from safetensors.torch import save
from torch.nn import functional

from quant_engine.files import arrays_of, write_file
from quant_engine.models.architectures import ARCHITECTURES

BUILTIN = pathlib.Path(__file__).parents[1] / "quant_engine" / "network" / "builtin"
BATCH = 128


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images and shift each by up to two pixels."""
    count, _, height, width = images.shape
    flip = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images, (2, 2, 2, 2))
    top, left = torch.randint(0, 5, (2, count), generator=generator)
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose largest logit is the label's."""
    model.eval()
    with torch.no_grad():
        right = sum(
            (model(images[i : i + 500]).argmax(1) == labels[i : i + 500]).sum().item()
            for i in range(0, len(images), 500)
        )
    return right / len(images)


def train(name: str, folder: pathlib.Path, epochs: int, seed: int, rate: float, decay: float) -> torch.nn.Module:
    """Train with AdamW on a one-cycle schedule."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = (torch.from_numpy(a) for a in read_split(folder, "train"))
    test_images, test_labels = (torch.from_numpy(a) for a in read_split(folder, "t10k"))
    mean, deviation = NORMALISATION
    images, test_images = ((i.float()[:, None] / 255 - mean) / deviation for i in (images, test_images))
    labels, test_labels = labels.long(), test_labels.long()
    model = ARCHITECTURES[name].build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
    start = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        for i in range(len(images) // BATCH):
            pick = order[i * BATCH : (i + 1) * BATCH]
            loss = functional.cross_entropy(model(augment(images[pick], generator)), labels[pick], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4 or epoch == epochs - 1:
            right = accuracy(model, test_images, test_labels)
            print(f"epoch {epoch + 1}: {right:.4f} after {time.perf_counter() - start:.0f} s", flush=True)
    return model.eval()


def main() -> None:
    """Parse the command line, train and save."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("name", choices=list(ARCHITECTURES))
    ask.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    ask.add_argument("--epochs", type=int, default=30)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--rate", type=float, default=4e-3)
    ask.add_argument("--decay", type=float, default=0.01)
    ask.add_argument("--threads", type=int, default=1)
    args = ask.parse_args()
    torch.set_num_threads(args.threads)
    model = train(args.name, args.data, args.epochs, args.seed, args.rate, args.decay)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = BUILTIN / f"{args.name}.safetensors"
    BUILTIN.mkdir(exist_ok=True)
    write_file(path, save(state), lambda old: set(arrays_of(old.read_bytes(), old)) == set(state))


if __name__ == "__main__":
    main()
