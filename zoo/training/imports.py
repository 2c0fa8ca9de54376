"""Imports the user's own modules, so that their models and datasets are registered."""

import importlib
import os
import sys
from collections.abc import Sequence

from zoo.errors import ZooError


def import_modules(names: Sequence[str]) -> None:
    """Imports modules by name, looking in the working directory too, where classes that a config names may be as well.

    Raises:
        ZooError: One cannot be imported; says why.
    """
    if (names or os.environ.get("ZOO_ALLOW_TARGETS")) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            # A user's module can fail in any way; whatever it is, the line names the module.
            where = f"; looked in {os.getcwd()} and among what is installed"
            raise ZooError(f"imports={name} cannot be imported: {type(error).__name__}: {error}"
                           f"{where if isinstance(error, ModuleNotFoundError) else ''}") from error  # fmt: skip
