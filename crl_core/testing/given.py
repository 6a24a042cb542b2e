"""The types of the arguments of `conformance`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Options = Mapping[str, Mapping[str, Any] | Callable[[], Mapping[str, Any]]]
Examples = Mapping[str, Callable[[], Any]]
ExpectedFailures = Mapping[str | tuple[str, str], str]
