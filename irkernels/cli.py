"""The command line: `irkernels complete FILE`, `irkernels reproduce E1`, `irkernels info`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a criterion failed, 2 bad input,
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_DTYPES = ("float32", "float64")
_MODELS = ("chain", "hadamard", "cp", "tucker", "tt", "ht")  # irkernels/complete/models.py, not imported to print help
_DEPTHS = "2 3 for chain and hadamard, else 1"
_EXPERIMENTS = {  # irkernels/experiments, not imported to print help
    "E1": "depth helps matrix completion",
    "E2": "norms go to infinity",
    "E3": "singular values are learned one at a time",
    "E4a": "small beginnings find the rank-1 tensor",
    "E4b": "components of a CP completion are learned one after another",
    "E4c": "natural images are near rank 1, randomised ones are not",
    "E5": "the deeper a Tucker factorization, the sharper its multilinear rank",
    "E6-matrix": "singular values of a depth-3 matrix completion are learned one after another",
    "E6-cp": "components of an order-3 CP completion are learned one after another",
    "E6-htf": "local components of a hierarchical completion are learned one after another",
    "E7": "with Adam, a ratio of norms as penalty finds the low rank at depth 1",
    "E8": "large learning rates trade the norm for flatness",
}
_SWEEP = """\
Any parameter of an experiment is an option; most take a list, and all combinations are trials of one fit where their
products have one shape: `irkernels reproduce E1 --depth 2,3 --init-scale 1e-3,1e-4`. An unknown one lists those there
are. Interrupted by Ctrl-C, the same command goes on where it was. DIR gets a picture, a page (.md) and numbers (.json)
of each experiment, and README.md, which gathers them."""
_COMPLETE = """\
Complete an incomplete matrix or tensor by a product of factors that is trained from small initial factors (a deep
matrix chain, or a tensor family), with classical completions beside it, and report the error on entries held out.

FILE is .tns (FROSTT coordinates, from 1), .csv or .tsv (coordinate columns, numbers or labels, and a value column),
.npy or .npz (NaN = missing), an image (transparent = missing), MovieLens' u.data or RecBole's .inter, or one of
tensorly:kinetic, tensorly:il2, tensorly:covid19, tensorly:indian-pines, sklearn:china."""
_PROTOCOL = """\
protocol: a share --heldout of the known entries is set aside and only reported; a share --validation of the rest
chooses depth, trial, stopping step, and the baselines' rank and lambda; the others are fitted, centred and scaled by
their own mean and standard deviation. A chain and the classical completions take a tensor unfolded to a matrix, cp,
tucker, tt and ht take it as it is, hadamard entry by entry. The completed array has the known entries as they are and
the model's values elsewhere; where every entry is known, the held-out ones are filled instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    parser = _parser()
    options, words = parser.parse_known_args(arguments)
    options.words = words
    if words and not getattr(options, "takes_words", False):
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    try:
        if getattr(options, "threads", None) is not None:
            import torch

            torch.set_num_threads(options.threads)
        code: int = options.command(options)
        return code
    except (ValueError, TypeError, IndexError, OSError, ImportError, MemoryError) as error:
        print(f"irkernels: {str(error) or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("irkernels: interrupted", file=sys.stderr)
        return 130


def _complete(options: argparse.Namespace) -> int:
    import torch

    from irkernels.complete import Options, complete, output, picture, report
    from irkernels.complete.models import MODELS
    from irkernels.io import read

    start = time.perf_counter()
    out = options.out or Path(f"{output.stem(options.file)}-completed.npy")
    drawn = options.picture or Path(f"{output.stem(options.file)}-report.png")
    output.check_output(out)
    output.check_picture(drawn)
    array = read(options.file, mask=options.mask, value=options.value)
    for note in filter(None, (*array.notes, MODELS[options.model].note)):
        _say(f"note: {note}")
    with _Status() as status:
        done = complete(
            array,
            Options(
                model=options.model,
                depths=None if options.depth is None else tuple(options.depth),
                ranks=None if options.rank is None else tuple(options.rank),
                steps=options.steps,
                patience=options.patience,
                heldout=options.heldout,
                validation=options.validation,
                seed=options.seed,
                unfold=options.unfold,
                init_scales=None if options.init_scale is None else tuple(options.init_scale),
                lr=options.lr,
                dtype=getattr(torch, options.dtype),
            ),
            status,
        )
    picture.draw(done, drawn)
    written = output.write(done, out)
    seconds = time.perf_counter() - start
    if options.json:
        _print_json(report.summary(done, str(out), str(drawn), seconds))
    else:
        print(report.table(done))
        print(f"wrote {', '.join(map(str, [*written, drawn]))} in {seconds:.1f} s")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from irkernels.experiments.command import reproduce

    with _Status() as status:
        return 0 if reproduce(options, status, _say) else 1


def _info(options: argparse.Namespace) -> int:
    import irkernels

    facts = irkernels.build_info()
    if options.json:
        _print_json(facts)
        return 0
    width = max(len(name) for name in facts)
    for name, fact in facts.items():
        print(f"{name.replace('_', ' '):{width}}  {_plain(fact)}")
    return 0


def _plain(fact: object) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_plain(value)}" for name, value in fact.items()) or "none"
    if isinstance(fact, (list, tuple, set)):
        return ", ".join(map(_plain, fact)) or "none"
    return "none" if fact is None else str(fact)


