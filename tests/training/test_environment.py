"""What a run ran on, also where it was stopped and went on elsewhere."""

import torch

from zoo.training.environment import earlier, environment

HERE = {"commit": "aaaa", "dirty": False, "versions": {"torch": "2.9"}, "hardware": {"device": "cpu"}}
CHANGED = HERE | {"commit": "bbbb", "dirty": True}
GPU = HERE | {"hardware": {"device": "cuda"}}


def test_a_run_from_its_beginning_has_no_earlier_start():
    assert earlier(None, HERE) == []
    assert environment(torch.device("cpu"), 1, ["zoo"], {"a": "b"})["earlier"] == []


def test_what_did_not_change_is_not_kept():
    assert earlier(HERE | {"command": ["zoo"], "earlier": []}, HERE | {"command": ["zoo", "train"]}) == []


def test_each_other_start_is_kept_once_in_order():
    second = GPU | {"earlier": earlier(HERE | {"earlier": []}, GPU)}
    assert second["earlier"] == [HERE]
    third = CHANGED | {"earlier": earlier(second, CHANGED)}
    assert third["earlier"] == [HERE, GPU]
    fourth = CHANGED | {"earlier": earlier(third, CHANGED)}
    assert fourth["earlier"] == [HERE, GPU]
    assert earlier(fourth, HERE) == [GPU, CHANGED]


def test_a_run_that_goes_on_keeps_it():
    before = environment(torch.device("cpu"), 1, ["zoo"], {})
    assert environment(torch.device("cpu"), 1, ["zoo"], {}, 1, before)["earlier"] == []
    before["commit"] = "another"
    (start,) = environment(torch.device("cpu"), 1, ["zoo"], {}, 1, before)["earlier"]
    assert start["commit"] == "another"
    assert set(start) == {"commit", "dirty", "versions", "hardware"}
