"""The verbs of the `zoo` command: what each takes, and which floor below does the work.

Nothing here imports torch before a verb needs it.
"""

import argparse
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from zoo.errors import ZooError


class _Parser(argparse.ArgumentParser):
    """The parser of one verb: its page of help, and errors that are ours, one line.

    Args:
        verb: The word after `zoo`.
        usage: What follows it.
        about: What it does, in lines of at most 80 columns.
        examples: Whole commands, and what they do where that is not plain.
    """

    def __init__(self, verb: str, usage: str, about: str, examples: str) -> None:
        super().__init__(
            prog=f"zoo {verb}",
            usage=f"zoo {verb} {usage}".rstrip(),
            description=about,
            epilog=f"examples:\n{examples}",
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=24, width=min(80, shutil.get_terminal_size().columns)
            ),
        )

    def error(self, message: str) -> NoReturn:
        raise ZooError(f"{self.prog.removeprefix('zoo ')}: {message}; `{self.prog} --help` shows examples")

    def add_words(self, name: str, words: str, meaning: str) -> None:
        self.add_argument(name, nargs="*", default=[], metavar=words, help=meaning)

    def add_config_dir(self) -> None:
        self.add_argument("--config-dir", type=Path, action="append", default=[], metavar="DIR",
                          help="config files of your own, beside the shipped ones")  # fmt: skip

    def add_imports(self) -> None:
        self.add_argument("--imports", action="append", default=[], metavar="MODULE",
                          help="a module of your own that defines the model")  # fmt: skip

    def add_quiet(self) -> None:
        self.add_argument("-q", "--quiet", action="store_true", help="no progress, one line at the end")

    def parse_with_overrides(self, arguments: list[str]) -> argparse.Namespace:
        """Parses flags that stand anywhere among the `key=value` words, which become `overrides`.

        Raises:
            ZooError: A flag that is not this verb's.
        """
        self.add_words("overrides", "key=value", "settings; `zoo info lenet5` explains every key")
        flags, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            raise ZooError(f"{self.prog.removeprefix('zoo ')} has no flag {unknown[0]}; settings are typed as "
                           f"key=value, and `{self.prog} --help` shows its flags")  # fmt: skip
        if getattr(flags, "quiet", False):
            flags.overrides.append("trainer.enable_progress_bar=false")
        return flags


def _train(arguments: list[str], become: bool) -> int:
    if any(word in ("--cfg", "-c", "--info", "--hydra-help", "--resolve") for word in arguments):
        from zoo.training.hydra_main import train_with_hydra

        return train_with_hydra(arguments)
    parser = _Parser(
        "train",
        "[key=value …] [flags]",
        "Trains a model, tests it, and writes a run folder: config, metrics, figures,\n"
        "checkpoints, release. Ctrl-C or a kill loses nothing: resume=RUN goes on.",
        "  zoo train                                 LeNet-5 on real digits, no download,\n"
        "                                            under a minute\n"
        "  zoo train model=lenet5_modern data=mnist optimizer.lr=0.002\n"
        "  zoo train experiment=lenet5_mnist seed=2  the paper's protocol, its number\n"
        "                                            printed beside ours\n"
        "  zoo train -m model=lenet5,lenet5_modern seed=1,2,3\n"
        "                                            a sweep: all six runs, ranked; typed\n"
        "                                            again it goes on\n"
        "  zoo train resume=runs/lenet5_digits/…     go on exactly where a run was killed\n"
        "  zoo train from_run=runs/lenet5_digits/… seed=2\n"
        "                                            a new run with that one's config\n"
        "  zoo train init_from=lenet5-mnist          begin with the weights of a release\n"
        "\n"
        "--cfg job, --info and --hydra-help are passed on to Hydra.",
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="every combination of comma-separated values")
    parser.add_quiet()
    parser.add_argument("--prepare", action="store_true",
                        help="make the run's folder and print its path: others start `python -m zoo.training.run "
                             "FOLDER`, torchrun or srun")  # fmt: skip
    parser.add_config_dir()
    flags = parser.parse_with_overrides(arguments)

    from zoo.training.processes import started_from_outside
    from zoo.training.start import prepare_run, replace_process, train_in_subprocess

    if (count := started_from_outside()) is not None:
        raise ZooError(f"{count} processes were started, and each would make a run of its own: make one beforehand "
                       "with `zoo train --prepare`, and start `python -m zoo.training.run RUN`")  # fmt: skip
    if flags.multirun and flags.prepare:
        raise ZooError("--prepare is for a single run: leave -m out")
    if flags.multirun:
        from zoo.training.sweep import sweep

        return sweep(flags.overrides, flags.config_dir)
    run = prepare_run(flags.overrides, flags.config_dir)
    if flags.prepare:
        run.fresh.unlink(missing_ok=True)  # asked for, it stays whatever becomes of its first start
        print(run.path)
        return 0
    if become:
        replace_process(run)
    return train_in_subprocess(run)


def _evaluate(arguments: list[str], become: bool) -> int:
    parser = _Parser(
        "evaluate",
        "RUN|RELEASE [key=value …] [flags]",
        "Measures released weights again, on their own test split or on another dataset.",
        "  zoo evaluate lenet5-mnist\n"
        "  zoo evaluate lenet5-mnist data=digits     on another dataset\n"
        "  zoo evaluate lenet5-mnist trainer=gpu     on other hardware",
    )
    parser.add_argument("release", metavar="RUN|RELEASE", help="a run folder, a release folder or a release's name")
    parser.add_config_dir()
    flags = parser.parse_with_overrides(arguments)

    from zoo.training.evaluate import evaluate

    evaluate(flags.release, flags.overrides, flags.config_dir)
    return 0


