"""Importing every part of a distribution in a process of its own, and watching what that changes.

Run as a program, it is that process. Until the packages have been imported it may import no torch.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 120.0


class Imported(NamedTuple):
    """How importing one part went."""

    error: str | None
    changed: list[str]
    """Which global states are others than before."""
    heavy: bool
    """Whether the package alone, without the part, imports torch."""


def import_all(targets: Mapping[str, str]) -> dict[str, Imported]:
    """How importing each of these targets goes, by label."""
    found: dict[str, Imported] = {}
    while rest := {label: target for label, target in targets.items() if label not in found}:
        lines, ended = _in_a_process(rest)
        found |= {label: Imported(*said) for label, *said in lines}
        for label in rest:
            # The first that is missing is the one that took the process along; the others get a new one.
            if label not in found:
                found[label] = Imported(f"the process that imports it {ended}", [], False)
                break
    return found


def _in_a_process(targets: Mapping[str, str]) -> tuple[list[Any], str]:
    """What the process wrote before its end, and how it ended."""
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
    """A module of ours as a process that finds what this one finds."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "without a word")


# -- in the process ----------------------------------------------------------------------------------


def main(file: str, targets: Mapping[str, str]) -> None:
    packages = {label: target.partition(":")[0].partition(".")[0] for label, target in targets.items()}
    heavy = {package: _imports_torch(package) for package in dict.fromkeys(packages.values())}
    with open(file, "a", encoding="utf-8") as out:
        for label, target in targets.items():
            error, changed = _import(target, set(heavy))
            print(json.dumps([label, error, changed, heavy[packages[label]]]), file=out, flush=True)


def _imports_torch(package: str) -> bool:
    before = "torch" in sys.modules
    try:
        importlib.import_module(package)
    except BaseException:  # told when its parts are imported
        return False
    return "torch" in sys.modules and not before


def _import(target: str, own: set[str]) -> tuple[str | None, list[str]]:
    """What importing raises, and which states it changes that importing others alone would not."""
    before = state()
    forgiven: set[str] = set()
    usual = builtins.__import__
    builtins.__import__ = _watched(usual, own, forgiven)
    try:
        from ..registry.plugins import resolve

        resolve(target)
        error = None
    except BaseException as raised:  # also SystemExit
        error = f"{type(raised).__name__}: {raised}"
    finally:
        builtins.__import__ = usual
    after = state()
    return error, [name for name in before if before[name] != after[name] and name not in forgiven]


def _watched(usual: Callable[..., Any], own: set[str], forgiven: set[str]) -> Callable[..., Any]:
    """`__import__` that notes what importing others' modules changes: that is not the plugin's doing."""

    def watched(name: str, space: Any = None, *rest: Any, **more: Any) -> Any:
        importer = ((space or {}).get("__name__") or "").partition(".")[0]
        relative = more.get("level") or (len(rest) == 3 and rest[2])
        if importer not in own or relative or name.partition(".")[0] in own:
            return usual(name, space, *rest, **more)
        before = state()
        found = usual(name, space, *rest, **more)
        after = state()
        forgiven.update(key for key in before if before[key] != after[key])
        return found

    return watched


def state() -> dict[str, str]:
    """What all parts of a program share, as text to compare."""
    import locale
    import random
    import signal
    import warnings

    import numpy
    import torch

    torch_random = torch.get_rng_state().numpy().tobytes()
    return {
        "torch's random numbers": str(hash(torch_random)),
        "Python's random numbers": str(hash(random.getstate())),
        "NumPy's random numbers": repr(numpy.random.get_state()),
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's threads": str((torch.get_num_threads(), torch.get_num_interop_threads())),
        "whether gradients are recorded": str(torch.is_grad_enabled()),
        "torch's precision": str((torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())),
        "sys.path": repr(sys.path),
        "sys.excepthook": repr(sys.excepthook),
        "the filters of warnings": repr(warnings.filters),
        "the environment's variables": repr(sorted(os.environ.items())),
        "the folder": os.getcwd(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the handlers of signals": repr([signal.getsignal(number) for number in sorted(signal.valid_signals())]),
    }


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
