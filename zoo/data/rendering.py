"""Pictures of environments, for people to look at."""

from pathlib import Path

import gymnasium
import numpy as np

from zoo.data.minatar import MinAtarGame

# Okabe and Ito's palette: told apart by colour-blind readers too.
_COLOURS = np.array(
    [(0, 0, 0), (0, 114, 178), (213, 94, 0), (240, 228, 66), (0, 158, 115), (204, 121, 167), (230, 159, 0),
     (86, 180, 233), (255, 255, 255), (128, 128, 128), (160, 82, 45)], np.uint8
)  # fmt: skip
_CELL = 16  # pixels of a board's cell


def picture(environment: gymnasium.Env) -> np.ndarray | None:
    """Returns what a person would see, uint8 `(H, W, 3)`; None for an environment that nothing here can draw."""
    inner = environment.unwrapped
    if isinstance(inner, MinAtarGame):
        return _board(inner)
    if hasattr(inner, "ale"):
        return inner.get_wrapper_attr("ale").getScreenRGB()
    if environment.spec is not None and environment.spec.id.startswith("CartPole"):
        return _cartpole(inner)
    return None


def _board(game: MinAtarGame) -> np.ndarray:
    """Draws a board; where a cell holds several things, the one of the highest channel."""
    state = game.game.state()  # (10, 10, C)
    highest = (state * (np.arange(state.shape[2]) + 1)).max(axis=2)
    return _COLOURS[highest].repeat(_CELL, axis=0).repeat(_CELL, axis=1)


def _cartpole(environment: gymnasium.Env) -> np.ndarray:
    """Draws cart and pole; the track is 4.8 wide, the pole 1 long."""
    from PIL import Image, ImageDraw  # on first use

    position, _, angle, _ = np.asarray(environment.get_wrapper_attr("state"))
    width, height, ground = 300, 200, 160
    x = width * (0.5 + position / 4.8)
    tip = (x + 100 * np.sin(angle), ground - 100 * np.cos(angle))
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.line((0, ground + 8, width, ground + 8), fill="grey", width=1)
    draw.rectangle((x - 20, ground - 8, x + 20, ground + 8), fill=tuple(_COLOURS[1].tolist()))
    draw.line((x, ground, *tip), fill=tuple(_COLOURS[2].tolist()), width=6)
    return np.asarray(image)


def write_gif(frames: list[np.ndarray], path: Path, frames_per_second: float = 30) -> None:
    """Writes pictures `(H, W, 3)` as an animated GIF that repeats for ever."""
    from PIL import Image  # on first use

    first, *others = (Image.fromarray(frame).quantize(32) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=round(1000 / frames_per_second), loop=0)
