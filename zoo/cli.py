"""The `zoo` command: thin verbs over the floors below. Nothing here imports torch before a verb needs it."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from zoo.errors import ZooError, nearest

HELP = """\
zoo: landmark deep-learning papers, one command away

  zoo train [key=value …]                   train, test, write a run folder
  zoo evaluate RUN|RELEASE [key=value …]    measure released weights again
  zoo predict RUN|RELEASE INPUT…            use a model on input of your own
  zoo list models|data|experiments|pretrained [PATTERN]
                                            what there is
  zoo info NAME                             a model, dataset, experiment or
                                            release in full, every config key
  zoo tune SEARCH [key=value …]             look for a good configuration
  zoo compare RUN|SWEEP…                    rank configurations, average seeds,
                                            draw their curves
  zoo verify [RUN|RELEASE…]                 releases measured again, beside
                                            their cards and records
  zoo doctor                                what is installed, found and wrong
  zoo --version

Examples:
  zoo train                                 LeNet-5 on real digits, no download,
                                            under a minute
  zoo train model=lenet5_modern data=mnist optimizer.lr=0.002
  zoo train experiment=lenet5_mnist seed=2  the paper's protocol, its number
                                            printed beside ours
  zoo train -m model=lenet5,lenet5_modern seed=1,2,3
                                            a sweep: all six runs, ranked; typed
                                            again it goes on
  zoo train resume=runs/lenet5_digits/…     go on exactly where a run was killed
  zoo predict lenet5-mnist digit.png
  zoo predict lstm_small-ptb "the company said" --max-tokens 30
  python -c 'import zoo; model = zoo.load_pretrained("lenet5-mnist")'

Flags of `zoo train`:
  -m, --multirun      every combination of comma-separated values
  -q, --quiet         no progress, one line at the end
  --prepare           make the run's folder and print its path: others start
                      `python -m zoo.training.run FOLDER`, torchrun or srun
  --config-dir DIR    config files of your own, beside the shipped ones
  --cfg job, --info, --hydra-help           passed on to Hydra

Flags of `zoo tune`, besides -q and --config-dir:
  --trials N          how many configurations to try, in all
  --storage URL       a database that several machines share

Flags of `zoo compare`:
  --out PICTURE       instead of comparison.png in the current folder
  --json, --csv       the ranking for programs, and no picture but with --out

`zoo info lenet5` explains every config key. ZOO_DEBUG=1 shows tracebacks."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours: one line."""

    def error(self, message: str) -> NoReturn:
        raise ZooError(f"{self.prog.removeprefix('zoo ')}: {message}; `zoo --help` shows examples")


