"""Ends trials of a search that fall behind the others."""

import os

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from zoo.errors import PrunedError, ZooError

STORAGE = "ZOO_STUDY_STORAGE"  # set by `zoo tune` for its trials; a database's URL may hold a password


class Pruning(Callback):
    """Tells Optuna how a trial is doing after each validation, and ends it where Optuna says so.

    Without `ZOO_STUDY_STORAGE` in the environment it does nothing: a run that was made from a trial is none.

    Args:
        study: The study's name.
        trial: The trial's number.
        startup: How many trials run to their end before one is ended.
        monitor: The metric that is watched, e.g. `val/error`.

    Raises:
        ZooError: There is no such trial.
    """

    def __init__(self, study: str, trial: int, startup: int, monitor: str) -> None:
        self.monitor = monitor
        self._trial = None
        if not (storage := os.environ.get(STORAGE)):
            return
        import optuna

        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup)
        try:
            found = optuna.load_study(study_name=study, storage=storage, pruner=pruner)
            self._trial = optuna.Trial(found, found.trials[trial]._trial_id)
        except (KeyError, IndexError) as error:
            raise ZooError(f"there is no trial {trial} of a study {study}") from error

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports, where that is a number.

        Raises:
            PrunedError: The trial is not worth going on with.
        """
        value = trainer.callback_metrics.get(self.monitor)
        # The validation after training is of a trial that has nothing left to be spared.
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if self._trial is None or not fitting or value is None:
            return
        behind = False
        if trainer.is_global_zero:
            self._trial.report(float(value), trainer.current_epoch)
            behind = self._trial.should_prune()
        if trainer.strategy.broadcast(behind):
            after = f"after epoch {trainer.current_epoch + 1}"
            raise PrunedError(f"{self.monitor} {float(value):.4g} {after} is behind the other trials")
