"""What is timed, and which speed is expected of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.errors import unknown
from zoo.training.environment import native_bf16


@dataclass(frozen=True)
class Kind:
    """Cases that share a table.

    `heading` says what is counted in a second, `steps` what `Case.steps` are; ours is compared with `others`, of the
    bare loop and the usual script. `parts` says whether the parts of a step are timed as well.
    """

    heading: str
    steps: str
    others: tuple[str, ...]
    parts: bool = False


SUPERVISED = Kind("Images or tokens per second in training", "steps", ("bare", "usual"), parts=True)
ADVERSARIAL = Kind(
    "Images per second in adversarial training, steps of discriminator and generator together", "steps", ("bare",)
)
Q_LEARNING = Kind("Environment steps per second in Q-learning, learning included", "ticks", ("usual",))
DECODING = Kind("Sentences per second in decoding", "sentences the usual way", ("usual",))
LOADING = Kind("Releases loaded per second; the bare way is constructor and safetensors alone", "loads", ("bare",))
KINDS = (SUPERVISED, ADVERSARIAL, Q_LEARNING, DECODING, LOADING)


@dataclass(frozen=True)
class Case:
    """A training that is timed, or a search for translations.

    `words` name model, data and recipe as they are typed behind `zoo train`; `settings` say how we compute it, and
    the usual script knows nothing of them. `steps` are timed at a time: they should take some seconds. `of_bare` and
    `of_usual` are the ratios expected of our speed to the bare loop's and the usual script's, None where nothing is.
    """

    name: str
    words: tuple[str, ...]
    settings: tuple[str, ...]
    steps: int
    of_bare: float | None = None
    of_usual: float | None = None
    kind: Kind = SUPERVISED

    @property
    def usual_settings(self) -> tuple[str, ...]:
        """What the usual script is told: the device, and nothing else."""
        return ("trainer=gpu",) if "trainer=gpu" in self.settings else ("trainer=cpu",)


_MNIST = ("data=mnist", "data.batch_size=256")
# The augmentation and the normalisation of the usual script.
_RESNET = ("model=resnet20", "data=cifar10", "data.batch_size=128", "data.mean=null", "data.std=null",
           "data.augment={crop_padding: 4, flip: true}")  # fmt: skip
_SMALL, _MEDIUM = (("model=lstm_small", "data=ptb"), ("model=lstm_medium", "data=ptb"))
# Random actions end, and learning begins, within the steps before the clock starts.
_PONG = ("model=dqn_nature", "data=atari_pong", "task.warmup=1000", "task.memory=10000")
_TRANSLATION = ("model=transformer_small", "data=multi30k", "data.source=de", "data.target=en")


def cases(device: str, names: Sequence[str] = ()) -> list[Case]:
    """Returns what is timed on a device.

    Args:
        device: `"cpu"` or `"cuda"`.
        names: Which cases; by default all.

    Raises:
        ZooError: There is no such case.
    """
    found = {case.name: case for case in (_on_cuda() if device == "cuda" else _on_cpu())}
    for name in names:
        if name not in found:
            raise unknown(f"case on {device}", name, found)
    return [case for case in found.values() if not names or case.name in names]


def _on_cpu() -> list[Case]:
    bf16 = native_bf16()
    return [
        # Small networks: whatever is done besides their arithmetic weighs most.
        Case("lenet5", ("model=lenet5", *_MNIST), ("trainer=cpu",), 200, 0.85, 1.8),
        Case("lenet5_modern", ("model=lenet5_modern", *_MNIST), ("trainer=cpu",), 200, 0.85, 2.3),
        # The faster of the two ways to compute is what this CPU should be used with, so the expectation stands there;
        # without bfloat16 both are kept waiting by the same convolutions.
        Case("resnet20", _RESNET, ("trainer=cpu", "channels_last=true"), 24, 0.95, None if bf16 else 1.3),
        Case("resnet20_bf16", _RESNET, ("trainer=cpu_bf16", "channels_last=true"), 24, 0.95, 1.8 if bf16 else None),
        # In float32 both spend their time in the same matrix products.
        Case("lstm_small", _SMALL, ("trainer=cpu",), 150, 0.95, None if bf16 else 0.95),
        Case("lstm_small_bf16", _SMALL, ("trainer=cpu_bf16",), 150, 0.95, 1.0 if bf16 else None),
        # Long enough that the checkpoint of 80 MB at its end weighs little, as it does at the end of an epoch.
        Case("lstm_medium_bf16", _MEDIUM, ("trainer=cpu_bf16",), 90, 0.95, 1.2 if bf16 else None),
        Case("gan_mlp", ("experiment=gan_mlp_mnist",), ("trainer=cpu",), 200, of_bare=0.95, kind=ADVERSARIAL),
        Case("dcgan", ("model=dcgan", "data=mnist"), ("trainer=cpu",), 8, of_bare=0.95, kind=ADVERSARIAL),
        Case("dqn_cartpole", ("model=dqn_mlp", "data=cartpole"), ("trainer=cpu",), 30, of_usual=1.5, kind=Q_LEARNING),
        Case("dqn_pong", _PONG, ("trainer=cpu",), 4, of_usual=None if bf16 else 1.0, kind=Q_LEARNING),
        Case("dqn_pong_bf16", _PONG, ("trainer=cpu_bf16",), 4, of_usual=1.5 if bf16 else None, kind=Q_LEARNING),
        # The same arithmetic as the usual script's: the ratio is what padding costs it.
        Case("transformer_small", _TRANSLATION, ("trainer=cpu",), 30, 0.95, 1.4),
        Case("beam_search", (*_TRANSLATION, "task.beam=5"), ("trainer=cpu",), 50, of_usual=8.0, kind=DECODING),
        # Checksums and shapes are looked at before anything is used: a third more time at most.
        Case("load_lenet5", ("lenet5-mnist",), (), 200, of_bare=0.77, kind=LOADING),
        Case("load_lstm_small", ("lstm_small-ptb",), (), 10, of_bare=0.77, kind=LOADING),
    ]


def _on_cuda() -> list[Case]:
    settings = ("trainer=gpu", "trainer.precision=bf16-mixed", "channels_last=true")
    plain = Case("resnet20", _RESNET, settings, 380)
    return [plain, replace(plain, name="resnet20_compiled", settings=(*settings, "compile=true"))]
