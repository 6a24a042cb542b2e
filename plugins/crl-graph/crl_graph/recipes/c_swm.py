from __future__ import annotations

from crl_core import (
    L2,
    AdamW,
    Branch,
    Contrast,
    CosineDecay,
    CrlError,
    Pair,
    PerQuery,
    Pipeline,
    Recipe,
    Source,
    Training,
    same,
)

from ..encoders.objects import Objects
from ..heads.transition import NextAndOther, Transition
from ..samplers.transitions import Transitions
from ..sources.blocks import Blocks

SIGMA = 0.5


def c_swm(
    source: Source | None = None,
    objects: int = 5,
    actions: int = 4,
    size: int = 2,
    hidden: int = 128,
    epochs: int = 40,
    batch_size: int = 256,
) -> Recipe:
    """C-SWM: the state that an action leads to is near the next picture's, and another picture's far from this one's.

    Paper: Kipf, van der Pol, Welling 2020, Contrastive Learning of Structured World Models

    Checked against: equations 4 to 6, energy ½/σ² Σ‖·‖² as a mean over objects, plus max(0, 1 - energy) of a state
    and another one of the batch. As in the source, and unlike the review's table, which calls it a GCN, the
    transition is a perceptron on all pairs of objects, and the negative is compared with the state before, without
    the transition. Differs in one pass for the pictures before and after, a rate that falls, and by default in a
    quarter of the width, which does as well in a small part of the time.

    Args:
        source: of steps with an action; pushed shapes that need no download by default.
        actions: of each object.
        size: numbers for each object.
        hidden: width of encoder and transition; the paper has 512, for 100 epochs of 100,000 steps.
    """
    if min(objects, actions, size, hidden) < 1:
        raise CrlError(f"objects, actions, size and hidden are 1 or more, not {(objects, actions, size, hidden)}")
    pipeline = Pipeline(
        sampler=Transitions(),
        branches={
            "states": Branch("step", encoder=Objects(objects, size, hidden)),
            "predicted": Branch("step", tracks="states", head=Transition(objects, actions, hidden)),
            "met": Branch("step", tracks="states", head=NextAndOther()),
        },
        contrasts=[
            Contrast(
                "predicted",
                "met",
                # Pair takes the square: the energy is ‖·‖² / (2 σ² objects).
                score=L2((2 * SIGMA**2 * objects) ** 0.5),
                loss=Pair(margin=1.0, form="squared"),
                positive=same("truth"),
                negative=~same("truth"),
                keys=PerQuery(),
                weight=2.0,  # it is a mean over both pairs of a step, and the source's a sum
                name="energy",
            )
        ],
    )
    training = Training(
        epochs=epochs, batch_size=batch_size, optimiser=AdamW(1e-3, weight_decay=0.0), schedule=CosineDecay()
    )
    return Recipe(pipeline, source or Blocks(), training)