def _print_json(value: Mapping[str, object]) -> None:
    print(json.dumps(value, allow_nan=False, default=str))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


class _Status:
    """What goes on, as one line written over on a terminal, and as one line for each new task elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._task = ""
        self._width = 0

    def __enter__(self) -> _Status:
        return self

    def __call__(self, text: str) -> None:
        if self._terminal:
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif (task := text.split(": step")[0]) != self._task:
            self._task = task
            _say(task)

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="irkernels", description="End-to-end products of factors and their training.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_complete(commands)
    _add_reproduce(commands)
    info = commands.add_parser("info", help="version, compiler, instruction sets, torch, threads")
    info.add_argument("--json", action="store_true", help="one JSON object on standard output")
    info.set_defaults(command=_info)
    return parser


def _add_complete(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    complete = commands.add_parser(
        "complete",
        help="complete an incomplete matrix, tensor or image",
        description=_COMPLETE,
        epilog=_PROTOCOL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = complete.add_argument
    add("file", metavar="FILE")
    add("--model", choices=_MODELS, default="chain", help="the family of the product (default: chain)")
    add(
        "--depth",
        type=_count,
        nargs="+",
        metavar="N",
        help=f"depths to try: factors of a chain, operands for each factor of the others (default: {_DEPTHS})",
    )
    add(
        "--rank",
        type=_count,
        nargs="+",
        metavar="R",
        help="one for all, or a list: chain an inner size for each joint, tucker a rank for each axis, tt for each"
        " bond, ht for each level, leaves first"
        " (default: what the array can have, at most 64; tt 32; a tucker core of 16384)",
    )
    add("--steps", type=_count, default=5000, help="most steps for each depth (default: 5000)")
    add(
        "--patience",
        type=_count,
        default=1000,
        help="end a depth after so many steps without a better validation error (1000)",
    )
    add("--heldout", type=_share, default=0.2, help="share of the known entries held out (default: 0.2)")
    add("--validation", type=_share, default=0.1, help="share of the others that chooses (default: 0.1)")
    add(
        "--unfold",
        metavar="AXES",
        help="axes of a tensor that become a matrix's rows, from 0, as in 0,2 (default: no empty rows, nearest to a "
             "square)",
    )
    add(
        "--init-scale",
        type=_positive,
        nargs="+",
        metavar="A",
        help="initial scales, a trial each (default: 0.01 0.001 0.0001; 0.001 from 200,000 entries)",
    )
    add("--lr", type=_positive, help="step length of GroupRMSprop (default: from the size of the array)")
    add("--seed", type=_whole, default=0, help="of the split and of the initial factors (default: 0)")
    add("--dtype", choices=_DTYPES, default="float32")
    add("--threads", type=_count, help="CPU threads (default: torch's)")
    add(
        "--mask",
        type=Path,
        metavar="FILE",
        help="for .npy, .npz, images: an array or image, nonzero where an entry is missing",
    )
    add(
        "--value",
        metavar="COLUMN",
        help="for .csv, .tsv: the value column, a name or a number from 1 (default: the last)",
    )
    add(
        "--out",
        type=Path,
        help="completed array, .npy, .npz, .tns or .tns.gz (default: NAME-completed.npy); an image also as .png",
    )
    add("--picture", type=Path, help=".png, .pdf or .svg (default: NAME-report.png)")
    add("--json", action="store_true", help="one JSON object on standard output")
    complete.set_defaults(command=_complete)


def _add_reproduce(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="repeat a published experiment and check its criteria",
        description="Experiments:\n" + "\n".join(f"  {name:10} {title}" for name, title in _EXPERIMENTS.items()),
        epilog=_SWEEP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = reproduce.add_argument
    add("experiment", metavar="NAME", choices=[*_EXPERIMENTS, "all"], help="an experiment, or all")
    add("--scale", choices=("quick", "paper"), default="paper",
        help="quick: fewer trials and settings, all in 15 minutes (default: paper)")
    add("--trials", type=_count, help="repeats of each setting, all at once (default: the experiment's own)")
    add("--steps", type=_count, help="most steps (default: the experiment's own, which the criteria are for)")
    add("--seed", type=_whole, help="of problems and initial factors (default: the experiment's own)")
    add("--dtype", choices=_DTYPES, help="default: the experiment's own")
    add("--device", default="cpu", help="of models and data (default: cpu)")
    add("--threads", type=_count, help="CPU threads (default: torch's)")
    add("--out", type=Path, default=Path("."), metavar="DIR", help="folder of pictures and pages (default: here)")
    add("--json", action="store_true", help="one JSON object on standard output, a list of them for all")
    reproduce.set_defaults(command=_reproduce, takes_words=True)


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, below 2^31, got {text}")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number, not negative, got {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value
