"""Ends trials of a search that fall behind the others."""

from lightning.pytorch import Callback, LightningModule, Trainer

from zoo.errors import PrunedError, ZooError


class Pruning(Callback):
    """Tells Optuna how a trial is doing after each epoch, and ends it where Optuna says so.

    Args:
        storage: URL of the study's storage.
        study: The study's name.
        trial: The trial's number.
        monitor: The metric that is watched, e.g. `val/error`.

    Raises:
        ZooError: Optuna is not installed, or the study cannot be opened.
    """

    def __init__(self, storage: str, study: str, trial: int, monitor: str) -> None:
        try:
            import optuna

            self._study = optuna.load_study(study_name=study, storage=storage)
            self._trial = optuna.Trial(self._study, self._study.trials[trial]._trial_id)
        except ImportError:
            raise ZooError('a search needs Optuna: pip install "landmark-zoo[sweep]"') from None
        except (KeyError, IndexError) as error:
            raise ZooError(f"{storage} has no trial {trial} of a study {study}") from error
        self.monitor = monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports, where that is a number.

        Raises:
            PrunedError: The trial is not worth going on with.
        """
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None or not trainer.is_global_zero:
            return
        self._trial.report(float(value), trainer.current_epoch)
        if self._trial.should_prune():
            after = f"after epoch {trainer.current_epoch + 1}"
            raise PrunedError(f"{self.monitor} {float(value):.4g} {after} is behind the other trials")
