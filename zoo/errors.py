"""Errors a user can act on: one line that says what is wrong, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_NAMES = 12  # that an error lists


class ZooError(Exception):
    """A mistake or a condition outside the program, told in one line and shown without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class PrunedError(ZooError):
    """A trial of a search that is not worth going on with."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Returns up to `count` of the `known` names that look most like `name`, best first."""
    return get_close_matches(name, list(known), n=count, cutoff=0.5)


def unknown(kind: str, name: str, known: Iterable[str]) -> ZooError:
    """Builds the error for a name that is in no list: the nearest names, or the first few.

    Args:
        kind: What the name should have named, e.g. `"model"`.
        name: The name that was given.
        known: All names that exist.
    """
    known = sorted(known)
    close = nearest(name, known)
    more = f" … ({len(known)} in all)" if len(known) > _MOST_NAMES else ""
    hint = (
        f"did you mean {' or '.join(close)}?"
        if close
        else f"there is {', '.join(known[:_MOST_NAMES]) or 'none'}{more}."
    )
    return ZooError(f"unknown {kind} {name!r}: {hint}")


def unknown_key(where: str, key: str, known: Iterable[str]) -> ZooError:
    """Builds the error for a key that does not belong where it stands: the nearest key, or all of them.

    Args:
        where: What the key was given to: the dotted path of its part of a config, or a constructor's name.
        key: The key that was given.
        known: All keys that belong there.
    """
    known = list(known)
    close = nearest(key, known, 1)
    hint = f"did you mean {where}.{close[0]}?" if close else f"it takes {', '.join(known) or 'none'}."
    return ZooError(f"unknown key {where}.{key}: {hint}")
