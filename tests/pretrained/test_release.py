"""A release comes back as it was saved, and only what can be loaded again is saved."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.errors import ZooError
from zoo.models.catalog import MODELS
from zoo.models.derived import DerivedBuffers
from zoo.models.registry import create_model
from zoo.pretrained.release import RELEASE_FORMAT, load_release, read_card, save_release

FILES = ("model.safetensors", "model.json", "card.json")
CARD = {"task": "image_classification"}
DTYPES = (
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
    torch.float16,
    torch.bfloat16,
)


class Mixed(nn.Module):
    """Parameters and buffers of every kind, two names for one tensor, nothing at all, a single number."""

    def __init__(self, width: int, fail: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, 3))
        self.tied = self.weight
        self.register_buffer("empty", torch.zeros(0, width))
        self.register_buffer("steps", torch.tensor(0))
        for number, dtype in enumerate(DTYPES):
            self.register_buffer(f"b{number}", torch.zeros(width, dtype=dtype))
        self.register_buffer("unsaved", torch.arange(3), persistent=False)
        if fail:
            raise RuntimeError("asked to")


def mixed_dtypes(width: int = 2, fail: bool = False) -> Mixed:
    return Mixed(width, fail)


@pytest.fixture(scope="module", autouse=True)
def _mixed(registered) -> Iterator[None]:
    """Registers `mixed_dtypes` for this file's tests."""
    with registered(mixed_dtypes):
        yield


@settings(max_examples=25, deadline=None)
@given(width=st.integers(0, 4), seed=st.integers(0, 1000), dtype=st.sampled_from(["float32", "float16"]))
def test_round_trip_over_dtypes(width: int, seed: int, dtype: str):
    torch.manual_seed(seed)
    model = create_model("mixed_dtypes", width=width)
    for name, buffer in model.named_buffers():
        if name != "unsaved":
            buffer.copy_(torch.randint(0, 2, buffer.shape))
    with tempfile.TemporaryDirectory() as folder:
        save_release(Path(folder, "r"), model, "mixed_dtypes", {"width": width}, CARD, dtype)
        loaded, card = load_release(Path(folder, "r"))
        stored = safetensors.torch.load_file(Path(folder, "r", FILES[0]))
    assert (card["arguments"], card["dtype"], loaded.training) == ({"width": width}, dtype, False)
    assert [b.dtype for b in loaded.buffers()] == [b.dtype for b in model.buffers()]
    assert loaded.weight.dtype == torch.float32
    assert stored["weight"].dtype == getattr(torch, dtype)
    assert (stored["b1"].dtype, stored["b2"].dtype) == (torch.float64, torch.int64)
    assert torch.equal(loaded.weight, model.weight.to(getattr(torch, dtype)).float())
    assert all(torch.equal(one, other) for one, other in zip(model.buffers(), loaded.buffers(), strict=True))


def test_both_lenets_come_back_bit_for_bit(same, tmp_path: Path):
    for name in ("lenet5", "lenet5_modern"):
        model = create_model(name)
        assert same(model, load_release(save_release(tmp_path / name, model, name, {}, CARD))[0])


@pytest.mark.parametrize(
    ("name", "arguments", "inputs"),
    [
        ("lenet5", {}, (torch.rand(2, 1, 28, 28),)),
        ("cuda_convnet_11", {}, (torch.rand(2, 3, 24, 24),)),
        (
            "transformer_tiny",
            {"source_vocabulary_size": 20, "target_vocabulary_size": 20},
            (torch.randint(3, 20, (2, 5)), torch.randint(3, 20, (2, 4))),
        ),
    ],
)
def test_derived_buffers_and_shared_embeddings_come_back_and_are_built_once(
    name: str, arguments: dict[str, Any], inputs: tuple[torch.Tensor, ...], tmp_path: Path, monkeypatch
):
    model = create_model(name, **arguments).eval()
    save_release(tmp_path / "r", model, name, arguments, CARD)
    built = []
    monkeypatch.setattr(
        "zoo.pretrained.release.create_model",
        lambda *given, **keywords: built.append(given) or create_model(*given, **keywords),
    )
    loaded, _ = load_release(tmp_path / "r")
    assert len(built) == 1  # planned, and then filled
    assert torch.equal(loaded(*inputs), model(*inputs))
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_tensors_hide_from_the_state_dict_but_derived_ones(name: str):
    with torch.device("meta"):
        model = create_model(name)
    for part in model.modules():
        unsaved = part._non_persistent_buffers_set
        assert unsaved == (set(part.derived_buffers()) if isinstance(part, DerivedBuffers) else set())
        for key, value in vars(part).items():
            if not key.startswith("_"):
                assert not any(isinstance(tensor, torch.Tensor) for tensor in torch.utils._pytree.tree_leaves(value))


