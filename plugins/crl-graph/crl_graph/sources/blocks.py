"""Worlds of objects that an action pushes over a grid (C-SWM, Kipf et al. 2020, section 4.1), seen from above."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from crl_core import CrlError, View, check_split

GRID, OBJECTS, CELL = 5, 5, 10  # as in the paper: 50 pixels in all
DIRECTIONS = torch.tensor([[-1, 0], [0, 1], [1, 0], [0, -1]])
COLOURS = torch.tensor([[220, 50, 47], [38, 139, 210], [133, 203, 0], [255, 193, 7], [211, 54, 200]], dtype=torch.uint8)


class Episodes(NamedTuple):
    """Where objects are, `[E, T + 1, OBJECTS, 2]` as row and column, and the actions `[E, T]`."""

    place: Tensor
    action: Tensor


class Blocks:
    """Five objects on a grid of 5 × 5 cells; an action pushes one of them to the next cell, if that is free.

    An item is a step: the picture before the action, `observation` `[3, 50, 50]`, the `action` (object · 4 +
    direction), and the picture after it, `next`. The columns `episode` and `time` say which step it is. The test
    episodes have other starts, and are ten steps long. The simulated world of C-SWM (Kipf et al. 2020).

    >>> from crl_graph.sources.blocks import Blocks
    >>> items = Blocks(episodes=2, steps=3).items("train")
    >>> step = items.__getitems__([4])
    >>> len(items), step.data["observation"].shape, step.meta["episode"].item(), step.meta["time"].item()
    (6, torch.Size([1, 3, 50, 50]), 1, 1)

    Args:
        shape: "shapes" are circles, triangles and squares, seen from above; "cubes" are seen from the side,
            and hide parts of each other.
        episodes, steps: for training; the paper has 1,000 of 100.
        test_episodes: the paper has 10,000.
        seed: of all episodes.

    Raises:
        CrlError: a number is below 1, or the shape is another word.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    evaluators: ClassVar[tuple[str, ...]] = ("graph/next-state-ranking",)
    actions: ClassVar[int] = OBJECTS * len(DIRECTIONS)

    def __init__(
        self,
        shape: Literal["shapes", "cubes"] = "shapes",
        episodes: int = 200,
        steps: int = 50,
        test_episodes: int = 500,
        seed: int = 0,
    ) -> None:
        if shape not in ("shapes", "cubes"):
            raise CrlError(f'the shape is "shapes" or "cubes", not {shape!r}')
        if min(episodes, steps, test_episodes) < 1:
            raise CrlError(f"there is an episode and a step at least, not {episodes}, {steps}, {test_episodes}")
        self.shape, self.episodes, self.steps = shape, episodes, steps
        self.test_episodes, self.seed = test_episodes, seed

    def items(self, split: str) -> Steps:
        check_split(split, self.splits)
        return Steps(self._train if split == "train" else self._test, self.shape)

    @cached_property
    def _train(self) -> Episodes:
        return walked(self.episodes, self.steps, torch.Generator().manual_seed(2 * self.seed))

    @cached_property
    def _test(self) -> Episodes:
        return walked(self.test_episodes, 10, torch.Generator().manual_seed(2 * self.seed + 1))


class Steps:
    """The steps of episodes, one after the other; pictures are drawn when they are asked for."""

    def __init__(self, episodes: Episodes, shape: Literal["shapes", "cubes"]) -> None:
        self.episodes, self.shape = episodes, shape

    def __len__(self) -> int:
        return self.episodes.action.numel()

    def __getitems__(self, indices: list[int]) -> View:
        index = torch.tensor(indices)
        steps = self.episodes.action.shape[1]
        episode, time = index // steps, index % steps
        data = {
            "observation": drawn(self.episodes.place[episode, time], self.shape),
            "action": self.episodes.action[episode, time],
            "next": drawn(self.episodes.place[episode, time + 1], self.shape),
        }
        return View(data, {"instance": index, "episode": episode, "time": time})


