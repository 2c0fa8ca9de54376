"""Reading a text of the user's."""

from pathlib import Path

from zoo.errors import ZooError


def read_text_file(path: Path, key: str) -> str:
    """Reads a text of the user's, in which lines end as they do on Linux.

    Args:
        path: A file in UTF-8.
        key: Where the path comes from, for the error.

    Raises:
        ZooError: There is no such file, it is empty, or it is no UTF-8 text.
    """
    path = path.expanduser()
    if not path.is_file():
        raise ZooError(f"{key}={path} {'is no file' if path.exists() else 'does not exist'}: name a text file in UTF-8")
    try:
        # Without the mark that some editors put before the first letter. A carriage return alone, which Python would
        # take for the end of a line, is left in: where two files belong together line by line, it would part them.
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ZooError(
            f"{key}={path} is no UTF-8 text (byte {error.start:,}): convert it, e.g. iconv -f latin1 -t utf-8"
        ) from error
    except OSError as error:
        raise ZooError(f"{key}={path} cannot be read: {error.strerror}") from error
    if not text.strip():
        raise ZooError(f"{key}={path} is empty: expected a text")
    return text