def test_card_is_completed(release: Path):
    card = read_card(release)
    assert (card["format"], card["model"], card["arguments"]) == (RELEASE_FORMAT, "lenet5_modern", {})
    assert (card["parameters"], card["headline"]["metric"]) == (61_706, "test/error")
    for file in FILES[:2]:
        assert card["sha256"][file] == hashlib.sha256((release / file).read_bytes()).hexdigest()
    assert sorted(path.name for path in release.iterdir()) == sorted(FILES)


def test_the_same_release_is_written_byte_for_byte(release: Path, lenet: nn.Module, tmp_path: Path):
    card = {key: value for key, value in read_card(release).items() if key != "sha256"}
    again = save_release(tmp_path / "again", load_release(release)[0], "lenet5_modern", {}, card)
    for file in FILES:
        assert (again / file).read_bytes() == (release / file).read_bytes()


def test_loading_leaves_random_numbers_and_defaults_alone(same, release: Path, lenet: nn.Module):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_release(release)[0]
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.rand(3), expected)
    assert same(loaded, lenet)


def both(forger, folder: Path, name: str, arguments: dict[str, Any]) -> None:
    """Makes model.json and the card tell of another model."""
    forger.rewrite(folder, "model.json", lambda recipe: recipe.update(name=name, arguments=arguments))
    forger.rewrite(folder, "card.json", lambda card: card.update(model=name, arguments=arguments))


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("lenet6", {}, "unknown model 'lenet6': did you mean lenet5"),
        ("os.system", {}, "unknown model"),
        ("lenet5_modern", {"clases": 10}, "unknown key lenet5_modern.clases"),
        ("lenet5_modern", {"name": "x"}, "lenet5_modern"),
        ("lenet5_modern", {"self": 1}, "unknown key lenet5_modern.self"),
        ("lenet5_modern", {"num_classes": "ten"}, "cannot be built"),
        ("lenet5_modern", {"num_classes": -3}, "cannot be built"),
        ("lenet5_modern", {"num_classes": 10**30}, "cannot be built"),
        # 336 GB: refused for the file's sake, before memory is asked for.
        ("lenet5_modern", {"num_classes": 10**9}, "belongs to another model"),
        ("lenet5", {}, "belongs to another model"),
        ("mixed_dtypes", {"fail": True}, "cannot be built with {'fail': True}: asked to"),
    ],
)
def test_models_and_arguments_that_are_not_taken(
    forger, release: Path, name: str, arguments: dict[str, Any], told: str
):
    both(forger, release, name, arguments)
    assert told in forger.message(release)


def test_model_and_card_must_agree(forger, release: Path):
    forger.rewrite(release, "model.json", lambda recipe: recipe.update(arguments={"num_classes": 10}))
    assert "tell of different models" in forger.message(release)


def test_saving_refuses_what_could_not_be_loaded(tmp_path: Path, lenet: nn.Module):
    def refused(told: str, *given: Any) -> None:
        with pytest.raises(ZooError, match=told):
            save_release(tmp_path / "r", *given)
        assert list(tmp_path.iterdir()) == []

    refused("is not the model", lenet, "lenet5", {}, CARD)
    refused("is not the model", lenet, "lenet5_modern", {"num_classes": 9}, CARD)
    refused("unknown model", lenet, "lenet7", {}, CARD)
    refused("stored as float32 or float16", lenet, "lenet5_modern", {}, CARD, "int8")
    refused("plain JSON", lenet, "lenet5_modern", {}, {**CARD, "when": object()})
    large = create_model("lenet5_modern")
    large.c1.weight.data.fill_(1e6)
    refused("too large for float16", large, "lenet5_modern", {}, CARD, "float16")
    assert load_release(save_release(tmp_path / "r", large, "lenet5_modern", {}, CARD))


def test_folders_of_other_content_are_left_alone(tmp_path: Path, lenet: nn.Module):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        with pytest.raises(ZooError, match="choose another place"):
            save_release(tmp_path / name, lenet, "lenet5_modern", {}, CARD)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "x"
