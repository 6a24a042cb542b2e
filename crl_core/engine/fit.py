"""The training loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from .. import distributed
from ..contracts.parts import Items, Progress, Source, Stream
from ..data.view import Embeddings, View
from ..errors import CrlError
from ..look.diagnosis import health, information
from ..method.objective import Losses, components, not_finite
from ..method.pipeline import Pipeline
from ..registry import make
from ..registry.hooks import announce
from ..spec import spec, upgrade
from . import checkpoint, folder
from .display import Display
from .fabric import Fabric, MisconfigurationException
from .interruption import interruption
from .loading import first_of, in_order, loaded, steps_in_epoch
from .micro_batches import cut, mean_of
from .optimisers import load_optimiser_state, make_optimisers, moved_by, optimiser_state, set_rates
from .record import Record
from .state import State
from .training import Training, stages_of

log = logging.getLogger("crl")


@attrs.frozen(eq=False)
class Fitted:
    """The result of a training.

    Attributes:
        pipeline: the trained pipeline, in evaluation mode.
        metrics: the logged lines, oldest first.
        finished: False if the training was interrupted; with a folder it can be resumed.
    """

    pipeline: Pipeline
    metrics: list[dict[str, float]]
    finished: bool


def fit(
    pipeline: Pipeline,
    source: Source | type[Source] | str,
    training: Training | Sequence[Training] | None = None,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int | str = "auto",
    show: bool = True,
) -> Fitted:
    """Trains a pipeline on the first split of a source.

    Args:
        training: how it is trained. Several are stages, one after the other: weights, memories and the rest of the
            state are kept, but the optimiser and the schedules begin again.
        out: a folder for the spec, metrics and checkpoints; without it, nothing is written.
        resume: continue from the checkpoint in `out`. The result is the same, bit for bit, as without the
            interruption (on the same kind of device, with the same number of processes and threads).
        accelerator, devices: as in Lightning Fabric; on several devices, one process each.
        show: whether progress is shown on the terminal.

    Raises:
        CrlError: the folder holds another run, the data give no pairs, or the loss is not finite.
    """
    if resume and out is None:
        raise CrlError("resume needs `out`, the folder of the run")
    stages = stages_of(training or Training())
    path = None if out is None else Path(out)
    if path is not None and resume:
        folder.load_files(path, pipeline)
    loop = _Loop(pipeline, make("source", source), stages, accelerator, devices)
    if path is not None:
        loop.open(path, resume)
    return loop.run(path, show)


class _Loop:
    """A run, from its preparation to its end."""

    def __init__(
        self, pipeline: Pipeline, source: Source, stages: list[Training], accelerator: str, devices: int | str
    ) -> None:
        self.source, self.stages, first = source, stages, stages[0]
        try:
            self.fabric = Fabric(accelerator=accelerator, devices=devices, precision=first.precision)
        except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
            raise CrlError(f"can't train on accelerator={accelerator!r}, devices={devices!r}: {error}") from error
        self.fabric.launch()
        for training in stages:
            parts = self.fabric.world_size * training.accumulate
            if training.batch_size % parts:
                raise CrlError(
                    f"a batch of {training.batch_size} can't be divided among {self.fabric.world_size} processes with "
                    f"{training.accumulate} micro-batches each"
                )
        torch.manual_seed(first.seed)
        self.items: Items | Stream = source.items(source.splits[0])
        self.pipeline = pipeline.to(self.fabric.device).train()
        self.pipeline.meet(source)
        self.pipeline.build(self._whole(first_of(self.items, first)))
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            # Statistics of each process alone would reveal the positives, and differ from training on one process.
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.pipeline)
        self.collapsed = False
        self._begin(0)
        torch.manual_seed(first.seed + self.fabric.global_rank)

    def _begin(self, stage: int) -> None:
        """Prepares a stage."""
        self.stage, self.training = stage, self.stages[stage]
        self.pipeline.only(self.training.terms)
        self.pipeline.freeze(self.training.freeze)
        self.optimisers = make_optimisers(self.pipeline, self.training)
        self.module, *self.steppers = self.fabric.setup(self.pipeline, *self.optimisers)
        terms = [term for term in self.pipeline.every_term if self.pipeline.runs(term, None)]
        # Terms that share no gradient are computed one by one, to save memory; only on one process, in full precision.
        alone = self.fabric.world_size == self.training.accumulate == 1 and self.training.precision == "32-true"
        self.apart = alone and len(components(terms, self.pipeline.branches)) > 1
        self.before = sum(self._length(earlier) for earlier in self.stages[:stage])
        self.progress = Progress(0, self._length(self.training), 0, self.training.epochs)
        self.begun = 0  # steps done in the current epoch
        self.place: Any = None  # the place in a stream

    def _length(self, training: Training) -> int:
        return steps_in_epoch(self.items, training) * training.epochs

    def _whole(self, batch: View) -> View:
        return self.pipeline.read(batch).to(self.fabric.device, non_blocking=True)

    # -- the loop ------------------------------------------------------------------------------

    def run(self, path: Path | None, show: bool) -> Fitted:
        main = self.fabric.is_global_zero
        record = Record(path if main else None, self.before + self.progress.step)
        finished = True
        with record, interruption() as interrupted:
            while finished:
                with Display(show and main, self.progress.steps, self.progress.step, self.training.epochs) as display:
                    while self.progress.epoch < self.training.epochs and finished:
                        finished = self._epoch(record, display, path, interrupted)
                if not finished or self.stage + 1 == len(self.stages):
                    break
                self._begin(self.stage + 1)
        self.pipeline.eval()
        return Fitted(self.pipeline, record.lines, finished)

    def _epoch(self, record: Record, display: Display, path: Path | None, interrupted: threading.Event) -> bool:
        """One epoch, or the rest of it; False if it was interrupted."""
        training = self.training
        if self.begun == 0:
            self.pipeline.on_epoch(self.progress, self._embed)
        rank, world = self.fabric.global_rank, self.fabric.world_size
        resumed, steps = self.begun > 0, steps_in_epoch(self.items, training)
        clock = _Clock(training.batch_size)
        losses: Losses | None = None
        batches = loaded(self.items, training, self.progress.epoch, self.begun, self.place, rank, world)
        for batch, place in batches:
            self.place = place
            if batch is not None:
                losses = self._step(batch)
            elif world > 1:
                raise CrlError(
                    f"process {rank} of {world}: not one item of its share of step {self.progress.step + 1} can be "
                    f"used (the log names them). The other processes would wait: remove them, or use larger batches"
                )
            self._advance(moved=batch is not None)
            speed = clock.speed()
            if losses is not None and batch is not None and self.progress.step % training.log_every == 0:
                line = self._line(losses, speed)
                record.write(line)
                display.update(self.progress.step, self.progress.epoch, line["loss"], speed)
            announce("crl_step_end", state=State(self.pipeline, self.progress, _last(record), path))
            # An interruption in the last step of an epoch waits for the end of the epoch.
            if self.begun < steps and self._asked_to_stop(interrupted):
                return self._stop(display, path)
        self.begun = 0
        self.progress = self.progress._replace(epoch=self.progress.epoch + 1)
        if losses is not None:
            self._watch(losses, record, display)
        elif steps and not resumed:
            raise CrlError("not one item of the last epoch can be used; the log names them")
        announce("crl_epoch_end", state=State(self.pipeline, self.progress, _last(record), path))
        ended = self.progress.epoch == training.epochs
        if not ended and self._asked_to_stop(interrupted):
            return self._stop(display, path)
        if ended or self.progress.epoch % training.save_every == 0:
            self._save(path)
        return True

    def _asked_to_stop(self, interrupted: threading.Event) -> bool:
        """Whether this run was interrupted; several processes all stop at the same step."""
        if self.fabric.world_size == 1:
            return interrupted.is_set()
        if self.begun and self.progress.step % self.training.log_every:
            return False  # this synchronises all processes, so it is done only in steps that log metrics
        return bool(distributed.total(torch.tensor(int(interrupted.is_set()), device=self.fabric.device)))

    def _stop(self, display: Display, path: Path | None) -> bool:
        self._save(path)
        where = f"Saved. To go on: crl train --resume {path}" if path else "Nothing was saved: there is no `out`."
        display.say(f"Interrupted at step {self.progress.step} of {self.progress.steps}. {where}")
        return False

    def _step(self, batch: View) -> Losses:
        """The optimiser's step for a batch of this process, in micro-batches."""
        set_rates(self.optimisers, self.progress)
        micro = cut(self._whole(batch), self.training.accumulate)
        found: list[tuple[float, Losses]] = []
        for i, part in enumerate(micro):
            share = len(part) / len(batch)
            waits = self.fabric.world_size > 1 and i + 1 < len(micro)
            with self.fabric.no_backward_sync(self.module, enabled=waits) if waits else nullcontext():
                losses = self._losses(part)
                if losses.total.requires_grad:  # otherwise `pipeline.backward` has computed the gradient
                    self.fabric.backward(losses.total * share if share < 1 else losses.total)
            found.append((share, losses))
        if self.training.clip is not None:
            for optimiser in self.optimisers:
                self.fabric.strategy.precision.unscale_gradients(optimiser)
            torch.nn.utils.clip_grad_norm_(moved_by(self.optimisers), self.training.clip, error_if_nonfinite=True)
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        scale = None if scaler is None else scaler.get_scale()
        for stepper in self.steppers:
            stepper.step()
            stepper.zero_grad()
        if scaler is not None and scaler.get_scale() < scale:
            # Gradients have overflowed in float16, and no weight has moved.
            self.pipeline.abandon()
        return mean_of(found)

    def _losses(self, batch: View) -> Losses:
        try:
            take = self.pipeline.backward if self.apart else self.module
            losses: Losses = take(batch, self.training.chunk)
        except ValueError as error:
            if len(batch) > 1:
                raise
            raise CrlError(f"a batch with one usable item: {error} Is the batch too small?") from error
        return losses

    def _advance(self, moved: bool) -> None:
        self.begun += 1
        self.progress = self.progress._replace(step=self.progress.step + 1)
        if moved:
            self.pipeline.on_step(self.progress)

    # -- metrics ---------------------------------------------------------------------------------

    def _line(self, losses: Losses, speed: float) -> dict[str, float]:
        """The metrics of this step, the mean over all processes."""
        total = self.fabric.all_reduce(losses.total.detach())
        assert isinstance(total, Tensor)
        if not total.isfinite():
            raise CrlError(not_finite(losses.terms, losses.embeddings))
        return {
            "step": self.before + self.progress.step,
            "epoch": self.progress.epoch,
            **({"stage": self.stage} if len(self.stages) > 1 else {}),
            "loss": float(total),
            **{f"loss/{name}": float(value) for name, value in losses.terms.items()},
            **{f"ignored/{name}": float(count) for name, count in losses.ignored.items() if count},
            "learning_rate": self.optimisers[0].param_groups[0]["lr"],
            "items_per_second": speed,
        }

    def _watch(self, losses: Losses, record: Record, display: Display) -> None:
        """Checks the last batch of an epoch for collapse."""
        running = [one for one in self.pipeline.contrasts if one.name in losses.terms]
        if not running:
            return
        contrast = running[0]
        if distributed.world_size() > 1 and contrast.key is not None:
            return  # all processes would have to take part
        pairs = contrast.pairs({name: _detached(table) for name, table in losses.embeddings.items()})
        if pairs is None:
            return
        figures, warnings = health(pairs)
        if not figures:
            return  # too few rows to measure
        figures |= information(contrast, pairs)
        record.write({"step": self.before + self.progress.step, "epoch": self.progress.epoch, **figures})
        if bool(warnings) != self.collapsed:  # printed when it changes, not after every epoch
            self.collapsed = bool(warnings)
            text = f"warning: {' '.join(warnings)}" if warnings else "the embeddings have spread out again"
            display.say(f"after epoch {self.progress.epoch}, {contrast.name}: {text}")

    # -- states ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _embed(self, branch: str) -> Embeddings:
        """The embeddings of the training items, in order, by a branch in evaluation mode, without augmentation."""
        self.pipeline.eval()
        wanted = set(self.pipeline.views_of(branch))
        tables = []
        for batch in in_order(self.items, self.training.batch_size):
            views = self.pipeline.clean(self._whole(batch))
            if wanted <= set(views):  # with several sources, only those that this branch reads
                tables.append(self.pipeline.embed(views, branch)[branch].rows())
        self.pipeline.train()
        return Embeddings.concat(tables)

    def open(self, path: Path, resume: bool) -> None:
        """Makes the run's folder, or restores the run in it."""
        if not resume:
            if self.fabric.is_global_zero:
                folder.create(path, self.pipeline, self.source, self.stages)
            return
        folder.check_same_run(path, self.pipeline, self.source, self.stages, write=self.fabric.is_global_zero)
        state = upgrade.checkpoint(checkpoint.load(path / folder.CHECKPOINT), path / folder.CHECKPOINT, self.pipeline)
        try:
            if len(state["random"]) != self.fabric.world_size:
                raise CrlError(
                    f"{path} was trained by {len(state['random'])} processes, and now there are "
                    f"{self.fabric.world_size}: use the same number"
                )
            self._begin(state.get("stage", 0))
            self.pipeline.load_state_dict(state["pipeline"])
            load_optimiser_state(self.optimisers, state["optimiser"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.progress = Progress(*state["progress"])
            self.begun = state["begun"]
            self.pipeline.reschedule(self.progress)
            self.place = state.get("places", [None] * self.fabric.world_size)[self.fabric.global_rank]
            checkpoint.set_random_state(state["random"][self.fabric.global_rank])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CrlError(f"{path / folder.CHECKPOINT} doesn't fit this run: {error}") from error

    def _save(self, path: Path | None) -> None:
        if path is None:
            return
        random = checkpoint.random_state()
        everywhere = [
            {
                name: self.fabric.all_gather(value)[rank] if self.fabric.world_size > 1 else value
                for name, value in random.items()
            }
            for rank in range(self.fabric.world_size)
        ]
        places = distributed.objects(self.place)
        if self.fabric.is_global_zero:
            state = {
                "version": spec.SCHEMA,
                "stage": self.stage,
                "places": places,
                "pipeline": self.pipeline.state_dict(),
                "optimiser": optimiser_state(self.optimisers),
                "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of float16
                "progress": list(self.progress),
                "begun": self.begun,
                "random": everywhere,
            }
            checkpoint.save(state, path / folder.CHECKPOINT)
        self.fabric.barrier()


class _Clock:
    """Counts items per second, from when it was made."""

    def __init__(self, items: int) -> None:
        self._items, self._steps, self._start = items, 0, time.perf_counter()

    def speed(self) -> float:
        self._steps += 1
        return self._items * self._steps / (time.perf_counter() - self._start)


def _last(record: Record) -> dict[str, float]:
    """The latest metrics: those of the last logged step, and those of the end of the last epoch."""
    return {name: value for line in record.lines[-2:] for name, value in line.items()}


def _detached(table: Embeddings) -> Embeddings:
    return Embeddings(table.z.detach(), table.meta)
