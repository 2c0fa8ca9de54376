"""What goes to a run's train.log."""

import logging
import warnings

from zoo.training.processes import early_rank
from zoo.training.run_folder import RunFolder


def keep_log(run: RunFolder) -> None:
    """Sends what libraries have to say, warnings included, to train.log instead of the screen.

    Of several processes the main one writes what it does, all of them their errors.
    """
    handler = logging.FileHandler(run.log, encoding="utf-8", delay=True)
    handler.setLevel(logging.INFO if early_rank() == 0 else logging.ERROR)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    # What tasks publish they have added up over all processes themselves.
    warnings.filterwarnings("ignore", message=r"It is recommended to use `self.log\(.*sync_dist=True")
    for name in ("zoo", "py.warnings", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if name == "zoo" else logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # their report, where one is asked for
