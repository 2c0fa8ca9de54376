"""The `zoo` command: what it says of itself, and the way from what was typed to a verb and from an error to a line."""

import contextlib
import os
import sys
from collections.abc import Sequence

from zoo.errors import ZooError, nearest
from zoo.verbs import VERBS

HELP = """\
zoo: landmark deep-learning papers, one command away

  zoo train [key=value …]                   train, test, write a run folder
  zoo evaluate RUN|RELEASE [key=value …]    measure released weights again
  zoo predict RUN|RELEASE INPUT…            use a model on input of your own
  zoo list models|data|experiments|pretrained [PATTERN]
                                            what there is; optimizers and other
                                            parts too, see `zoo list --help`
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

`zoo train --help` has the flags of training, and so for every command;
`zoo info lenet5` explains every config key. ZOO_DEBUG=1 shows tracebacks."""


def _dispatch(arguments: list[str], become: bool) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
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
        with contextlib.suppress(SystemExit):  # which argparse raises after a page of help
            return VERBS[verb](rest, become)
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
