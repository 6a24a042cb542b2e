"""Imports one part in its own process, which may fail, hang or crash, and reports what happened."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

from ..registry.plugins import HOOKS, Known, resolve

SECONDS = 60.0  # for importing one part
_HEAVY = 50  # modules; torch has over a thousand, numpy over a hundred
_MARK = "what crl asked: "  # marks the answer among other output of a plugin
_START = "import json, sys; asked = json.load(sys.stdin); sys.path[:] = asked['path']; "
_CODE = f"{_START}from crl_core.doctor import probe; probe.answer(asked['part'])"


class Imported(NamedTuple):
    """The result of importing one part, or the hooks of one plugin.

    Attributes:
        problems: the problems; empty if it could be imported.
        seconds: how long the import took; None if it didn't end.
        package: the heavy packages that the `__init__.py` of the part's package imports.
        heavy: all heavy packages that the part imports.
        kernels: for a kernel, why it can't run a small common problem, by device; empty if it can.
    """

    kind: str
    address: str
    distribution: str
    problems: list[str]
    seconds: float | None = None
    package: list[str] = []  # noqa: RUF012
    heavy: list[str] = []  # noqa: RUF012
    kernels: dict[str, list[str]] = {}  # noqa: RUF012


def probe(part: Known) -> Imported:
    """Imports the part in another process."""
    who = (part.kind, part.address, part.distribution)
    asked = json.dumps({"path": sys.path, "part": part})
    command = [sys.executable, "-c", _CODE]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Imported(*who, [f"importing {part.target} took more than {SECONDS:g} s"])
    answers = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if answers:
        return Imported(*who, **json.loads(answers[-1]))
    last = done.stderr.strip().splitlines()[-1:]
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    return Imported(*who, [f"importing {part.target} ended the process: {': '.join([ended, *last])}"])


# -- in the other process --------------------------------------------------------------------------


def answer(part: list[str]) -> None:
    """Imports the part, and prints the result."""
    found = _examined(Known(*part))
    sys.stdout.flush()
    print(f"\n{_MARK}{json.dumps(found)}", flush=True)


def _examined(part: Known) -> dict[str, Any]:
    package = part.target.partition(":")[0].partition(".")[0].strip()
    before, start = set(sys.modules), time.perf_counter()
    try:
        resolve(package)
        alone = _heavy(before, package)
        loaded = resolve(part.target)
    except (Exception, SystemExit) as error:
        spent = time.perf_counter() - start
        text = f"importing {part.target} failed after {spent:.1f} s: {type(error).__name__}: {error}"
        return {"problems": [text], "seconds": spent}
    seconds, heavy = time.perf_counter() - start, _heavy(before, package)
    problems = _said_by_hooks(part) if part.kind == "hooks" else _wrong_with(loaded)
    kernels = _asked_of_kernel(loaded) if part.kind == "kernel" and not problems else {}
    return {"problems": problems, "seconds": seconds, "package": alone, "heavy": heavy, "kernels": kernels}


def _heavy(before: set[str], package: str) -> list[str]:
    """The packages with many modules that were imported since `before`."""
    count = Counter(name.partition(".")[0] for name in set(sys.modules) - before)
    ignored = {package, "crl_core", *sys.stdlib_module_names}
    return sorted(name for name, modules in count.items() if modules >= _HEAVY and name not in ignored)


def _wrong_with(part: Any) -> list[str]:
    """Why the part can't be in a spec."""
    from ..errors import CrlError
    from ..registry.options import signature

    try:
        signature(part)
    except CrlError as error:
        return [f"its options can't be in a spec: {error}"]
    return []


def _said_by_hooks(part: Known) -> list[str]:
    """Why the hooks can't be used, or what the plugin's own hook `crl_doctor` returns."""
    from ..registry.hooks import load_hooks

    loaded = load_hooks([part._replace(kind=HOOKS)])
    if loaded.failed:
        return [str(error) for error in loaded.failed.values()]
    said: list[str] = []
    for hook in loaded.manager.hook.crl_doctor.get_hookimpls():
        try:
            told: Any = hook.function()
            said += [str(text) for text in told or ()]
        except Exception as error:
            said.append(f"its hook crl_doctor raised {type(error).__name__}: {error}")
    return said


def _asked_of_kernel(kernel: Any) -> dict[str, list[str]]:
    """Why the kernel can't run a small common problem, on the devices of this machine."""
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return {device: _reasons(kernel, device) for device in devices}


def _reasons(kernel: Any, device: str) -> list[str]:
    import torch

    from ..contracts.kernels import Problem
    from ..data.pairs import Pairs
    from ..data.relation import same
    from ..data.view import Embeddings
    from ..parts.losses.info_nce import InfoNCE
    from ..parts.scores.cosine import Cosine

    number = torch.arange(64, device=device)
    rows = Embeddings(torch.randn(64, 32, device=device), {"instance": number // 2, "row": number})
    positive = same("instance") & ~same("row")
    problem = Problem(Pairs(rows, (rows,), positive, ~same("instance")), Cosine(0.5), InfoNCE())
    try:
        return [str(reason) for reason in kernel().unsupported(problem)]
    except Exception as error:
        return [f"`unsupported` raised {type(error).__name__}: {error}"]
