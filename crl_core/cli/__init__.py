"""The command `crl`."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from ..errors import CrlError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. The exit status is 0 for success, 1 for an error, 2 for a wrong call."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # A user of the command line can't act on deprecations inside libraries.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("crl").setLevel(logging.INFO if options.verbose else logging.WARNING)
    # A command's module is imported only when the command runs: `crl list` must not wait for torch.
    module = importlib.import_module(f".{options.module}", __name__)
    try:
        status: int | None = getattr(module, f"run_{options.command}")(options)
        sys.stdout.flush()
        return status or 0
    except CrlError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(options.trouble)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `crl list | head` closes the pipe early; flushing the rest of the buffer at exit would fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crl", description="Contrastive and self-supervised learning, with methods made of parts."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also log what is chosen, and why")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, module: str, text: str, *, json: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(module=module, trouble=1)
        if json:
            command.add_argument("--json", action="store_true", help="print JSON")
        return command

    command = add("list", "inspect", "list the installed parts")
    command.add_argument("kind", nargs="?", help="only parts of this kind")
    command = add("info", "inspect", "print the options, the docstring and the origin of a part")
    command.add_argument("name", help="the address or the name of the part")
    command = add("doctor", "inspect", "find problems of the installed plugins")
    command.add_argument("distribution", nargs="?", help="only this distribution")
    command.add_argument(
        "--import", dest="imports", action="store_true", help="also import every part, each in its own process"
    )
    _for_authors(add)
    add("methods", "explain", "print the installed recipes as in the tables of the review")
    command = add(
        "explain",
        "explain",
        "print the parts of a recipe, a spec or a run, and the positives and negatives of a query",
        json=False,
    )
    command.add_argument("what", metavar="SPEC", help="a recipe's name, a spec file, or a run's folder")
    command.add_argument("--query", type=int, default=0, help="the number of the query to explain")
    _settings(command)
    command = add("diff", "explain", "print where two recipes, specs or runs differ; exit with 1 if they do")
    command.set_defaults(trouble=2)  # the exit status for errors, as in diff and grep
    command.add_argument("what", metavar="A", help="a recipe's name, a spec file, or a run's folder")
    command.add_argument("other", metavar="B", help="another one, or the same one with --set")
    _settings(command, " of B")
    command = add("train", "work", "train a recipe or a spec, evaluate it, and write a report", json=False)
    command.add_argument("what", metavar="RECIPE", nargs="?", help="a recipe's name, or a spec file")
    command.add_argument("--out", metavar="DIR", help="the run's folder; by default a new one in runs/")
    command.add_argument("--resume", metavar="RUN", help="continue an interrupted run")
    command.add_argument("--accelerator", default="auto", help="cpu, cuda, mps, …; by default the best available")
    command.add_argument("--devices", default="auto", help="how many")
    command.add_argument("--no-report", action="store_true", help="don't evaluate and write no report at the end")
    _settings(command)
    _for_runs(add)
    return parser


def _for_runs(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("evaluate", "work", "evaluate a run's encoder, next to the untrained encoder and the raw input")
    command.add_argument("run", metavar="RUN")
    command.add_argument("--only", metavar="EVALUATOR", action="append", help="an evaluator's name; may be repeated")
    command.add_argument("--source", metavar="NAME", help="another source, with its own splits to train and test on")
    _branch(command)
    _settings(command, " of that source")
    command = add(
        "embed", "work", "write the representations of a split or a source as .npz or .safetensors", json=False
    )
    command.add_argument("run", metavar="RUN")
    command.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="a split of the run's source, or a source; NAME:SPLIT for one of its splits",
    )
    command.add_argument(
        "--items", metavar="ITEM", nargs="+", help="instead of DATA, raw items for the run's reader: paths, texts"
    )
    command.add_argument("--out", metavar="FILE", default="embeddings.npz")
    _branch(command)
    _settings(command)
    command = add("export", "work", "write a run's pipeline for crl.load, and its encoder as ONNX", json=False)
    command.add_argument("run", metavar="RUN")
    command.add_argument("--out", metavar="DIR", help="the folder; by default `export` in the run's folder")
    _branch(command)


def _for_authors(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("new", "new", "make a new plugin: a complete distribution with a working part", json=False)
    command.add_argument("what", choices=["plugin"], help="what to make")
    command.add_argument("name", metavar="NAME", help="the name of the distribution, e.g. crl-acme")
    command.add_argument(
        "--kind", metavar="KIND", nargs="+", default=["loss"], help="the kinds, with a part for each; by default loss"
    )
    command.add_argument("--out", metavar="DIR", help="the folder to make; by default NAME")
    command = add("test", "test", "check whether the parts of a plugin follow their contracts")
    command.add_argument("distribution", metavar="DIST", help="an installed distribution, e.g. crl-acme")
    command.add_argument("--only", metavar="KIND_OR_PART", help="only the parts of this kind, or only this part")
    command.add_argument(
        "--examples", metavar="FILE", help="a test file that calls conformance(…) with examples and options"
    )


def _branch(command: argparse.ArgumentParser) -> None:
    command.add_argument("--branch", metavar="NAME", help="the branch whose encoder is used; by default the first")


def _settings(command: argparse.ArgumentParser, whose: str = "") -> None:
    command.add_argument(
        "--set", metavar="KEY=VALUE", dest="settings", action="append", default=[],
        help=f"an option of the recipe, or a place in the spec{whose} (epochs=5, source.path=a.npz); may be repeated",
    )  # fmt: skip
