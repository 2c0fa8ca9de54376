"""All models by name, as a table that imports nothing: listing and name checks cost no `import torch`.

`parameters` counts the trained parameters of the paper's own configuration. A test holds this table and the
registrations in the model files equal.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelEntry:
    """Where a model's constructor lives and what it belongs to."""

    module: str
    task: str
    paper: str
    parameters: int


MODELS: dict[str, ModelEntry] = {
    "lenet5": ModelEntry("zoo.models.lenet", "image_classification", "lecun1998", 60_000),
    "lenet5_modern": ModelEntry("zoo.models.lenet", "image_classification", "lecun1998", 61_706),
    "alexnet": ModelEntry("zoo.models.alexnet", "image_classification", "krizhevsky2014", 61_100_840),
    "alexnet_2012": ModelEntry("zoo.models.alexnet", "image_classification", "krizhevsky2012", 60_965_224),
    "cuda_convnet_11": ModelEntry("zoo.models.alexnet", "image_classification", "krizhevsky2012", 2_112_970),
    "cuda_convnet_13": ModelEntry("zoo.models.alexnet", "image_classification", "krizhevsky2012", 1_116_490),
    "vgg11": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 132_863_336),
    "vgg11_bn": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 132_868_840),
    "vgg11_lrn": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 132_863_336),
    "vgg13": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 133_047_848),
    "vgg13_bn": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 133_053_736),
    "vgg16": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 138_357_544),
    "vgg16_bn": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 138_365_992),
    "vgg16_bn_small": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 14_728_266),
    "vgg16_c": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 133_638_952),
    "vgg19": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 143_667_240),
    "vgg19_bn": ModelEntry("zoo.models.vgg", "image_classification", "simonyan2015", 143_678_248),
    "resnet18": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 11_689_512),
    "resnet34": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 21_797_672),
    "resnet50": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 25_557_032),
    "resnet50_v1_5": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 25_557_032),
    "resnet50_v2": ModelEntry("zoo.models.resnet_v2", "image_classification", "he2016", 25_549_352),
    "resnet101": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 44_549_160),
    "resnet101_v1_5": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 44_549_160),
    "resnet101_v2": ModelEntry("zoo.models.resnet_v2", "image_classification", "he2016", 44_541_480),
    "resnet152": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 60_192_808),
    "resnet152_v1_5": ModelEntry("zoo.models.resnet", "image_classification", "he2015", 60_192_808),
    "resnet152_v2": ModelEntry("zoo.models.resnet_v2", "image_classification", "he2016", 60_185_128),
    "resnet200_v2": ModelEntry("zoo.models.resnet_v2", "image_classification", "he2016", 64_666_152),
    "resnet20": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 269_722),
    "resnet32": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 464_154),
    "resnet44": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 658_586),
    "resnet56": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 853_018),
    "resnet110": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 1_727_962),
    "resnet110_v2": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2016", 1_727_962),
    "resnet164_v2": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2016", 1_703_258),
    "resnet1001_v2": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2016", 10_327_706),
    "plain20": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 269_722),
    "plain32": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 464_154),
    "plain44": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 658_586),
    "plain56": ModelEntry("zoo.models.resnet_cifar", "image_classification", "he2015", 853_018),
    "lstm_small": ModelEntry("zoo.models.lstm_lm", "language_modeling", "zaremba2014", 4_653_200),
    "lstm_medium": ModelEntry("zoo.models.lstm_lm", "language_modeling", "zaremba2014", 19_780_400),
    "lstm_large": ModelEntry("zoo.models.lstm_lm", "language_modeling", "zaremba2014", 66_034_000),
    "lstm_char": ModelEntry("zoo.models.lstm_lm", "language_modeling", "zaremba2014", 1_086_017),
    "rnnsearch": ModelEntry("zoo.models.rnnsearch", "translation", "bahdanau2014", 80_442_000),
    "rnnencdec": ModelEntry("zoo.models.rnnsearch", "translation", "bahdanau2014", 68_578_000),
    "rnnsearch_small": ModelEntry("zoo.models.rnnsearch", "translation", "bahdanau2014", 4_852_544),
    "rnnencdec_small": ModelEntry("zoo.models.rnnsearch", "translation", "bahdanau2014", 4_097_856),
    "transformer_base": ModelEntry("zoo.models.transformer", "translation", "vaswani2017", 63_045_632),
    "transformer_big": ModelEntry("zoo.models.transformer", "translation", "vaswani2017", 214_171_648),
    "transformer_small": ModelEntry("zoo.models.transformer", "translation", "vaswani2017", 6_240_256),
    "transformer_tiny": ModelEntry("zoo.models.transformer", "translation", "vaswani2017", 2_598_912),
    "dqn_nature": ModelEntry("zoo.models.dqn", "q_learning", "mnih2015", 1_686_180),
    "dqn_2013": ModelEntry("zoo.models.dqn", "q_learning", "mnih2013", 677_172),
    "dqn_minatar": ModelEntry("zoo.models.dqn", "q_learning", "young2019", 132_566),
    "dqn_mlp": ModelEntry("zoo.models.dqn", "q_learning", "mnih2015", 10_934),
    "gan_mlp": ModelEntry("zoo.models.gan", "adversarial", "goodfellow2014", 3_735_425),
    "dcgan": ModelEntry("zoo.models.dcgan", "adversarial", "radford2015", 898_370),
    "wgan": ModelEntry("zoo.models.wgan", "adversarial", "arjovsky2017", 898_370),
    "wgan_gp": ModelEntry("zoo.models.wgan", "adversarial", "gulrajani2017", 898_242),
    "wgan_gp_toy": ModelEntry("zoo.models.wgan", "adversarial", "gulrajani2017", 1_055_235),
}
