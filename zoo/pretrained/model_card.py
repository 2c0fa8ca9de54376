"""The README of a release, in the format of Hugging Face's model cards, made from its card and from nothing else."""

import json
from collections.abc import Mapping
from typing import Any

from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.pretrained.card import task_name

# Our tasks in Hugging Face's words.
_PIPELINE_TAGS = {
    "image_classification": "image-classification",
    "language_modeling": "text-generation",
    "translation": "translation",
    "q_learning": "reinforcement-learning",
    "adversarial": "unconditional-image-generation",
}
_TRIES = {
    "image_classification": ('zoo.pipeline("{name}")("picture.png")  # labels with probabilities',
                             "zoo predict {name} picture.png"),
    "language_modeling": ('zoo.pipeline("{name}").generate("the company said")  # a continuation',
                          'zoo predict {name} "the company said"'),
    "translation": ('zoo.pipeline("{name}")("{sentence}").translation', 'zoo predict {name} "{sentence}"'),
    "q_learning": ('zoo.pipeline("{name}")(episodes=5)  # games with their returns',
                   "zoo predict {name} --episodes 5 --gif play.gif"),
    "adversarial": ('zoo.pipeline("{name}")(64, seed=3)  # images',
                    "zoo predict {name} --n 64 --seed 3 --out grid.png"),
}  # fmt: skip
_SENTENCES = {"de": "Ein Hund läuft.", "en": "A dog is running.", "fr": "Un chien court.", "dates": "3 May 2021"}


def how_to_try(card: dict[str, Any]) -> tuple[str, str]:
    """Returns a line of Python and a command that use a release."""
    data = card["data"]
    sentence = _SENTENCES.get(data.get("source", data["name"]), "…")
    python, command = (line.format(name=card["name"], sentence=sentence) for line in _TRIES[task_name(card) or ""])
    return python, command


def comparison(card: dict[str, Any]) -> list[str]:
    """Returns a line for each published number: what it is, and what was measured instead."""
    claims = card.get("claim") or []
    lines = []
    for claim in claims if isinstance(claims, list) else [claims]:
        paper = PAPERS[claim["paper"]]
        measured, headline = card["metrics"].get(claim["metric"]), card["headline"]
        if measured is None:  # of the whole training, such as the mean return of its games
            own = f"{headline['metric']} with these weights is {headline['value']:.4g}"
            ours = f"of the training, see docs/results.md ({own})"
        else:
            ours = f"{measured:.4g} with these weights"
        lines.append(f"{claim['metric']}: {ours}, {claim['reported']} published ({paper.short}, {claim['where']}); "
                     f"protocol {claim['protocol']}")  # fmt: skip
    return lines


def model_card(card: dict[str, Any]) -> str:
    """Returns the README of a release: Hugging Face's front matter, what it is, how to use it, what it measures."""
    name, task, data = card["name"], task_name(card) or "", card["data"]["name"]
    headline = card["headline"]
    result = {
        "task": {"type": _PIPELINE_TAGS[task]},
        "dataset": {"name": data, "type": data},
        "metrics": [{"type": headline["metric"], "value": headline["value"]}],
    }
    front = {
        "license": "mit",
        "library_name": "landmark-zoo",
        "pipeline_tag": _PIPELINE_TAGS[task],
        "tags": ["landmark-zoo", "pytorch", card["model"]],
        "datasets": [data],
        "model-index": [{"name": name, "results": [result]}],
    }
    python, command = how_to_try(card)
    trained = f"experiment={card['experiment']} seed={card['seed']}" if card.get("experiment") else f"data={data}"
    loading = f'model = zoo.load_pretrained("{name}")  # a torch.nn.Module in eval mode'
    parts = [
        "\n".join(["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()), "---"]),
        f"# {name}",
        f"`{card['model']}`, {card['parameters']:,} parameters, trained on `{data}` with `zoo train {trained}`. "
        "Weights are safetensors: loading them runs no code.",
        f"```python\nimport zoo\n\n{loading}\n{python}\n```",
        f"On the command line: `{command}`.",
        "\n".join(f"- {line}" for line in comparison(card)),
        f"Paper: {PAPERS[MODELS[card['model']].paper]}" if card["model"] in MODELS else "",
        "Everything measured: " + ", ".join(f"{metric} {value:.4g}" for metric, value in card["metrics"].items()) + ".",
        ". ".join(f"{key.capitalize()}: {card[key]}" for key in ("licence", "commit") if card.get(key)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def pretrained_page(cards: Mapping[str, dict[str, Any]]) -> str:
    """Returns docs/pretrained.md: the shipped releases and how each is used, from their cards by name."""
    parts = [
        "# Pretrained",
        "Generated from the cards under `pretrained/` by `make results`. `zoo verify` measures them again, "
        "`zoo info NAME` shows a card in full, `zoo.load_pretrained(NAME)` is the network, `zoo.pipeline(NAME)` takes "
        "what people have and gives what they want.",
    ]
    for name, card in cards.items():
        python, command = how_to_try(card)
        lines = [
            f"- `{card['model']}`, {card['parameters']:,} parameters, {card['dtype']}, data `{card['data']['name']}`",
            *(f"- {line}" for line in comparison(card)),
        ]
        parts += [f"## {name}", "\n".join(lines), f"```\n{python}\n{command}\n```"]
    return "\n\n".join(parts) + "\n"
