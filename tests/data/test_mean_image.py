"""Mean images: numpy's mean, and a card that holds them exactly or is refused."""

import base64
import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.mean_image import decode, encode, mean_image
from zoo.errors import ZooError


def test_the_mean_is_numpy_s():
    images = torch.randint(0, 256, (1203, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    indices = torch.arange(1, 1203, 2)
    ours = mean_image(images, indices)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours, (images.numpy()[1::2] / 255).mean(0), rtol=1e-7)
    backwards = mean_image(images.flip(0), 1202 - indices)
    assert torch.equal(ours, backwards)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_a_card_holds_every_bit(channels, height, width, seed):
    image = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (seed % 20)
    card = json.loads(json.dumps(encode(image)))
    assert card["shape"] == [channels, height, width]
    assert base64.b64decode(card["float32"]) == image.numpy().astype("<f4").tobytes()
    assert torch.equal(decode(card), image)


def test_an_image_that_is_no_block_of_memory_is_written_as_it_looks():
    image = torch.arange(24.0).view(2, 3, 4).transpose(1, 2)
    assert torch.equal(decode(encode(image)), image)


GOOD = encode(torch.zeros(3, 2, 2))


def changed(**keys):
    return {**copy.deepcopy(GOOD), **keys}


def text(*numbers):
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "malformed"),
        ([3, 2, 2], "malformed"),
        ({}, "malformed"),
        (changed(shape=None), "malformed"),
        (changed(shape=[12]), "malformed"),
        (changed(shape=[3, 2, 2, 1]), "malformed"),
        (changed(shape=[3, 2, -2]), "malformed"),
        (changed(shape=[3, 2, 0]), "malformed"),
        (changed(shape=[3, 2, 2.0]), "malformed"),
        (changed(shape=[3, 2, True]), "malformed"),
        (changed(shape="322"), "malformed"),
        (changed(float32=None), "malformed"),
        (changed(float32=[0.0] * 12), "malformed"),
        (changed(shape=[3, 2, 3]), "does not hold the 18 numbers"),
        (changed(float32=""), "does not hold the 12 numbers"),
        (changed(float32=GOOD["float32"][:-4]), "does not hold the 12 numbers"),
        (changed(float32="=" * 64), "no base64|does not hold"),
        (changed(float32="é" * 64), "no base64"),
        (changed(float32="\n" + GOOD["float32"][1:]), "no base64"),
        (changed(shape=[1, 1, 1], float32=text(float("nan"))), "not finite"),
        (changed(shape=[1, 1, 1], float32=text(float("inf"))), "not finite"),
        (changed(shape=[3, 100_000, 100_000]), "too large to be one: expected at most"),
        (changed(shape=[10**5000, 1, 1]), "too large to be one"),
    ],
)
def test_what_is_no_mean_image_is_refused(card, message):
    with pytest.raises(ZooError, match=message) as error:
        decode(card)
    assert "mean image" in str(error.value)
