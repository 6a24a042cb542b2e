"""crl new plugin."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..scaffold import plan, write


def run_new(options: argparse.Namespace) -> None:
    plugin = plan(options.name, options.kind)
    folder = Path(options.out or plugin.name)
    for path in write(plugin, folder):
        print(path)
    print(f"\n{plugin.name} is a complete plugin. Next, in a new environment:")
    for line in (f"cd {folder}", "pip install -e . --group tests", "pytest", f"crl test {plugin.name}"):
        print(f"  {line}")
    for part in plugin.parts:
        print(f"  crl info {plugin.address(part)}")