def _list(arguments: list[str], become: bool) -> int:
    from zoo.training.listing import KINDS, print_listing

    parser = _Parser(
        "list",
        "KIND [PATTERN]",
        f"Shows in a table what there is, one line each.\n\n{textwrap.fill('KIND: ' + ', '.join(KINDS), 80)}",
        "  zoo list models\n  zoo list experiments 'resnet*'",
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help="what to show: one of those above")
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN",
                        help="only names that match; * stands for any part")  # fmt: skip
    flags = parser.parse_args(arguments)
    print_listing(flags.kind, flags.pattern)
    return 0


def _info(arguments: list[str], become: bool) -> int:
    parser = _Parser(
        "info",
        "NAME",
        "Shows a model, dataset, experiment or release in full: paper, layers, numbers\n"
        "beside the paper's, commands, every config key and what it means.",
        "  zoo info lenet5\n  zoo info lenet5_mnist\n  zoo info lenet5-mnist",
    )
    parser.add_argument("name", metavar="NAME", help="of a model, dataset, experiment or release")
    flags = parser.parse_args(arguments)

    from zoo.training.information import print_information

    print_information(flags.name)
    return 0


def _predict(arguments: list[str], become: bool) -> int:
    parser = _Parser(
        "predict",
        "RUN|RELEASE [INPUT …] [flags]",
        "Uses a model on input of your own: pictures, text, sentences, episodes to play.\n"
        "`zoo predict RELEASE --help` has the input and flags that go with a release.",
        "  zoo predict lenet5-mnist digit.png\n"
        '  zoo predict lstm_small-ptb "the company said" --max-tokens 30\n'
        '  zoo predict rnnsearch_small-multi30k_de_en "Ein Hund läuft."\n'
        "  zoo predict dqn_mlp-cartpole --gif game.gif",
    )
    parser.add_argument("release", metavar="RUN|RELEASE", help="a run folder, a release folder or a release's name")
    parser.add_imports()
    if any(word in ("-h", "--help") for word in arguments) and not arguments[0].startswith("-"):
        from zoo.training.information import print_flags

        print_flags(arguments[0])
        return 0
    # The release says which further flags there are, so it is looked for first; a flag before it would hide it.
    known, others = parser.parse_known_args(arguments)
    if early := [word for word in arguments[: arguments.index(known.release)] if word in others]:
        raise ZooError(f"zoo predict takes the run or release first, then {early[0]}; `zoo predict --help` shows "
                       "examples")  # fmt: skip

    from zoo.training.imports import import_modules

    import_modules(known.imports)
    from zoo.pretrained.pipelines import answer_options, pipeline

    parser.add_words("inputs", "INPUT", "what the model is asked")
    options = {f"--{name.replace('_', '-')}": kind for name, kind in answer_options(known.release).items()}
    for option, kind in options.items():
        how: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind}
        parser.add_argument(option, default=argparse.SUPPRESS, **how)
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


def _tune(arguments: list[str], become: bool) -> int:
    parser = _Parser(
        "tune",
        "SEARCH [key=value …] [flags]",
        "Looks for a good configuration, in the space that configs/search/SEARCH.yaml\n"
        "describes; the validation split decides. Typed again it goes on.",
        "  zoo tune image_classification data.validation=200 --trials 20",
    )
    parser.add_argument("search", metavar="SEARCH", help="a file of configs/search")
    parser.add_argument("--trials", type=int, metavar="N", help="how many configurations to try, in all")
    parser.add_argument("--storage", metavar="URL", help="a database that several machines share")
    parser.add_quiet()
    parser.add_config_dir()
    flags = parser.parse_with_overrides(arguments)

    from zoo.training.tune import tune

    return tune(flags.search, flags.overrides, flags.config_dir, flags.trials, flags.storage)


def _compare(arguments: list[str], become: bool) -> int:
    parser = _Parser(
        "compare",
        "RUN|SWEEP … [flags]",
        "Ranks configurations, averages their seeds and draws their curves, from any\nnumber of run and sweep folders.",
        "  zoo compare runs/lenet5_digits\n  zoo compare runs/lenet5_* --csv",
    )
    parser.add_argument("paths", nargs="+", metavar="RUN|SWEEP", type=Path, help="folders of runs or of sweeps")
    parser.add_argument("--out", type=Path, metavar="PICTURE", help="instead of comparison.png in the current folder")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--json", action="store_true", help="the ranking for programs, and no picture but with --out")
    kinds.add_argument("--csv", action="store_true", help="the same as a table")
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


def _verify(arguments: list[str], become: bool) -> int:
    parser = _Parser(
        "verify",
        "[RUN|RELEASE …] [flags]",
        "Measures releases again and shows the numbers beside those of their cards and\n"
        "records. Without a name: every release that ships.",
        "  zoo verify\n  zoo verify lenet5-mnist",
    )
    parser.add_words("releases", "RUN|RELEASE", "run folders, release folders or names of releases")
    parser.add_imports()
    flags = parser.parse_intermixed_args(arguments)

    from zoo.training.imports import import_modules
    from zoo.training.verify import verify

    import_modules(flags.imports)
    return 0 if verify(flags.releases) else 1


def _doctor(arguments: list[str], become: bool) -> int:
    _Parser(
        "doctor",
        "",
        "Says what is installed, which hardware and which datasets were found, and what\nto do about what is wrong.",
        "  zoo doctor",
    ).parse_args(arguments)

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
