from __future__ import annotations

import torch
from torch import Tensor

from crl_core import CrlError, View, Views

from .augmented import at_once, chosen, middle, pictures, unit
from .parameters import PARAMETERS, Drawn, apply, columns_of, draw
from .settings import Augmentation


class LeaveOneOut:
    """A query, a key that shares no parameters with it, and for each step a key that shares that step's.

    An embedding space that should stay sensitive to a step gets the key with the query's parameters of that step (Xiao
    et al. 2021, LooC). The views are called `query`, `all`, and like the steps. Each step has a column of its name: the
    number of the view whose parameters were used, 0 for the query's.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_vision.samplers.leave_one_out import LeaveOneOut
    >>> batch = crl.View(torch.rand(4, 3, 32, 32), {"instance": torch.arange(4)})
    >>> views = LeaveOneOut("simclr-small", kept=["crop", "colour"])(batch)
    >>> {name: view.meta["crop"][0].item() for name, view in views.items()}
    {'query': 0, 'all': 1, 'crop': 0, 'colour': 3}

    Args:
        settings: the name of a published setting, or one augmentation.
        kept: steps that share their parameters in turn, of "move", "crop", "flip", "colour", "grey", "blur"
            and "solarise".
        size: height and width of the views, in pixels; None keeps those of the source.

    Raises:
        CrlError: there is no such setting or step, or this augmentation does not have the step.
        ValueError: a number is out of its range.
    """

    def __init__(
        self, settings: str | list[Augmentation] = "simclr", kept: list[str] | None = None, size: int | None = None
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size is at least 1 pixel, not {size}")
        self.settings, self.kept, self.size = settings, kept, size
        self._how = chosen(settings)[0]
        with torch.random.fork_rng([]):
            done = draw(self._how, torch.zeros(1, 3, 8, 8)).values
        steps = [step for step in ("crop", "colour", "move") if PARAMETERS[step][0] in done] if kept is None else kept
        self._shared = {step: columns_of([step]) for step in steps}
        for step, columns in self._shared.items():
            if not columns & done.keys():
                raise CrlError(f"this augmentation does nothing of {step!r}, so no view can keep it")
        self.views = ("query", "all", *self._shared)

    @torch.no_grad()
    def __call__(self, images: View) -> Views:
        data = unit(images.data)
        parts = at_once(data)
        query = [draw(self._how, part) for part in parts]
        views = {"query": self._made(images, parts, query, dict.fromkeys(self._shared, 0))}
        for number, name in enumerate(self.views[1:], 1):
            own = [draw(self._how, part) for part in parts]
            shared = self._shared.get(name, frozenset())
            own = [one.sharing(other, shared) for one, other in zip(own, query, strict=True)]
            views[name] = self._made(images, parts, own, {step: number * (step != name) for step in self._shared})
        return views

    def _made(self, images: View, parts: tuple[Tensor, ...], drawn: list[Drawn], whose: dict[str, int]) -> View:
        size = (self.size, self.size) if self.size else (parts[0].shape[2], parts[0].shape[3])
        with torch.autocast(parts[0].device.type, enabled=False):
            made = torch.cat([apply(*both, size) for both in zip(parts, drawn, strict=True)])
        return View(
            made,
            {**images.meta, **{step: torch.full((len(made),), n, device=made.device) for step, n in whose.items()}},
        )

    @torch.no_grad()
    def clean(self, images: View) -> View:
        """Resized so that the short side is `size`, and cut to the middle square."""
        return middle(images, self.size)

    def depict(self, images: View) -> Tensor:
        """Pictures for a report: bytes `[N, H, W, 3]`."""
        return pictures(images.data)
