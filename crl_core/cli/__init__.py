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
    """Runs one command; 0 means that all went well, 1 that something is wrong, 2 that the call is."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # What libraries tell their own callers of their future, nobody at a command line can act on.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("crl").setLevel(logging.INFO if options.verbose else logging.WARNING)
    # Each command's module is imported only when it is called: `crl list` must not wait for torch.
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
        # `crl list | head` has read enough; what is still buffered would be flushed, and fail, at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crl", description="Contrastive representation learning, put together from parts."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also tell what is chosen, and why")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, module: str, text: str, *, json: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(module=module, trouble=1)
        if json:
            command.add_argument("--json", action="store_true", help="print JSON")
        return command

    command = add("list", "inspect", "the installed parts")
    command.add_argument("kind", nargs="?", help="only this kind")
    command = add("info", "inspect", "one part: its options, its text, where it is from")
    command.add_argument("name", help="its address, or its name alone")
    command = add("doctor", "inspect", "what is wrong with the installed plugins")
    command.add_argument("distribution", nargs="?", help="only this one")
    command.add_argument(
        "--import", dest="imports", action="store_true", help="also import every part, each in its own process"
    )
    _for_authors(add)
    add("methods", "explain", "the installed recipes, as the tables of the review")
    command = add(
        "explain",
        "explain",
        "what a recipe, a spec or a run is made of, and what its first query is contrasted with",
        json=False,
    )
    command.add_argument("what", metavar="SPEC", help="a recipe's name, a spec file, or a run's folder")
    command.add_argument("--query", type=int, default=0, help="which query to explain")
    _settings(command)
    command = add("diff", "explain", "where two recipes, specs or runs differ; exits with 1 where they do")
    command.set_defaults(trouble=2)  # as of diff and grep
    command.add_argument("what", metavar="A", help="a recipe's name, a spec file, or a run's folder")
    command.add_argument("other", metavar="B", help="another, or the same with --set")
    _settings(command, " of B")
    command = add("train", "work", "train a recipe or a spec, evaluate it, and write a report", json=False)
    command.add_argument("what", metavar="RECIPE", nargs="?", help="a recipe's name, or a spec file")
    command.add_argument("--out", metavar="DIR", help="the run's folder; by default a new one in runs/")
    command.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    command.add_argument("--accelerator", default="auto", help="cpu, cuda, mps, …; the best there is by default")
    command.add_argument("--devices", default="auto", help="how many")
    command.add_argument("--no-report", action="store_true", help="neither evaluate nor report at the end")
    _settings(command)
    _for_runs(add)
    return parser


def _for_runs(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("evaluate", "work", "measure a run's encoder beside the untrained one and the raw input")
    command.add_argument("run", metavar="RUN")
    command.add_argument("--only", metavar="EVALUATOR", action="append", help="an evaluator's name; may be repeated")
    command.add_argument("--source", metavar="NAME", help="other data, with splits of their own to learn and test on")
    _branch(command)
    _settings(command, " of that source")
    command = add(
        "embed", "work", "the representations of a split, or of another source, as .npz or .safetensors", json=False
    )
    command.add_argument("run", metavar="RUN")
    command.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="a split of the run's source, or a source; NAME:SPLIT for one of its splits",
    )
    command.add_argument(
        "--items", metavar="ITEM", nargs="+", help="instead of DATA, what the run's reader reads: paths, texts"
    )
    command.add_argument("--out", metavar="FILE", default="embeddings.npz")
    _branch(command)
    _settings(command)
    command = add("export", "work", "write a run's pipeline for crl.load, and its encoder as ONNX", json=False)
    command.add_argument("run", metavar="RUN")
    command.add_argument("--out", metavar="DIR", help="by default `export` in the run's folder")
    _branch(command)


def _for_authors(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("new", "new", "begin a plugin: a whole distribution with a working part", json=False)
    command.add_argument("what", choices=["plugin"], help="what to begin")
    command.add_argument("name", metavar="NAME", help="of the distribution, e.g. crl-acme")
    command.add_argument(
        "--kind", metavar="KIND", nargs="+", default=["loss"], help="of the part, loss by default; a part for each"
    )
    command.add_argument("--out", metavar="DIR", help="the folder to make; by default one called NAME, here")
    command = add("test", "test", "whether the parts of a plugin keep their contracts")
    command.add_argument("distribution", metavar="DIST", help="an installed distribution, e.g. crl-acme")
    command.add_argument("--only", metavar="KIND_OR_PART", help="the parts of one kind, or one part")
    command.add_argument(
        "--examples", metavar="FILE", help="the file of tests with examples and options for conformance(…)"
    )


def _branch(command: argparse.ArgumentParser) -> None:
    command.add_argument("--branch", metavar="NAME", help="whose representations; the first branch's by default")


def _settings(command: argparse.ArgumentParser, whose: str = "") -> None:
    command.add_argument(
        "--set", metavar="KEY=VALUE", dest="settings", action="append", default=[],
        help=f"an option of the recipe, or a place in the spec{whose} (epochs=5, source.path=a.npz); may be repeated",
    )  # fmt: skip
