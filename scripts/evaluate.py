"""Plain Hydra entry point: python scripts/evaluate.py release=RUN|RELEASE [key=value …]."""

from zoo.training.hydra_main import evaluate_task

if __name__ == "__main__":
    evaluate_task()
