"""Plain Hydra entry point: python scripts/train.py [key=value …]; the same config tree as `zoo train`."""

from zoo.training.hydra_main import train_task

if __name__ == "__main__":
    train_task()
