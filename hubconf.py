"""The shipped releases for torch.hub: `torch.hub.load(CHECKOUT, "lenet5_mnist", source="local")`.

Each is named after its release, with an underscore for the hyphen, and takes what `zoo.load_pretrained` takes.
"""

from functools import partial as _partial

from zoo.pretrained.hub import load_pretrained as _load_pretrained
from zoo.pretrained.hub import shipped_releases as _shipped_releases

dependencies = ["torch", "safetensors", "platformdirs"]

for _name in _shipped_releases():
    globals()[_name.replace("-", "_")] = _partial(_load_pretrained, _name)
