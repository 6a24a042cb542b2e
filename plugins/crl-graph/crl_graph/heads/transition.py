from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from crl_core import CrlError, Embeddings, Lazy

from ..encoders.objects import xavier


class Transition(Lazy):
    """Predicts the state after an action: a graph network over all pairs of objects changes each object's state.

    C-SWM (Kipf et al. 2020, equations 2 and 3): a perceptron on each pair of objects, summed over the pair's other
    object, and a perceptron on each object with its action and that sum. The last layer of the first perceptron is
    linear, so it is applied after the sum; its first layer is a sum of two products: the same numbers for half the
    work.

    Features `state` `[B, D]` and `action` `[B]` to `[B, 2, D]`: the state after the action, and the state before it.

    >>> import torch
    >>> from crl_graph.heads.transition import Transition
    >>> head = Transition(objects=5, actions=4, hidden=32)
    >>> state, action = torch.randn(8, 10), torch.randint(5 * 4, (8,))  # two numbers per object
    >>> head({"state": state, "action": action}).z.shape, head.step(state, action).shape
    (torch.Size([8, 2, 10]), torch.Size([8, 10]))

    Args:
        objects: how many; a state has the numbers of each object one after the other.
        actions: of each object; the number of an action is object · actions + which.
        hidden: width of both perceptrons.

    Raises:
        CrlError: the state is not a multiple of the objects, or an action has a higher number.
    """

    def __init__(self, objects: int = 5, actions: int = 4, hidden: int = 512) -> None:
        super().__init__()
        self.objects, self.actions, self.hidden = objects, actions, hidden

    def build(self, width: int) -> None:
        if width % self.objects:
            raise CrlError(f"a state of {width} numbers is not one of {self.objects} objects")
        size, hidden = width // self.objects, self.hidden
        self.pair = nn.Linear(2 * size, hidden)
        self.edge = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU())
        self.message = nn.Linear(hidden, hidden)
        self.node = nn.Sequential(
            nn.Linear(size + self.actions + hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, size),
        )
        self.apply(xavier)

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        """The two queries of a step, `[B, 2, D]`: the state that its action leads to, and the state before it."""
        state = features["state"]
        return Embeddings(
            torch.stack([self.step(state, features["action"]), state], 1),
            {"truth": torch.zeros(len(state), 2, dtype=torch.int64, device=state.device)},
        )

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """States `[B, D]` and actions `[B]` to the states that these lead to."""
        self.ensure_built(state)
        objects = state.view(len(state), self.objects, state.shape[1] // self.objects)
        told = torch.zeros(len(state), self.objects * self.actions, dtype=state.dtype, device=state.device)
        try:
            told.scatter_(1, action.unsqueeze(1), 1.0)
        except RuntimeError:
            raise CrlError(
                f"{self.objects} objects with {self.actions} actions each, but the source has action "
                f"{int(action.max())}: give the recipe as many objects and actions as the source has"
            ) from None
        known = torch.cat([objects, told.view(len(state), self.objects, self.actions), self._messages(objects)], -1)
        moved: Tensor = self.node(known).flatten(1)
        return state + moved

    def _messages(self, objects: Tensor) -> Tensor:
        """The sum of the messages of all others to each object, `[B, objects, hidden]`."""
        size = objects.shape[-1]
        mine, theirs = self.pair.weight[:, :size], self.pair.weight[:, size:]
        pairs = (objects @ mine.T + self.pair.bias).unsqueeze(2) + (objects @ theirs.T).unsqueeze(1)
        one, other = (~torch.eye(self.objects, dtype=torch.bool, device=objects.device)).nonzero(as_tuple=True)
        told = self.edge(pairs[:, one, other]).unflatten(1, (self.objects, self.objects - 1))
        found: Tensor = told.sum(2) @ self.message.weight.T + (self.objects - 1) * self.message.bias
        return found


class NextAndOther(nn.Module):
    """The two keys of a step, `[B, 2, D]`: the state after it, and the state before another step; see `Transition`.

    Features `next` and `state` `[B, D]`, and `other` `[B]`, the place of the other step in the batch.

    >>> import torch
    >>> from crl_graph.heads.transition import NextAndOther
    >>> state = torch.tensor([[1.0], [2.0]])
    >>> NextAndOther()({"state": state, "next": state + 0.5, "other": torch.tensor([1, 0])}).z[0]
    tensor([[1.5000],
            [2.0000]])
    """

    def forward(self, features: Mapping[str, Tensor]) -> Embeddings:
        after, other = features["next"], features["state"][features["other"]]
        truth = torch.arange(2, device=after.device).expand(len(after), 2)
        return Embeddings(torch.stack([after, other], 1), {"truth": truth})
