"""The metrics that a run writes while it trains: lines of JSON, and events for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from . import folder


class Record:
    """Keeps the logged lines, and writes them if there is a folder."""

    def __init__(self, path: Path | None, since: int) -> None:
        self.lines: list[dict[str, float]] = []
        self._file = self._board = None
        if path is not None:
            from torch.utils.tensorboard import SummaryWriter

            folder.forget_metrics_after(path, since)
            self.lines = folder.read_metrics(path)
            self._file = (path / folder.METRICS).open("a", buffering=1, encoding="utf-8")
            self._board = SummaryWriter(str(path / "tensorboard"), purge_step=since + 1)

    def write(self, line: dict[str, float]) -> None:
        self.lines.append(line)
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in line.items():
                self._board.add_scalar(name, value, int(line["step"]))

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()