def walked(episodes: int, steps: int, generator: torch.Generator) -> Episodes:
    """Random actions in worlds that begin with the objects anywhere; all episodes at once."""
    cell = torch.rand(episodes, GRID * GRID, generator=generator).argsort(1)[:, :OBJECTS]
    places = [torch.stack([cell // GRID, cell % GRID], -1)]
    action = torch.randint(0, OBJECTS * len(DIRECTIONS), (episodes, steps), generator=generator)
    for time in range(steps):
        places.append(pushed(places[-1], action[:, time]))
    return Episodes(torch.stack(places, 1), action)


def pushed(place: Tensor, action: Tensor) -> Tensor:
    """Where the objects `[E, OBJECTS, 2]` are after an action `[E]`."""
    row, which = torch.arange(len(place)), action // len(DIRECTIONS)
    goal = place[row, which] + DIRECTIONS[action % len(DIRECTIONS)]
    inside = ((goal >= 0) & (goal < GRID)).all(-1)
    taken = (place == goal.unsqueeze(1)).all(-1).any(1)
    after = place.clone()
    after[row, which] = torch.where((inside & ~taken).unsqueeze(-1), goal, place[row, which])
    return after


def drawn(place: Tensor, shape: Literal["shapes", "cubes"]) -> Tensor:
    """Pictures `[B, 3, 50, 50]` in bytes of objects at `[B, OBJECTS, 2]`, those further away first."""
    count = len(place)
    size = GRID * CELL
    mask, paint = (_shapes if shape == "shapes" else _cubes)()
    height, width = mask.shape[-2:]
    # Who is on which cell; OBJECTS where nobody is, whose mask is empty.
    who = torch.full((count, GRID * GRID), OBJECTS)
    who.scatter_(1, place[..., 0] * GRID + place[..., 1], torch.arange(OBJECTS).expand(count, -1))
    picture = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    for cell in range(GRID * GRID):
        top, left = _corner(cell // GRID, cell % GRID, shape)
        area = picture[:, :, top : top + height, left : left + width]
        covers = mask[who[:, cell]][:, None, : area.shape[2], : area.shape[3]]
        area.copy_(torch.where(covers, paint[who[:, cell]][:, :, : area.shape[2], : area.shape[3]], area))
    return picture


def _corner(row: int, column: int, shape: str) -> tuple[int, int]:
    if shape == "shapes":
        return row * CELL, column * CELL
    return 4 + 4 * (row + column), 20 + 4 * (column - row)


def _shapes() -> tuple[Tensor, Tensor]:
    """Circle, triangle, square, circle, triangle: which pixels of a cell they cover, and in what colours."""
    y, x = torch.meshgrid(torch.arange(CELL) + 0.5, torch.arange(CELL) + 0.5, indexing="ij")
    circle = (y - CELL / 2) ** 2 + (x - CELL / 2) ** 2 <= (CELL / 2) ** 2
    triangle = (x - CELL / 2).abs() <= y / 2
    square = torch.ones_like(circle)
    mask = torch.stack([circle, triangle, square, circle, triangle, torch.zeros_like(circle)])
    return mask, _painted(torch.ones(CELL, CELL))


def _cubes() -> tuple[Tensor, Tensor]:
    """A cube seen from a corner: a bright top, and a left and a right side in the shade."""
    y, x = torch.meshgrid(torch.arange(10) + 0.5, torch.arange(10) - 4.5, indexing="ij")
    top = (y - 3).abs() * 1.6 + x.abs() <= 4.9
    side = ~top & (y > 3) & (y <= 9.5 - x.abs() * 0.6)
    light = torch.where(top, 1.0, torch.where(x < 0, 0.7, 0.45))
    mask = (top | side).expand(OBJECTS, -1, -1)
    return torch.cat([mask, torch.zeros(1, 10, 10, dtype=torch.bool)]), _painted(light)


def _painted(light: Tensor) -> Tensor:
    """`[OBJECTS + 1, 3, h, w]`: each object's colour in this light."""
    colours = torch.cat([COLOURS, torch.zeros(1, 3, dtype=torch.uint8)])
    return (colours[:, :, None, None] * light).to(torch.uint8)
