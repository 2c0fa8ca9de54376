"""Citations, each written once: key -> where a paper was published."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A published paper; `arxiv` is empty where there is no arXiv version."""

    title: str
    authors: str
    year: int
    venue: str
    arxiv: str = ""

    @property
    def short(self) -> str:
        """The first author's surname and the year."""
        return f"{self.authors.split(',')[0].split()[-1]} {self.year}"

    def __str__(self) -> str:
        link = f" arXiv:{self.arxiv}" if self.arxiv else ""
        return f"{self.authors}: {self.title}. {self.venue}, {self.year}.{link}"


PAPERS: dict[str, Paper] = {
    "lecun1998": Paper(
        title="Gradient-Based Learning Applied to Document Recognition",
        authors="Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner",
        year=1998,
        venue="Proceedings of the IEEE 86(11):2278-2324",
    ),
    "krizhevsky2012": Paper(
        title="ImageNet Classification with Deep Convolutional Neural Networks",
        authors="Alex Krizhevsky, Ilya Sutskever, Geoffrey E. Hinton",
        year=2012,
        venue="Advances in Neural Information Processing Systems 25 (NIPS)",
    ),
    "krizhevsky2014": Paper(
        title="One Weird Trick for Parallelizing Convolutional Neural Networks",
        authors="Alex Krizhevsky",
        year=2014,
        venue="arXiv preprint",
        arxiv="1404.5997",
    ),
    "simonyan2015": Paper(
        title="Very Deep Convolutional Networks for Large-Scale Image Recognition",
        authors="Karen Simonyan, Andrew Zisserman",
        year=2015,
        venue="International Conference on Learning Representations (ICLR)",
        arxiv="1409.1556",
    ),
    "he2015": Paper(
        title="Deep Residual Learning for Image Recognition",
        authors="Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun",
        year=2015,
        venue="IEEE Conference on Computer Vision and Pattern Recognition (CVPR 2016)",
        arxiv="1512.03385",
    ),
    "he2016": Paper(
        title="Identity Mappings in Deep Residual Networks",
        authors="Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun",
        year=2016,
        venue="European Conference on Computer Vision (ECCV)",
        arxiv="1603.05027",
    ),
    "zaremba2014": Paper(
        title="Recurrent Neural Network Regularization",
        authors="Wojciech Zaremba, Ilya Sutskever, Oriol Vinyals",
        year=2014,
        venue="arXiv preprint",
        arxiv="1409.2329",
    ),
    "merity2017": Paper(
        title="Pointer Sentinel Mixture Models",
        authors="Stephen Merity, Caiming Xiong, James Bradbury, Richard Socher",
        year=2017,
        venue="International Conference on Learning Representations (ICLR)",
        arxiv="1609.07843",
    ),
    "bahdanau2014": Paper(
        title="Neural Machine Translation by Jointly Learning to Align and Translate",
        authors="Dzmitry Bahdanau, Kyunghyun Cho, Yoshua Bengio",
        year=2014,
        venue="International Conference on Learning Representations (ICLR 2015)",
        arxiv="1409.0473",
    ),
    "vaswani2017": Paper(
        title="Attention Is All You Need",
        authors="Ashish Vaswani, Noam Shazeer, Niki Parmar, Jakob Uszkoreit, Llion Jones, Aidan N. Gomez, "
        "Łukasz Kaiser, Illia Polosukhin",
        year=2017,
        venue="Advances in Neural Information Processing Systems (NIPS)",
        arxiv="1706.03762",
    ),
    "wu2021": Paper(
        title="Good for Misconceived Reasons: An Empirical Revisiting on the Need for Visual Context in Multimodal "
        "Machine Translation",
        authors="Zhiyong Wu, Lingpeng Kong, Wei Bi, Xiang Li, Ben Kao",
        year=2021,
        venue="Annual Meeting of the Association for Computational Linguistics (ACL)",
        arxiv="2105.14462",
    ),
    "trevett2018": Paper(
        title="PyTorch Seq2Seq (tutorials)",
        authors="Ben Trevett",
        year=2018,
        venue="github.com/bentrevett/pytorch-seq2seq",
    ),
    "liu2017": Paper(
        title="Train CIFAR10 with PyTorch (pytorch-cifar)",
        authors="Kuang Liu",
        year=2017,
        venue="github.com/kuangliu/pytorch-cifar",
    ),
    "mnih2013": Paper(
        title="Playing Atari with Deep Reinforcement Learning",
        authors="Volodymyr Mnih, Koray Kavukcuoglu, David Silver, Alex Graves, Ioannis Antonoglou, Daan Wierstra, "
        "Martin Riedmiller",
        year=2013,
        venue="NIPS Deep Learning Workshop",
        arxiv="1312.5602",
    ),
    "mnih2015": Paper(
        title="Human-level control through deep reinforcement learning",
        authors="Volodymyr Mnih, Koray Kavukcuoglu, David Silver, Andrei A. Rusu, Joel Veness, et al.",
        year=2015,
        venue="Nature 518:529-533",
    ),
    "young2019": Paper(
        title="MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning Experiments",
        authors="Kenny Young, Tian Tian",
        year=2019,
        venue="arXiv",
        arxiv="1903.03176",
    ),
    "huang2022": Paper(
        title="CleanRL: High-quality Single-file Implementations of Deep Reinforcement Learning Algorithms",
        authors="Shengyi Huang, Rousslan Fernand Julien Dossa, Chang Ye, Jeff Braga, Dipam Chakraborty, Kinal Mehta, "
        "João G.M. Araújo",
        year=2022,
        venue="Journal of Machine Learning Research 23(274):1-18",
    ),
    "goodfellow2014": Paper(
        title="Generative Adversarial Nets",
        authors="Ian J. Goodfellow, Jean Pouget-Abadie, Mehdi Mirza, Bing Xu, David Warde-Farley, Sherjil Ozair, "
        "Aaron Courville, Yoshua Bengio",
        year=2014,
        venue="Advances in Neural Information Processing Systems (NIPS)",
        arxiv="1406.2661",
    ),
    "radford2015": Paper(
        title="Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
        authors="Alec Radford, Luke Metz, Soumith Chintala",
        year=2015,
        venue="International Conference on Learning Representations (ICLR 2016)",
        arxiv="1511.06434",
    ),
    "arjovsky2017": Paper(
        title="Wasserstein GAN",
        authors="Martin Arjovsky, Soumith Chintala, Léon Bottou",
        year=2017,
        venue="International Conference on Machine Learning (ICML)",
        arxiv="1701.07875",
    ),
    "gulrajani2017": Paper(
        title="Improved Training of Wasserstein GANs",
        authors="Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville",
        year=2017,
        venue="Advances in Neural Information Processing Systems (NIPS)",
        arxiv="1704.00028",
    ),
}
