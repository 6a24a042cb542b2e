"""The progress of a training on the terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """A bar with epoch, loss, speed and time left; without a terminal, a line for every tenth of the run."""

    def __init__(self, shown: bool, steps: int, done: int, epochs: int) -> None:
        self._shown, self._steps, self._epochs = shown, steps, epochs
        self._console = Console(file=sys.stderr)
        self._next_line = done + steps / 10
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[speed]:,.0f} items/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task("", total=steps, completed=done, epoch="", loss=float("nan"), speed=0.0)

    def update(self, step: int, epoch: int, loss: float, speed: float) -> None:
        where = f"{min(epoch + 1, self._epochs)}/{self._epochs}"
        self._bar.update(self._task, completed=step, epoch=where, loss=loss, speed=speed)
        if self._shown and not self._console.is_terminal and step >= self._next_line:
            self._next_line += self._steps / 10
            self._console.print(f"epoch {where}  loss {loss:.4f}  {speed:,.0f} items/s", highlight=False)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._shown:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)  # so that paths stay on one line

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
