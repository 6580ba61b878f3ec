"""``python -m nwslib``: what the library does from the command line."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line.

    Returns
    -------
    int
        0; after a sentence on standard error 1, or 130 if it was interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may be closed
        # A name with letters that the terminal does not have is no error.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="python -m nwslib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser(
        "lineage",
        help="sort a folder of checkpoints into runs, order and branches",
        description="Find out from weights alone which checkpoint came from which: "
        "runs, their order, branches, copies, outliers. Names and dates of files are "
        "not looked at.",
    )
    command.add_argument(
        "folder",
        metavar="FOLDER",
        help="holds .pt, .pth, .bin, .ckpt or .safetensors files, or sharded "
        "checkpoints with an index, at any depth",
    )
    command.add_argument(
        "--out", required=True, metavar="DIR",
        help="folder for lineage.json, lineage.csv and a picture; made if need be",
    )  # fmt: skip
    command.set_defaults(run=_lineage)
    command = commands.add_parser(
        "sample",
        help="sample the neural weight space into a zoo, or continue one",
        description="Train nets with hyper-parameters drawn at random, as in "
        '"Classifying the classifier", and keep their paths. Stopped at any moment '
        "and started again, it continues.",
    )
    command.add_argument(
        "zoo", metavar="ZOO", help="folder of the zoo, new or to be continued"
    )
    command.add_argument(
        "--runs", type=int, metavar="N",
        help="nets in the finished zoo (as many as the profile says)",
    )  # fmt: skip
    command.add_argument(
        "--profile", default="quick", metavar="NAME",
        help="images and epochs: quick (default), full or paper",
    )  # fmt: skip
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--main", dest="set", action="store_const", const="main", default="fixed",
        help="draw the architecture too (the paper's C_main; C_fixed without)",
    )  # fmt: skip
    which.add_argument(
        "--plain", dest="set", action="store_const", const="plain",
        help="nets without batch norm, of Glorot's weights (supplement F.3)",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--float16", action="store_true",
        help="store weights in half precision (relative error 0.05 %% at most)",
    )  # fmt: skip
    command.add_argument(
        "--executor", metavar="WHERE",
        help="local: a process a core (default on the CPU); here: this process "
        "(default on a GPU); dask: a process a core, by Dask; dask://HOST:PORT: "
        "the workers of a Dask scheduler",
    )  # fmt: skip
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes of --executor local"
    )
    command.add_argument(
        "--device", default="cpu", help="what workers train on: cpu, cuda, ..."
    )
    command.add_argument(
        "--shard-size", type=int, metavar="N",
        help="nets that are trained and written together (4; on a GPU 512)",
    )  # fmt: skip
    command.set_defaults(run=_sample)
    command = commands.add_parser(
        "import",
        help="turn someone else's zoo into one of ours, or continue to",
        description="Read a released zoo, without running anything in it, into a zoo "
        "of this library, one net at a time.",
    )
    command.add_argument(
        "kind", metavar="KIND",
        help='"nws" (Classifying the classifier), "model-zoo" (ModelZooDataset) or '
        '"small-cnn" (Small CNN Zoo)',
    )  # fmt: skip
    command.add_argument("folder", metavar="FOLDER", help="the released files")
    command.add_argument("zoo", metavar="ZOO", help="folder of the zoo to write")
    command.add_argument(
        "--last", type=int, metavar="N",
        help="keep the last N snapshots of each net, where nets have unequally many",
    )  # fmt: skip
    command.add_argument("--float16", action="store_true", help="as for sample")
    command.set_defaults(run=_import)
    command = commands.add_parser(
        "guess",
        help="ask a net how it was trained",
        description="Tell from its weights alone on what data and how a net of the "
        "sampled family was trained, with probabilities; or say that it is unlike the "
        "nets learned from.",
    )
    command.add_argument(
        "checkpoint", metavar="CHECKPOINT", nargs="?",
        help="a .pt, .pth, .bin, .ckpt or .safetensors file, or the index of a "
        "sharded checkpoint",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="answer in JSON")
    command.add_argument(
        "--model", metavar="FILE",
        help="the guesser to ask (the library's own), or to write with --fit",
    )  # fmt: skip
    command.add_argument(
        "--fit", nargs="+", metavar="ZOO",
        help="learn from these zoos instead, and write what was learned to --model",
    )  # fmt: skip
    command.set_defaults(run=_guess)
    command = commands.add_parser(
        "verify",
        help="compare every byte of a zoo, or of other files written, with checksums",
        description="Compare every byte of a zoo with its header, or of files that "
        "lineage or an export wrote with the list of checksums beside them, and name "
        "each file that is damaged.",
    )
    command.add_argument("folder", metavar="FOLDER")
    command.set_defaults(run=_verify)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("nwslib: interrupted; what was stored stays.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, ModuleNotFoundError, MemoryError) as error:
        print(f"nwslib: {_sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _sentence(error: Exception) -> str:
    """What an error says, with a remedy where the system or Python said it."""
    if isinstance(error, MemoryError):
        return "there is too little memory: do less at once, or where there is more."
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"the package {package!r} is missing: install nwslib anew."
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{str(error.filename)!r} cannot be used ({error.strerror}): give access "
            "and space there, or choose another place."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: free space, or choose another place."
    return str(error)


def _lineage(given: argparse.Namespace) -> None:
    # torch and all that: not for --help
    from nwslib.lineage import recover, write_lineage

    found = recover(given.folder, progress=True)
    try:
        from nwslib.plots import lineage_pictures
    except ModuleNotFoundError:  # of the extra "book"
        pictures = {}
    else:
        pictures = lineage_pictures(found)
    written = write_lineage(found, given.out, pictures)
    for rejected in found.rejected:
        print(f"rejected {rejected.path!r}: {rejected.reason}", file=sys.stderr)
    counts = (
        (sum(len(run.checkpoints) for run in found.runs), "checkpoint"),
        (len(found.architectures), "architecture"),
        (len(found.runs), "run"),
    )
    told = [f"{n} {word}{'s' * (n != 1)}" for n, word in counts]
    print("{} of {} in {}; ".format(*told) + f"{len(found.rejected)} rejected")
    print("\n".join(map(str, written)))
    if not pictures:
        print(
            "no picture was drawn, since matplotlib or seaborn is missing: install "
            "nwslib[book]."
        )


def _sample(given: argparse.Namespace) -> None:
    from nwslib.nws import executors, sample
    from nwslib.profiles import get_profile

    profile = get_profile(given.profile)
    plan, size = profile.sampled_sets(given.seed)[given.set]
    shard_size = given.shard_size
    if shard_size is None:
        shard_size = 4 if given.device == "cpu" else 512
    plan = replace(
        plan,
        shard_size=shard_size,
        dtype="float16" if given.float16 else "float32",
    )
    zoo = sample(
        given.zoo,
        plan,
        size if given.runs is None else given.runs,
        executor=given.executor and executors.get(given.executor, given.workers),
        device=given.device,
        progress=True,
    )
    print(f"{len(zoo)} runs in {zoo.path}")


def _import(given: argparse.Namespace) -> None:
    from nwslib.foreign import KINDS, convert
    from nwslib.zoo import Zoo

    if given.kind not in KINDS:
        raise ValueError(
            f"unknown kind of zoo {given.kind!r}: choose one of {list(KINDS)}."
        )
    rejected = convert(
        KINDS[given.kind](given.folder),
        given.zoo,
        last=given.last,
        dtype="float16" if given.float16 else "float32",
        progress=True,
    )
    for each in rejected:
        print(f"rejected {each.path!r}: {each.reason}", file=sys.stderr)
    print(f"{len(Zoo.open(given.zoo))} runs in {given.zoo}; {len(rejected)} rejected")


def _guess(given: argparse.Namespace) -> None:
    from nwslib import checkpoints
    from nwslib.meta import guesser_file
    from nwslib.meta.answer import refusal

    if given.fit:
        _fit_guesser(given)
        return
    if given.checkpoint is None:
        raise ValueError("no checkpoint to guess: name one, or zoos with --fit.")
    model = guesser_file.find(given.model)
    path = Path(given.checkpoint)
    try:
        # In the names that it takes a backslash is doubled.
        state = checkpoints.read(path.parent, path.name.replace("\\", r"\\"))
    except checkpoints.UnreadableCheckpoint as error:
        if given.json:
            print(json.dumps(refusal(error.reason)))
        raise
    guesser = guesser_file.load(model)
    answer = guesser.guess(state)
    if given.json:
        print(json.dumps(answer.to_json(guesser)))
    else:
        print(answer.to_text(guesser))


def _verify(given: argparse.Namespace) -> None:
    from nwslib import _files
    from nwslib.zoo import verify

    folder = Path(given.folder)
    is_zoo = (folder / "zoo.json").exists()
    found = verify(folder) if is_zoo else _files.differing(folder)
    for damage in found:
        print(f"damaged: {damage}", file=sys.stderr)
    if found:
        raise ValueError(
            f"{folder} is damaged ({len(found)} found): restore what is named from a "
            "copy, or make it again."
        )
    print(f"{folder} is as it was written")


def _fit_guesser(given: argparse.Namespace) -> None:
    from nwslib.meta import guess, guesser_file
    from nwslib.zoo import Zoo

    if given.checkpoint is not None or given.model is None:
        raise ValueError(
            "--fit learns from zoos and writes a file: name that with --model, and no "
            "checkpoint."
        )
    zoos = [Zoo.open(path) for path in given.fit]
    guesser = guess.fit(zoos, progress=True)
    path = guesser_file.save(guesser, given.model)
    for name, judged in guesser.judged.items():
        print(f"{name}: right in {judged['accuracy']:.0%} of held-out nets")
    print(f"learned from {guesser.n_nets} nets: {path}")


if __name__ == "__main__":
    sys.exit(main())
