"""What a classifier sees in generated images: whether all classes occur, and how far they are from real ones."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline

_AT_ONCE = 500  # images
_OCCURS = 0.01  # the share of a class that occurs: even noise is taken for every digit once in thousands of times


class Features(nn.Module):
    """What the last linear layer of a classifier reads.

    Args:
        classifier: A released one.
    """

    def __init__(self, classifier: "ImageClassificationPipeline") -> None:
        super().__init__()
        self.model, self.scale = classifier.model, classifier.preprocessing.scale
        self.last = [module for module in self.model.modules() if isinstance(module, nn.Linear)][-1]
        self.num_features = self.last.in_features

    def prepared(self, images: Tensor) -> Tensor:
        """Returns images, pixels from 0 to 1, as the classifier sees a picture: of bytes."""
        return self.scale((images * 255).round().to(torch.uint8))

    def forward(self, images: Tensor) -> Tensor:
        """Returns features `(B, F)` of images `(B, C, H, W)`, pixels from 0 to 1."""
        read: list[Tensor] = []
        handle = self.last.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
        try:
            self.model(self.prepared(images))
        finally:
            handle.remove()
        return read[0]

    def labels(self, images: Tensor) -> Tensor:
        """Returns the numbers of the classes that images are taken for, `(B,)`."""
        return self.model(self.prepared(images)).argmax(dim=1)


@torch.inference_mode()
def looked_at(
    classifier: "ImageClassificationPipeline", points: Tensor, samples: Tensor
) -> tuple[dict[str, float], dict[str, float]]:
    """Compares samples with real images through the eyes of a classifier.

    Args:
        classifier: A released one.
        points: Real images `(N, C, H, W)`, pixels from 0 to 1.
        samples: Generated ones `(M, C, H, W)`.

    Returns:
        `fid_lenet`, the Fréchet distance of the features of both; `classes`, the percentage of the classes for which at
        least one in a hundred samples is taken; `class_divergence`, the Kullback-Leibler divergence of the classes'
        shares from equal ones, in nats. And by name the share of each class in percent.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # on first use: seconds

    look = Features(classifier)
    channels, height, width = points.shape[1:]
    distance = FrechetInceptionDistance(
        look,
        normalize=True,
        input_img_size=(channels, height, width),
        sync_on_compute=False,  # each process has all images
    )
    for images, real in ((points, True), (samples, False)):
        for each in images.cpu().split(_AT_ONCE):
            distance.update(each, real=real)
    labels = torch.cat([look.labels(each) for each in samples.cpu().split(_AT_ONCE)])
    shares = torch.bincount(labels, minlength=len(classifier.class_names)).double() / len(labels)
    divergence = (shares * (shares * len(shares)).clamp_min(1e-12).log()).sum()
    classes = 100 * float((shares >= _OCCURS).double().mean())
    found = {"fid_lenet": float(distance.compute()), "classes": classes, "class_divergence": float(divergence)}
    return found, dict(zip(classifier.class_names, (100 * shares).tolist(), strict=True))
