"""`driftloop-train`: what workflow steps in the user's image run."""

import argparse
import os
import sys
from pathlib import Path

from driftloop.contract.columns import TARGET, read_uses
from driftloop.contract.functions import FUNCTION_PORT
from driftloop.services.trainer.call import TrainerCall, TrainerEvaluation, run_call, run_evaluation
from driftloop.services.trainer.columns import check_features
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.images import IMAGE_MODES, ImageForm, convert_images
from driftloop.services.trainer.program import UserProgram
from driftloop.services.trainer.progress import PROGRESS_FILE
from driftloop.services.trainer.serving import TrainerMonitor, serve_function
from driftloop.services.trainer.split import split_rows


def main(arguments: list[str] | None = None) -> None:
    """Exit 0, 124 when a time is over, or 1 with the user's lines of a traceback, one `error:` line and a hint."""
    words, program = _split_program(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    options = parser.parse_args(words)
    root = options.code.resolve()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        match options.command:
            case "call":
                run_call(
                    TrainerCall(
                        run=_choose_code(parser, options, program),
                        parameters=options.parameters,
                        data=options.data,
                        out=options.out,
                        code=root,
                        metadata=options.metadata,
                        metrics=options.metrics,
                        trial=options.trial,
                        timeout=options.timeout,
                        seed=options.seed,
                        home=options.home,
                        checkpoint=options.checkpoint,
                        resume=options.resume,
                        progress=Path(file) if (file := os.environ.get(PROGRESS_FILE)) else None,
                    )
                )
            case "evaluate":
                run_evaluation(
                    TrainerEvaluation(
                        run=_choose_code(parser, options, program),
                        model=options.model,
                        production=options.production,
                        data=options.data,
                        out=options.out,
                        code=root,
                        timeout=options.timeout,
                        rows=options.rows,
                        target=options.target,
                        uses=read_uses(options.columns),
                    )
                )
            case "monitor":
                serve_function(TrainerMonitor(options.settings, root, options.port, options.memory))
            case "images":
                form = ImageForm.parse(options.size, options.mode)
                counts = convert_images(
                    options.data, options.out, form, labels=options.labels, target=options.target
                )
                for line in counts.describe():
                    print(line)
                print(f"{counts.rows} images of {options.size}, mode {options.mode}")
            case _:
                if options.features is not None:
                    check_features(
                        options.data,
                        options.features,
                        options.target,
                        read_uses(options.columns),
                        mixed=options.mixed,
                    )
                rows = split_rows(options.data, options.out, options.heldout)
                print(f"{rows['train']} rows to train on, {rows['heldout']} held out")
    except TrainerError as error:
        sys.stdout.flush()
        sys.stderr.write(error.trace)
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint is not None:
            sys.stderr.write(f"hint: {error.hint}\n")
        sys.stderr.flush()
        # threads or children of the user's code must not keep a failed step alive
        os._exit(error.code)
    sys.stdout.flush()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `driftloop-train`."""
    parser = argparse.ArgumentParser(
        prog="driftloop-train", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)

    one = commands.add_parser(
        "call",
        help="run a data step or a training function; with `-- WORD …` a program that trains",
    )
    one.add_argument("run", metavar="MODULE:FUNCTION", nargs="?")
    one.add_argument("--parameters", default="{}", help="JSON object")
    _add_folders(one, "data", "out")
    one.add_argument(
        "--metadata", type=Path, help="path of metadata.yaml to write; only for training"
    )
    one.add_argument(
        "--metrics",
        type=Path,
        help="folder to write `trial` and `metrics` to; only for training",
    )
    one.add_argument("--trial", default="0", help="number of the trial")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument(
        "--home", default="", help="location of the trial, written as the parameter `home`"
    )
    one.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="folder for the progress of the function"
    )
    one.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="folder with the progress of an earlier attempt, if there was one",
    )

    two = commands.add_parser(
        "evaluate",
        help="measure the candidate and production on held-out rows, by a function, or with `-- WORD …` by a program",
    )
    two.add_argument("run", metavar="MODULE:FUNCTION", nargs="?")
    _add_folders(two, "model", "production", "data", "out")
    two.add_argument(
        "--rows", type=int, help="write so many held-out rows to rows.json, as callers send them"
    )
    for command in (one, two):
        command.add_argument("--timeout", type=float, help="seconds")
        command.add_argument("--code", type=Path, default=Path(), help="folder of the user's code")

    four = commands.add_parser(
        "monitor", help="answer a detector's windows by a function, until it is stopped"
    )
    four.add_argument("--settings", required=True, help="JSON object")
    four.add_argument(
        "--port",
        type=int,
        default=FUNCTION_PORT,
        help="port of the loopback (default: %(default)s)",
    )
    four.add_argument("--memory", type=int, help="bytes of memory of the container")
    four.add_argument("--code", type=Path, default=Path(), help="folder of the user's code")

    three = commands.add_parser(
        "split", help="split rows into training and held-out rows, by the hash of the row"
    )
    _add_folders(three, "data", "out")
    three.add_argument("--heldout", type=float, default=0.2, help="share of the rows to hold out")
    three.add_argument(
        "--features", help="columns that the detectors get: looked for in the recent files first"
    )
    three.add_argument(
        "--mixed", action="store_true", help="the detectors take columns of every type"
    )
    four = commands.add_parser(
        "images", help="make arrays of folders of images: a data step's command"
    )
    _add_folders(four, "data", "out")
    four.add_argument("--size", required=True, metavar="WxH", help="size that images are scaled to")
    four.add_argument("--mode", choices=IMAGE_MODES, default="RGB", help="gray (L) or color")
    four.add_argument(
        "--labels", metavar="FILE", help="name of tables with the columns `file` and the target"
    )
    four.add_argument("--target", default=TARGET, help="name of the array with the right answers")
    four.set_defaults(code=Path())
    for command in (two, three):
        command.add_argument("--target", default=TARGET, help="column with the right answers")
        command.add_argument("--columns", default="{}", help="what columns are, as JSON")
    three.set_defaults(code=Path())
    return parser


def _split_program(arguments: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the arguments, and the words of the user's program after `--`."""
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    return arguments[:at], tuple(arguments[at + 1 :])


def _choose_code(
    parser: argparse.ArgumentParser, options: argparse.Namespace, program: tuple[str, ...]
) -> str | UserProgram:
    if (options.run is None) == (not program):
        parser.error("either MODULE:FUNCTION or `-- WORD …` is needed, not both")
    return (
        str(options.run)
        if options.run is not None
        else UserProgram(program, options.code.resolve())
    )


def _add_folders(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")


if __name__ == "__main__":
    main()
