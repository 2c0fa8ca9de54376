"""Where metrics go besides metrics.csv; each knows the run's folder and keeps its own files there."""

import netrc
import os
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from zoo.errors import ZooError
from zoo.training.run_folder import write_atomically


class TensorBoard(TensorBoardLogger):
    """Event files in the run's `tensorboard/` folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, name="", version="tensorboard", default_hp_metric=False)


def _logged_in() -> bool:
    """Says whether `wandb login` has left a key, or the environment holds one; asks nobody for it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class WeightsAndBiases(WandbLogger):
    """A Weights & Biases run: online when logged in, else offline in the run's `wandb/` folder.

    `WANDB_MODE` decides where it is set. The W&B run's id is kept in `wandb_id`, so that a resumed run continues it.

    Args:
        folder: The run's folder.
        project: The W&B project.
        entity: The W&B team; by default the user's own.
        group: Shows runs of one group together.
        job_type: Of which kind the run is within its group.
        tags: Labels.
    """

    def __init__(
        self,
        folder: Path,
        project: str = "landmark-zoo",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
    ) -> None:
        id_file = folder / "wandb_id"
        if not id_file.exists():
            write_atomically(id_file, secrets.token_hex(4))
        offline = "WANDB_MODE" not in os.environ and not _logged_in()
        os.environ.setdefault("WANDB_SILENT", "true")
        (folder / "wandb").mkdir(exist_ok=True)
        super().__init__(
            project=project,
            name=f"{folder.parent.name}/{folder.name}",
            id=id_file.read_text(encoding="utf-8"),
            save_dir=folder,
            offline=offline,
            entity=entity,
            group=group,
            job_type=job_type,
            tags=tags or [],
            resume="allow",
        )


def write_text(loggers: list[Logger], name: str, text: str, step: int) -> None:
    """Hands a text that a model wrote to the loggers that show texts."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, text, step)
        elif isinstance(logger, WandbLogger):
            logger.log_text(name, columns=["text"], data=[[text]], step=step)


def finish(loggers: list[Logger], headline: dict[str, Any], figures: list[Path]) -> None:
    """Hands the loggers what is known at the end: the headline as summary, figures as media.

    Args:
        loggers: All loggers of the run.
        headline: The headline's `metric` and `value`.
        figures: PNG files.
    """
    for logger in loggers:
        if isinstance(logger, WeightsAndBiases):
            import wandb

            logger.experiment.summary[headline["metric"]] = headline["value"]
            logger.experiment.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
            logger.experiment.finish()  # this run's own: in a process with several, wandb.finish() may end another
        elif isinstance(logger, TensorBoard):
            from PIL import Image
            from torchvision.transforms.functional import pil_to_tensor

            for path in figures:
                with Image.open(path) as picture:
                    logger.experiment.add_image(f"figures/{path.stem}", pil_to_tensor(picture.convert("RGB")))
            logger.experiment.flush()
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
        else:
            logger.save()  # what a CSVLogger was told after training


def begin(loggers: list[Logger], config: dict[str, Any]) -> None:
    """Hands the loggers the run's config."""
    for logger in loggers:
        if isinstance(logger, WeightsAndBiases):
            try:
                logger.experiment.config.update(config, allow_val_change=True)
            except Exception as error:
                # W&B raises many kinds of errors here: no network, a wrong key, a forbidden project.
                reason = re.sub(r"\s+", " ", str(error))
                raise ZooError(
                    f"Weights & Biases did not start: {reason}; WANDB_MODE=offline works without it"
                ) from error
