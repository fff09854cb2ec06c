"""Training a quantized network to answer as the network in floating point does, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quant_engine.checks import as_integer, as_number
from quant_engine.errors import QuantError

if TYPE_CHECKING:
    from torch import Generator, Tensor

SHIFT = 2  # pixels

Forward = Callable[[Any], "Tensor"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: `rate` falls to 0 along half a cosine, in `epochs` passes in batches of `batch` images.

    `step_rate` is the rate of learned steps.

    Raises:
        QuantError: for numbers that are not positive.
    """

    epochs: int
    batch: int = 100
    rate: float = 2e-3
    step_rate: float = 1e-2

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("epochs", "batch"):
            object.__setattr__(self, name, as_integer(getattr(self, name), name, 1))
        for name in ("rate", "step_rate"):
            object.__setattr__(self, name, as_number(getattr(self, name), name, above=0))

    def steps(self, images: int) -> int:
        """Return the number of steps with so many images, of which an epoch leaves out what fills no batch."""
        return self.epochs * (images // self.batch)


def distil(
    student: Forward,
    teacher: Forward,
    trained: tuple[Sequence[Tensor], Sequence[Tensor]],
    inputs: Tensor | Mapping[str, Tensor],
    generator: Generator,
    schedule: Schedule,
    vary: Callable[[Tensor, Generator], Tensor] | None = None,
) -> Iterator[float]:
    """Train and yield the loss of every step: the cross entropy of the student's answers with the teacher's.

    −1/n Σ_n Σ_c p_c log q_c, with the probabilities p of the teacher and q of the student (Hinton, Vinyals and Dean
    2015, at temperature 1): labels are not needed. `trained` are the parameters and the learned steps. Answers
    are logits of classes on the last axis, those of a text for each token. `vary` changes every batch anew, such as
    `augment`, where inputs are one tensor. Nothing is kept between steps but in the arguments, so that a caller may
    stop at any of them.

    Raises:
        QuantError: for fewer samples than a batch has.
    """
    import torch
    from torch.nn import functional

    count = len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)
    if count < schedule.batch:
        raise QuantError(f"{count} samples do not fill a batch of {schedule.batch}; give more, or a smaller batch")
    parameters, steps = trained
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.Adam(parameters, schedule.rate), schedule.rate),
        (torch.optim.SGD(steps, schedule.step_rate, momentum=0.9), schedule.step_rate),
    ]
    total, each = schedule.steps(count), count // schedule.batch
    order = torch.empty(0)
    for step in range(total):
        if step % each == 0:
            order = torch.randperm(count, generator=generator)
        picked = order[step % each * schedule.batch :][: schedule.batch]
        with torch.enable_grad():
            if isinstance(inputs, Mapping):
                batch: Any = {name: values[picked] for name, values in inputs.items()}
            else:
                batch = inputs[picked] if vary is None else vary(inputs[picked], generator)
            with torch.no_grad():
                wanted = _by_class(teacher(batch)).softmax(1)
            loss = functional.cross_entropy(_by_class(student(batch)), wanted)
            gradients = torch.autograd.grad(loss, [*parameters, *steps])
        for tensor, gradient in zip([*parameters, *steps], gradients, strict=True):
            tensor.grad = gradient
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 + math.cos(math.pi * step / total)) / 2
            optimizer.step()
        yield float(loss.detach())


def _by_class(logits: Tensor) -> Tensor:
    return logits.reshape(-1, logits.shape[-1])


def augment(images: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the images (n, 1, height, width) and shift each by up to two pixels; the edge goes on outside."""
    import torch
    from torch.nn import functional

    count, _, height, width = images.shape
    flip = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images, (SHIFT,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * SHIFT + 1, (2, count), generator=generator)
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    everyone: Any = torch.arange(count)[:, None, None]
    return padded[everyone, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
