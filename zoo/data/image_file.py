"""An image file on disk: opened for its size, decoded as far as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from zoo.data.pictures import in_channels, plain_picture
from zoo.errors import ZooError

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112  # EXIF's tag
# An image so marked is put upright by the one of Pillow's Image.Transpose that has this number.
_UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turns whatever is wrong with a file into its reason, a ZooError that does not name the file."""
    from PIL import UnidentifiedImageError

    try:
        yield
    except ZooError:
        raise
    except UnidentifiedImageError as error:
        raise ZooError("it is no image that Pillow knows") from error
    except OSError as error:
        raise ZooError(error.strerror or str(error)) from error
    # Pillow's decoders meet damaged files with ValueError, SyntaxError, struct.error and more.
    except Exception as error:
        raise ZooError(str(error) or type(error).__name__) from error


class ImageFile:
    """An image file that has been opened: its size is known, its pixels are not decoded yet.

    Use it in a `with` statement, which closes the file.

    Args:
        path: Of the file.

    Attributes:
        width: In pixels, of the image as it is shown: a photo's rotation mark is obeyed.
        height: In pixels.

    Raises:
        ZooError: The file cannot be read, or is no image; says why, without its name.
    """

    def __init__(self, path: str) -> None:
        from PIL import Image

        with _in_one_line():
            self._image = Image.open(path)
        self.width, self.height = self._image.size
        # Of a TIFF file Pillow tells the size as shown, and turns it when it decodes.
        self._lies = self._image.format != "TIFF" and self._orientation() >= 5
        if self._lies:
            self.width, self.height = self.height, self.width

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._image.close()

    def _orientation(self) -> int:
        try:
            return int(self._image.getexif().get(_ORIENTATION, 1))
        except Exception:
            return 1  # damaged remarks about an image do not spoil its pixels

    def load(self, at_least: tuple[int, int] | None = None) -> "Image.Image":
        """Decodes the pixels.

        Args:
            at_least: A width and a height that are enough. A JPEG may then be decoded to a half, a quarter or an eighth
                of its size, which costs that much less.

        Returns:
            An upright image in mode RGB.

        Raises:
            ZooError: The content is damaged; says how, without the file's name.
        """
        from PIL import Image

        with _in_one_line():
            if at_least is not None:
                self._image.draft(None, at_least[::-1] if self._lies else at_least)
            self._image.load()
            image = plain_picture(self._image)
            if (turn := _UPRIGHT.get(self._orientation())) is not None:
                image = image.transpose(Image.Transpose(turn))
            return in_channels(image, 3)
