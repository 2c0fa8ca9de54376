"""Probabilities of classes: the softmax, or what a model says by itself."""

import torch

from zoo.metrics.probabilities import class_probabilities
from zoo.models.lenet import lenet5, lenet5_modern


def test_scores_are_logits_where_a_model_does_not_say_otherwise():
    scores = torch.randn(4, 10, dtype=torch.bfloat16)
    found = class_probabilities(lenet5_modern(), scores)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, scores.float().softmax(1))


def test_what_is_like_no_class_has_little_of_each():
    net = lenet5("discriminative", j=10.0)
    likely, unlike = class_probabilities(net, torch.tensor([[-1.0, *[-40.0] * 9], [-30.0] * 10]))
    assert float(likely.sum()) > 0.99
    assert float(unlike.sum()) < 1e-6
