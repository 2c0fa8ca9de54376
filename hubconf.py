"""The shipped releases for torch.hub: `torch.hub.load(CHECKOUT, "lenet5_mnist", source="local")`.

Each is named after its release, with an underscore for the hyphen, and takes what `zoo.load_pretrained` takes.
"""

from functools import partial

from zoo.pretrained.hub import list_pretrained as _list_pretrained
from zoo.pretrained.hub import load_pretrained as _load_pretrained

dependencies = ["torch", "safetensors", "platformdirs"]

for _entry in _list_pretrained():
    if _entry.source == "zoo":
        _load = partial(_load_pretrained, _entry.name)
        _load.__doc__ = f"{_entry.name}: {_entry.metric}."
        globals()[_entry.name.replace("-", "_")] = _load