def _train(arguments: list[str], become: bool) -> int:
    if any(word in ("--cfg", "-c", "--info", "--hydra-help", "--resolve") for word in arguments):
        from zoo.training.hydra_main import train_with_hydra

        return train_with_hydra(arguments)
    parser = _Parser(prog="zoo train", add_help=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--config-dir", type=Path, action="append", default=[])
    flags, overrides = parser.parse_known_intermixed_args(arguments)
    if unknown := [word for word in overrides if word.startswith("-")]:
        raise ZooError(f"zoo train has no flag {unknown[0]}; `zoo --help` shows its flags")
    if flags.quiet:
        overrides.append("trainer.enable_progress_bar=false")

    from zoo.training.processes import started_from_outside
    from zoo.training.start import prepare_run, replace_process, train_in_subprocess

    if (count := started_from_outside()) is not None:
        raise ZooError(f"{count} processes were started, and each would make a run of its own: make one beforehand "
                       "with `zoo train --prepare`, and start `python -m zoo.training.run RUN`")  # fmt: skip
    if flags.multirun and flags.prepare:
        raise ZooError("--prepare is for a single run: leave -m out")
    if flags.multirun:
        from zoo.training.sweep import sweep

        return sweep(overrides, flags.config_dir)
    run = prepare_run(overrides, flags.config_dir)
    if flags.prepare:
        print(run.path)
        return 0
    if become:
        replace_process(run)
    return train_in_subprocess(run)


def _evaluate(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo evaluate", add_help=False)
    parser.add_argument("release", metavar="RUN|RELEASE")
    parser.add_argument("--config-dir", type=Path, action="append", default=[])
    flags, overrides = parser.parse_known_intermixed_args(arguments)

    from zoo.training.evaluate import evaluate

    evaluate(flags.release, overrides, flags.config_dir)
    return 0


def _list(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo list", add_help=False)
    kinds = ["models", "data", "experiments", "pretrained"]
    parser.add_argument("kind", choices=kinds, metavar="|".join(kinds))
    parser.add_argument("pattern", nargs="?", default="*")
    flags = parser.parse_args(arguments)

    from zoo.training.listing import print_listing

    print_listing(flags.kind, flags.pattern)
    return 0


def _info(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo info", add_help=False)
    parser.add_argument("name")
    flags = parser.parse_args(arguments)

    from zoo.training.information import print_information

    print_information(flags.name)
    return 0


def _predict(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo predict", add_help=False)
    parser.add_argument("release", metavar="RUN|RELEASE")
    parser.add_argument("--imports", action="append", default=[], metavar="MODULE")
    # The release says which further flags there are, so it is looked for first; a flag before it would hide it.
    known, others = parser.parse_known_args(arguments)
    if early := [word for word in arguments[: arguments.index(known.release)] if word in others]:
        raise ZooError(f"zoo predict takes the run or release first, then {early[0]}; `zoo --help` shows examples")

    from zoo.training.imports import import_modules

    import_modules(known.imports)
    from zoo.pretrained.pipelines import answer_options, pipeline

    parser.add_argument("inputs", nargs="*", metavar="INPUT")
    options = {f"--{name.replace('_', '-')}": kind for name, kind in answer_options(known.release).items()}
    for option, kind in options.items():
        parser.add_argument(option, type=kind, default=argparse.SUPPRESS)
    flags, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        flags_there_are = " ".join([*options, "--imports"])
        raise ZooError(f"zoo predict has no flag {unknown[0]} for {known.release}: it has {flags_there_are}")
    settings = vars(flags)
    del settings["imports"]
    predict = pipeline(settings.pop("release"))
    for piece in predict.answer(settings.pop("inputs"), **settings):
        print(piece, end="", flush=True)
    return 0


def _verify(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo verify", add_help=False)
    parser.add_argument("releases", nargs="*", metavar="RUN|RELEASE")
    flags = parser.parse_args(arguments)

    from zoo.training.verify import verify

    return 0 if verify(flags.releases) else 1


def _tune(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo tune", add_help=False)
    parser.add_argument("search", metavar="SEARCH")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--storage", metavar="URL")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--config-dir", type=Path, action="append", default=[])
    flags, overrides = parser.parse_known_intermixed_args(arguments)
    if unknown := [word for word in overrides if word.startswith("-")]:
        raise ZooError(f"zoo tune has no flag {unknown[0]}; `zoo --help` shows its flags")
    if flags.quiet:
        overrides.append("trainer.enable_progress_bar=false")

    from zoo.training.tune import tune

    return tune(flags.search, overrides, flags.config_dir, flags.trials, flags.storage)


def _compare(arguments: list[str], become: bool) -> int:
    parser = _Parser(prog="zoo compare", add_help=False)
    parser.add_argument("paths", nargs="+", metavar="RUN|SWEEP", type=Path)
    parser.add_argument("--out", type=Path, metavar="PICTURE")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--json", action="store_true")
    kinds.add_argument("--csv", action="store_true")
    flags = parser.parse_args(arguments)

    from zoo.training.compare import as_csv, as_json, compare, print_ranking

    comparison = compare(flags.paths)
    if flags.json or flags.csv:
        print(as_json(comparison) if flags.json else as_csv(comparison))
    else:
        print_ranking(comparison)
    if flags.out or not (flags.json or flags.csv):
        from zoo.training.compare_figure import save_comparison

        written = save_comparison(comparison, flags.out or Path("comparison.png"))
        if written and not (flags.json or flags.csv):
            print(written)
    return 0


def _doctor(arguments: list[str], become: bool) -> int:
    _Parser(prog="zoo doctor", add_help=False).parse_args(arguments)

    from zoo.training.doctor import doctor

    return 0 if doctor() else 1


VERBS: dict[str, Callable[[list[str], bool], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "list": _list,
    "info": _info,
    "tune": _tune,
    "compare": _compare,
    "verify": _verify,
    "doctor": _doctor,
}


def _dispatch(arguments: list[str], become: bool) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if arguments[0] == "--version":
        from zoo import __version__

        print(f"landmark-zoo {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        close = nearest(verb, VERBS, 1)
        raise ZooError(f"no command {verb!r}: " + (f"did you mean zoo {close[0]}?" if close else "see `zoo --help`."))
    if any(word in ("-h", "--help") for word in rest):
        print(HELP)
        return 0
    return VERBS[verb](rest, become)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after `zoo`. By default those of the command line: then `zoo train` becomes the training
            process itself; with words given it trains in a process of its own and returns.

    Returns:
        0, or what went wrong: 1 an error while running, 2 a mistake in what was typed, 130 Ctrl-C, 143 SIGTERM.
    """
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv), become=argv is None)
        sys.stdout.flush()
        return code
    except ZooError as error:
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        print(f"zoo: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # `zoo list models | head` closes our output early: no error. What is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # Whatever was not foreseen: still one line, and the way to the traceback.
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"zoo: {reason} (ZOO_DEBUG=1 shows the traceback)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
