"""What a layer receives: the values that the network captures, by channel, and numbers of them as numpy gives them."""

import numpy as np
import pytest
import scipy.stats
import torch

from quant_engine import QuantError
from quant_engine.network import from_module, load
from quant_engine.studies import layer_input
from quant_engine.studies.layer_input import MAX_VALUES
from quant_engine.tasks import Agreement
from tests.engine.foreign import foreign_models


@pytest.mark.parametrize("layer", ["conv2", "fc1"])
def test_its_values_are_what_is_captured_of_the_first_samples_channel_by_channel(layer):
    network = load("fashion-cnn")
    found, captured = layer_input(network, layer), network.activations([layer], stop=64)[layer]
    np.testing.assert_allclose(
        found.values, np.moveaxis(captured, 1, 0).reshape(captured.shape[1], -1), rtol=1e-5, atol=1e-5
    )
    assert found.samples == 64
    assert found.statistics.kurtosis == pytest.approx(scipy.stats.kurtosis(found.values, axis=None, fisher=False))
    largest = np.abs(found.values).max(axis=1)
    assert {*found.outlier_channels} == {*np.flatnonzero(largest > 3 * np.median(largest)).tolist()}


def test_no_range_of_a_grid_has_noticeably_less_error_at_8_bits_than_its_best_range():
    values = (found := layer_input(load("fashion-cnn"), "conv2")).values.astype(np.float64)

    def error(low, high):
        scale = (high - low) / 255
        zero = np.rint(-low / scale)
        codes = np.clip(np.rint(values / scale) + zero, 0, 255)
        return np.square((codes - zero) * scale - values).mean()

    ends = found.best_range
    assert error(*ends) <= 1.02 * min(error(0.0, share * values.max()) for share in np.linspace(0.2, 1, 60))
    plain = 10 * np.log10(error(0.0, values.max()) / error(*ends))
    assert found.gain_db == pytest.approx(plain, abs=0.02)


def test_tokens_have_their_features_as_channels_and_an_embedding_is_refused():
    module, tokens = foreign_models()["decoder"]
    network = from_module(module, Agreement({"test": tokens.numpy()}), tokens)
    found = layer_input(network, "blocks.0.down")
    assert found.values.shape == (32, tokens.numel())
    with pytest.raises(QuantError, match="'embed' is an embedding"):
        layer_input(network, "embed")


def test_large_inputs_are_those_of_fewer_samples():
    module, images = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), np.zeros((16, 3, 512, 512), np.float32)
    found = layer_input(from_module(module, Agreement({"test": images}), torch.from_numpy(images[:1])), "0")
    assert found.samples < 16
    assert MAX_VALUES <= found.values.size < 2 * MAX_VALUES
