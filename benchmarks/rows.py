"""How a benchmark shows its rows: each as soon as it is there, or all as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any


def show(rows: Iterable[dict[str, Any]], line: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows), indent=1, ensure_ascii=False))
        return
    for row in rows:
        print(line(row), flush=True)
