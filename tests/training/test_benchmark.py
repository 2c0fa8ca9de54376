"""The benchmark: that it compares like with like, and says what it has measured."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.errors import ZooError
from zoo.pretrained.hub import find_release
from zoo.training.benchmark import usual, usual_text
from zoo.training.benchmark.bare import bare_steps
from zoo.training.benchmark.cases import DECODING, LOADING, Case, cases
from zoo.training.benchmark.measure import Measured
from zoo.training.benchmark.report import page_with, report, table, write_page
from zoo.training.benchmark.run import benchmark
from zoo.training.benchmark.shares import shares_of_a_step
from zoo.training.benchmark.unpacked import unpacked_folder
from zoo.training.benchmark.ways import WARM_UP, built_for, our_speed, samples_per_second
from zoo.training.compose import compose
from zoo.training.environment import native_bf16
from zoo.training.start import checked_config

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "performance.md"

pytestmark = pytest.mark.usefixtures("own_signals")

DIGITS = ("model=lenet5_modern", "data=digits", "data.augment={crop_padding: 2}", "logger=none")
SMALL = Case("digits", DIGITS, ("trainer=cpu",), 5)


@pytest.mark.parametrize(
    ("model", "settings"),
    [("lenet5", ("trainer=cpu",)), ("lenet5_modern", ("trainer=cpu_bf16", "channels_last=true"))],
)
def test_the_bare_loop_computes_what_our_trainer_computes(model: str, settings: tuple[str, ...], tmp_path: Path):
    words = (*DIGITS, f"model={model}", "data.batch_size=64", *settings)
    ours, _ = built_for(words, tmp_path, SMALL.steps)
    ours.trainer.fit(ours.task, datamodule=ours.data)
    bare, config = built_for(words, tmp_path, SMALL.steps)
    beginning = {name: tensor.clone() for name, tensor in bare.task.model.state_dict().items()}
    assert list(islice(bare_steps(bare, config), WARM_UP + SMALL.steps)) == [64] * (WARM_UP + SMALL.steps)
    for name, tensor in ours.task.model.state_dict().items():
        assert torch.equal(tensor, bare.task.model.state_dict()[name]), name
    trained = dict(bare.task.model.named_parameters())
    assert not any(torch.equal(parameter, beginning[name]) for name, parameter in trained.items())


def test_the_bare_loop_reads_on_as_our_trainer_does(tmp_path: Path):
    words = ("model=lstm_char", "data=python_docs", "data.batch_size=4", "data.unroll=6", "logger=none", "trainer=cpu",
             "model.dropout=0.0", "optimizer.lr=1.0", "trainer.gradient_clip_val=0.5")  # fmt: skip
    ours, _ = built_for(words, tmp_path, SMALL.steps)
    ours.trainer.fit(ours.task, datamodule=ours.data)
    bare, config = built_for(words, tmp_path, SMALL.steps)
    assert list(islice(bare_steps(bare, config), WARM_UP + SMALL.steps)) == [24] * (WARM_UP + SMALL.steps)
    for name, tensor in ours.task.model.state_dict().items():
        assert torch.equal(tensor, bare.task.model.state_dict()[name]), name


def test_the_usual_language_model_learns():
    torch.manual_seed(0)
    streams = torch.arange(160).remainder(5).view(4, 40)
    model = usual_text.WordLanguageModel(5, 8, 2, 0.1)
    steps = usual_text.training_steps(model, streams, 6, torch.device("cpu"))
    assert list(islice(steps, 600)) == [24] * 600
    state = (torch.zeros(2, 4, 8),) * 2
    scores, _ = model.eval()(streams.t()[:6], state)
    assert (scores.argmax(1) == streams.t()[1:7].flatten()).float().mean() > 0.9


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("data", "model"),
    [("mnist", "lenet5_modern"), pytest.param("cifar10", "resnet20", marks=pytest.mark.slow)],  # unpacked first
)
def test_the_usual_script_sees_the_same_images(data: str, model: str, real_data: Path, tmp_path: Path):
    words = (f"model={model}", f"data={data}", "data.mean=null", "data.std=null", "logger=none", "trainer=cpu")
    built, config = built_for(words, tmp_path)
    dataset, root = built.data.dataset, str(unpacked_folder(data, config["data"]["dir"]))
    statistics = dataset.preprocessing["mean"], dataset.preprocessing["std"]
    theirs = usual.training_set(data, root, *statistics, augmented=False)
    assert len(theirs) == {"mnist": 60_000, "cifar10": 50_000}[data]
    test = type(theirs)(root, train=False, transform=theirs.transform)
    ours, labels = next(iter(dataset.test_loader()))
    for index in range(len(labels)):
        image, label = test[index]
        assert label == labels[index]
        assert torch.allclose(image, ours[index], atol=1e-6)


def test_the_usual_script_trains_on_shuffled_batches():
    torch.manual_seed(0)
    inputs = torch.randn(40, 3)
    images = torch.utils.data.TensorDataset(inputs, (inputs[:, 0] > 0).long())
    model = torch.nn.Linear(3, 2)
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    steps = usual.training_steps(model, torch.nn.functional.cross_entropy, optimizer, images, 16, torch.device("cpu"))
    assert list(islice(steps, 6)) == [16, 16, 8] * 2
    steps.close()
    epochs = torch.cat(seen[:3]), torch.cat(seen[3:])
    for epoch in epochs:
        assert not torch.equal(epoch, inputs)
        assert torch.equal(epoch.sort(0).values, inputs.sort(0).values)
    assert not torch.equal(*epochs)
    with torch.no_grad():
        assert (model(inputs).argmax(1) == (inputs[:, 0] > 0)).float().mean() > 0.8


def test_only_steps_after_the_warm_up_are_timed():
    taken = []

    def steps() -> Iterator[int]:
        while True:
            time.sleep(0.15 if len(taken) < WARM_UP else 0.005)
            taken.append(1)
            yield 1

    # Slower where the machine is busy; with the warm-up it would be 20.
    assert 40 < samples_per_second(steps(), 10, torch.device("cpu")) <= 200
    assert len(taken) == WARM_UP + 10


def test_our_speed_is_that_of_the_steps_after_the_warm_up(tmp_path: Path):
    assert 50 < our_speed(SMALL, tmp_path) < 10**6


def test_the_parts_of_a_step_are_the_whole_step(tmp_path: Path):
    shares = shares_of_a_step(SMALL, tmp_path)
    assert sum(shares.values()) == pytest.approx(100)
    assert min(shares.values()) > -1
    assert shares["forward, loss and metrics"] + shares["backward"] > 20


MEASURED = Measured(
    replace(SMALL, of_bare=0.9, of_usual=2.0),
    {"bare": [100.0, 200.0, 400.0], "zoo": [95.0, 180.0, 300.0], "usual": [50.0, 90.0, 200.0]},
)


def test_ratios_are_taken_within_a_round():
    assert MEASURED.ratios("bare") == [0.75, 0.9, 0.95]
    assert MEASURED.ratios("usual") == [1.5, 1.9, 2.0]
    assert (MEASURED.reached("bare"), MEASURED.reached("usual")) == (True, False)
    assert MEASURED.cells() == [
        "digits", "200", "180", "90", "0.90 (0.75–0.95) ✓ ≥ 0.9", "1.90 (1.50–2.00) ✗ ≥ 2.0",
    ]  # fmt: skip


def test_what_nothing_is_expected_of_gets_no_mark():
    measured = replace(MEASURED, case=SMALL, waiting=41.6)
    assert measured.reached("usual")
    assert measured.cells()[4:] == ["0.90 (0.75–0.95)", "1.90 (1.50–2.00)", "42 %"]
    assert measured.titles() == ["case", "bare", "zoo", "usual", "zoo / bare", "zoo / usual", "GPU waits"]
    assert len(measured.cells()) == len(measured.titles())


def test_the_report_says_on_what():
    text = report(torch.device("cpu"), 3, [MEASURED], {"digits": {"backward": 60.0, "optimizer": 40.0}})
    assert f"torch {torch.__version__.split('+')[0]}" in text
    assert "medians of 3 rounds" in text
    assert f"`digits`: `{' '.join(DIGITS)} trainer=cpu`, 5 steps" in text
    assert ("no instructions for bfloat16" in text) != native_bf16()
    assert "| backward  | 60.0   |" in text
    assert "decoding" not in text
    search = replace(SMALL, name="search", steps=50, of_usual=8.0, kind=DECODING)
    decoded = Measured(search, {"zoo": [120.0], "usual": [10.0]}, differing=(1, 50))
    both = report(torch.device("cpu"), 3, [MEASURED, decoded], {"digits": {"backward": 60.0, "optimizer": 40.0}})
    assert both.startswith(text)
    row = "| search | 120 | 10.0  | 12.00 (12.00–12.00) ✓ ≥ 8.0 | 1 of 50            |"
    assert row in both
    assert "trainer=cpu`, 50 sentences the usual way" in both
    assert row in report(torch.device("cpu"), 3, [decoded], {})


def test_tables_are_aligned():
    assert table(["a", "long title"], [["1", "2"], ["wider", "3"]]).splitlines() == [
        "| a     | long title |",
        "| ----- | ---------- |",
        "| 1     | 2          |",
        "| wider | 3          |",
    ]


def test_the_page_keeps_all_but_the_device_s_tables():
    page = PAGE.read_text(encoding="utf-8")
    for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
        changed = page_with(page, device, r"new \1 text")
        assert changed.count(r"new \1 text") == 1
        assert page_with(changed, device, "") == page_with(page, device, "")
        assert page_with(changed, other, "") != page_with(page, other, "")
    with pytest.raises(ZooError, match=r"performance\.md has lost the markers"):
        page_with(page.replace("<!-- /cpu -->", ""), "cpu", "x")


def test_the_page_is_written(tmp_path: Path):
    page = tmp_path / "performance.md"
    with pytest.raises(ZooError, match="--write is for a checkout"):
        write_page(page, "cpu", "new text")
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(page, "cpu", "new text")
    assert page.read_text(encoding="utf-8") == page_with(PAGE.read_text(encoding="utf-8"), "cpu", "new text")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_case_is_one_that_can_be_typed(device: str):
    found = cases(device)
    assert len({case.name for case in found}) == len(found)
    for case in found:
        if case.kind is LOADING:
            assert find_release(*case.words)
        else:
            checked_config(compose([*case.words, *case.settings]))
        assert case.of_bare is None or "bare" in case.kind.others
        assert case.of_usual is None or "usual" in case.kind.others


def test_the_expectation_against_the_usual_script_stands_where_the_cpu_is_best():
    resnet = {case.name: case.of_usual for case in cases("cpu") if case.name.startswith("resnet20")}
    assert resnet == {"resnet20": None if native_bf16() else 1.3, "resnet20_bf16": 1.8 if native_bf16() else None}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"only": ["lenet6"]}, "unknown case on cpu 'lenet6': did you mean lenet5"),
        ({"rounds": 0}, "give 1 or more"),
        ({"write": True, "steps": 3}, "leave out --only and --steps"),
    ],
)
def test_what_cannot_be_timed_is_told_in_a_line(settings: dict[str, Any], told: str):
    with pytest.raises(ZooError, match=told):
        benchmark("cpu", **settings)


@pytest.mark.slow
@pytest.mark.realdata
def test_the_command(real_data: Path):
    command = [sys.executable, "scripts/benchmark.py", "--device", "cpu", "--rounds", "1", "--steps", "3", "--only"]
    ended = subprocess.run([*command, "lenet6"], cwd=CHECKOUT, capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("benchmark: unknown case")
    names = ["lenet5_modern", "resnet20"]
    ended = subprocess.run([*command, *names], cwd=CHECKOUT, capture_output=True, text=True, timeout=900)
    assert ended.returncode in (0, 1), ended.stderr
    assert not ended.stderr.strip()
    for name in names:
        assert f"\n| {name}" in ended.stdout


@pytest.mark.gpu
@pytest.mark.realdata
def test_on_a_gpu(real_data: Path, capsys):
    benchmark("cuda", rounds=1, steps=30, only=["resnet20"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| resnet20"))
    assert 0 <= float(row.split("|")[-2].removesuffix(" % ")) < 100
