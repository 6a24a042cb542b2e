"""Imports the parts of a distribution in another process, and records which global states that changes.

Run as a program, this file is that process. It may not import torch before the packages have been imported.
"""

from __future__ import annotations

import builtins
import importlib.util
import json
import locale
import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..registry.plugins import resolve

SECONDS = 120.0


class Imported(NamedTuple):
    """The result of importing one part."""

    error: str | None
    changed: list[str]
    """The global states that have changed."""
    heavy: bool
    """Whether the package alone, without the part, imports torch."""


def import_all(targets: Mapping[str, str]) -> dict[str, Imported]:
    """The result of importing each of these targets, by label."""
    found: dict[str, Imported] = {}
    while rest := {label: target for label, target in targets.items() if label not in found}:
        lines, ended = _in_a_process(rest)
        found |= {label: Imported(*said) for label, *said in lines}
        for label in rest:
            # The first one without a result has ended the process; the others get a new process.
            if label not in found:
                found[label] = Imported(f"the process that imports it {ended}", [], False)
                break
    return found


def _in_a_process(targets: Mapping[str, str]) -> tuple[list[Any], str]:
    """The results that the process wrote, and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found"
        file.touch()
        try:
            done = start(__name__, str(file), json.dumps(targets)).communicate(timeout=SECONDS)
            ended = f"ends at once: {last_line(done[1])}"
        except subprocess.TimeoutExpired:
            ended = f"is not done after {SECONDS:.0f} s"
        return [json.loads(line) for line in file.read_text().splitlines()], ended


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts a module of crl as a process with the same import path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "without a word")


# -- in the process ----------------------------------------------------------------------------------


def main(file: str, targets: Mapping[str, str]) -> None:
    package_of = {label: target.partition(":")[0].partition(".")[0] for label, target in targets.items()}
    packages = {package: _look_at(package, set(package_of.values())) for package in dict.fromkeys(package_of.values())}
    import numpy  # noqa: F401
    import torch  # noqa: F401

    with open(file, "a", encoding="utf-8") as out:
        for label, target in targets.items():
            heavy, before = packages[package_of[label]]
            error, changed = _import(target, set(packages))
            print(json.dumps([label, error, [*before, *changed], heavy]), file=out, flush=True)


def _look_at(package: str, own: set[str]) -> tuple[bool, list[str]]:
    """Whether a package, without its parts, imports torch, and what importing it changes."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None or found.submodule_search_locations is None:
        return False, []  # a single module, or a missing one: reported when the part is imported
    light = "torch" not in sys.modules
    _, changed = _import(package, own)
    return light and "torch" in sys.modules, changed


def _import(target: str, own: set[str]) -> tuple[str | None, list[str]]:
    """The error of an import, and the states that it changes, without those that imports of other packages change."""
    before = state()
    forgiven: set[str] = set()
    usual = builtins.__import__
    builtins.__import__ = _watched(usual, own, forgiven)
    try:
        resolve(target)
        error = None
    except BaseException as raised:  # also SystemExit
        error = f"{type(raised).__name__}: {raised}"
    finally:
        builtins.__import__ = usual
    return error, [name for name in _changed(before) if name not in forgiven]


def _changed(before: Mapping[str, str]) -> list[str]:
    after = state()
    return [name for name, value in before.items() if after[name] != value]


def _watched(usual: Callable[..., Any], own: set[str], forgiven: set[str]) -> Callable[..., Any]:
    """An `__import__` that records the states that other packages change: the plugin is not responsible for them."""

    def watched(name: str, space: Any = None, *rest: Any, **more: Any) -> Any:
        importer = ((space or {}).get("__name__") or "").partition(".")[0]
        relative = more.get("level") or (len(rest) == 3 and rest[2])
        if importer not in own or relative or name.partition(".")[0] in own:
            return usual(name, space, *rest, **more)
        before = state()
        found = usual(name, space, *rest, **more)
        forgiven.update(_changed(before))
        return found

    return watched


def state() -> dict[str, str]:
    """The global states of the program, as text to compare; those of torch and NumPy if they have been imported."""
    return {
        **_of_python(),
        **(_of_numpy() if "numpy" in sys.modules else {}),
        **(_of_torch() if "torch" in sys.modules else {}),
    }


def _of_python() -> dict[str, str]:
    return {
        "Python's random numbers": str(hash(random.getstate())),
        "sys.path": repr(sys.path),
        "sys.excepthook": repr(sys.excepthook),
        "the filters of warnings": repr(warnings.filters),
        "the environment's variables": repr(sorted(os.environ.items())),
        "the folder": os.getcwd(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the handlers of signals": repr([signal.getsignal(number) for number in sorted(signal.valid_signals())]),
    }


def _of_numpy() -> dict[str, str]:
    import numpy

    return {"NumPy's random numbers": repr(numpy.random.get_state())}


def _of_torch() -> dict[str, str]:
    import torch

    return {
        "torch's random numbers": str(hash(torch.get_rng_state().numpy().tobytes())),
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's threads": str((torch.get_num_threads(), torch.get_num_interop_threads())),
        "whether gradients are recorded": str(torch.is_grad_enabled()),
        "torch's precision": str((torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())),
    }


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
