from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from crl_core import CrlError, Pipeline, Source, View, batches, device_of


class NextStateRanking:
    """The rank of the true state by its distance from the predicted one, among the true states of all episodes.

    The evaluation of C-SWM (Kipf et al. 2020, section 4.3): for 1, 5 and 10 predicted steps the share of episodes whose
    true state is the nearest (`hits@1`), and the mean of 1 / its rank (`mrr`). With ties the true state comes
    first. For items with the columns `episode` and `time`, and a head with a method `step(state, action)`.

    >>> import crl_core as crl
    >>> from crl_graph.evaluators.next_state_ranking import NextStateRanking
    >>> from crl_graph.sources.blocks import Blocks
    >>> source = Blocks(episodes=1, steps=2, test_episodes=4)
    >>> pipeline = crl.recipe("c-swm").pipeline.eval()
    >>> _ = pipeline.build(source.items("train").__getitems__([0, 1]), source)
    >>> list(NextStateRanking(steps=(1, 5))(pipeline, source, "test"))
    ['hits@1, 1 steps', 'mrr, 1 steps', 'hits@1, 5 steps', 'mrr, 5 steps']

    Args:
        steps: after how many steps to rank.

    Raises:
        CrlError: a step is below 1, the items have no episodes, or no head has a method `step`.
    """

    takes: ClassVar[Literal["pipeline"]] = "pipeline"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, steps: tuple[int, ...] = (1, 5, 10)) -> None:
        if not steps or min(steps) < 1:
            raise CrlError(f"steps are 1 or more, not {steps}")
        self.steps = steps

    def __call__(self, pipeline: Pipeline, source: Source, split: str) -> dict[str, float]:
        states, actions = _episodes(pipeline, source, split)
        step = _step(pipeline)
        found: dict[str, float] = {}
        state = states[:, 0]
        for time in range(min(max(self.steps), actions.shape[1])):
            state = step(state, actions[:, time])
            if time + 1 in self.steps:
                rank = ranks(state, states[:, time + 1])
                found[f"hits@1, {time + 1} steps"] = float((rank == 1).double().mean())
                found[f"mrr, {time + 1} steps"] = float(rank.double().reciprocal().mean())
        return found


def _episodes(pipeline: Pipeline, source: Source, split: str) -> tuple[Tensor, Tensor]:
    """The states `[E, T + 1, D]` of all episodes, and their actions `[E, T]`."""
    before, after, actions, episodes = [], [], [], []
    for batch in batches(source.items(split), 1024, device_of(pipeline)):
        if not isinstance(batch.data, dict) or not {"episode", "time"} <= set(batch.meta):
            raise CrlError("next states are ranked for items with observation, action, next, and columns episode, time")
        last = batch.meta["time"] == batch.meta["time"].max()
        before.append(pipeline.representation(View(batch.data["observation"], batch.meta)))
        after.append(pipeline.representation(View(batch.data["next"], batch.meta).take(last)))
        actions.append(batch.data["action"])
        episodes.append(batch.meta["episode"])
    action, episode = torch.cat(actions), torch.cat(episodes)
    count = int(episode.max()) + 1
    if len(episode) % count or sum(map(len, after)) != count:
        raise CrlError("the episodes of a split have one length, of 1,024 steps at most")
    states = torch.cat(before).view(count, len(episode) // count, -1)
    return torch.cat([states, torch.cat(after).unsqueeze(1)], 1), action.view(count, -1)


def _step(pipeline: Pipeline) -> Any:
    for branch in pipeline.branches.values():
        step = getattr(branch.head, "step", None)
        if step is not None:
            return step
    raise CrlError("none of the pipeline's heads has a method step(state, action)")


def ranks(predicted: Tensor, true: Tensor) -> Tensor:
    """The rank of row i of `true` among all its rows by distance from row i of `predicted`; 1 is the nearest."""
    found = []
    for rows in torch.arange(len(true), device=true.device).split(1024):
        distance = torch.cdist(predicted[rows], true, compute_mode="donot_use_mm_for_euclid_dist")
        own = distance.gather(1, rows.unsqueeze(1))
        found.append((distance < own).sum(1) + 1)
    return torch.cat(found)
