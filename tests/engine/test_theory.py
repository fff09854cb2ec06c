"""Numbers of the literature on a Gaussian: closed forms, not our output (TRUTH: Newton, residual below 5e-14)."""

import functools

import numpy as np
import pytest

import quant_engine as qe
from tests import reference

COUNT = 1 << 22
UNIFORM = {  # levels: (step, mean squared error) of the best uniform quantizer
    2: (1.595769, 0.3633802),
    4: (0.995687, 0.1188461),
    8: (0.586019, 0.0374397),
    16: (0.335201, 0.0115429),
    32: (0.188139, 0.00349521),
    256: (0.030762, 0.0000876862),
}
BEST_CLIP = {3: (1.95231, 0.0468600), 4: (2.47388, 0.0128894), 8: (3.92050, 0.00008831)}  # bits: (clip, error)
LLOYD_MAX_8 = np.array([0.24509, 0.75601, 1.34391, 2.15195])
NF4_ERROR = 0.00989932
NF4 = [
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
]


@functools.cache
def gaussian(exact=False):
    return qe.Distribution(reference.gaussian_sample(COUNT), exact)


def uniform_levels(count, step):
    return (np.arange(count) - (count - 1) / 2) * step


@pytest.mark.parametrize("levels", UNIFORM)
def test_the_best_uniform_quantizers_of_a_gaussian_have_the_known_errors(levels):
    step, mse = UNIFORM[levels]
    assert gaussian().error(uniform_levels(levels, step)) == pytest.approx(mse, rel=3e-4)


@pytest.mark.parametrize("levels", UNIFORM)
@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_no_other_step_is_better(levels, factor):
    step, _ = UNIFORM[levels]
    assert gaussian().error(uniform_levels(levels, step * factor)) > gaussian().error(uniform_levels(levels, step))


def test_the_lloyd_max_levels_have_the_known_error():
    assert gaussian().error([*-LLOYD_MAX_8[::-1], *LLOYD_MAX_8]) == pytest.approx(0.0345478, rel=1e-5)


def test_nf4_has_the_known_error_at_its_best_scale():
    errors = [gaussian().error(np.array(NF4) * scale) for scale in np.linspace(2.0, 3.5, 301)]
    assert min(errors) == pytest.approx(NF4_ERROR, rel=1e-4)


@pytest.mark.parametrize("bits", BEST_CLIP)
def test_the_best_restricted_range_of_a_gaussian_is_the_known_one(bits):
    clip, mse = BEST_CLIP[bits]
    _, hi = gaussian().best_range(qe.IntFormat(bits, narrow=True))
    assert hi == pytest.approx(clip, rel=4e-3)  # flat there: 0.4 % of the clip is 1e-5 of the error
    assert gaussian().error_surface([bits], [hi]).item() == pytest.approx(mse, rel=1e-3)


@pytest.mark.parametrize("bits", BEST_CLIP)
def test_an_mse_calibrator_lands_at_the_known_clip(bits):
    clip, mse = BEST_CLIP[bits]
    x = reference.gaussian_sample(COUNT).astype(np.float32)
    fitted = qe.fit(x, qe.QuantizerSpec(qe.IntFormat(bits, narrow=True), clipping=qe.MinMSE()))
    assert fitted.levels()[-1] == pytest.approx(clip, rel=4e-3)
    assert fitted.measure(x).mse == pytest.approx(mse, rel=1e-3)


@pytest.mark.parametrize("bits", [3, 4])  # with 8, a block this small finds a step that suits its own values better
def test_blocks_land_near_the_known_error(bits):
    _, mse = BEST_CLIP[bits]
    x = np.random.default_rng(60).permutation(reference.gaussian_sample(1 << 19)).reshape(16, -1).astype(np.float32)
    spec = qe.QuantizerSpec(qe.IntFormat(bits, narrow=True), qe.PerChannel(0), clipping=qe.MinMSE())
    assert qe.fit(x, spec).measure(x).mse == pytest.approx(mse, rel=5e-3)
