"""What starting costs: `import crl_core`, `crl list`, and either beside 50 plugins with 900 parts.

    python benchmarks/startup.py [--json]

CPU seconds of a fresh process less those of a bare Python, the best of several.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from rows import show

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from synthetic import many

ROUNDS = 9
CODES = {
    "import crl_core": ("", "import crl_core"),
    "import crl_core and Pipeline, above torch": ("import torch", "import torch, crl_core; crl_core.Pipeline"),
    "crl list": ("", "from crl_core.cli import main; main(['list'])"),
    "crl list beside 50 plugins with 900 parts": ("", "from crl_core.cli import main; main(['list'])"),
}


def cpu(code: str, path: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        many(Path(folder), 50, 18)
        for name, (bare, code) in CODES.items():
            path = folder if "50 plugins" in name else ""
            pairs = [(cpu(bare or "pass", path), cpu(code, path)) for _ in range(ROUNDS)]
            above, with_it = (min(side) for side in zip(*pairs, strict=True))
            rows.append({"what": name, "cpu_seconds": round(with_it - above, 3)})
    show(rows, lambda row: f"{row['what']:<45} {row['cpu_seconds']:.3f} s", options.json)


if __name__ == "__main__":
    main()
