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
}
