from __future__ import annotations

import crl_core as crl
from crl_core import same

from ..encoders.objects import Objects
from ..graphs import World
from ..heads.transition import NextAndOther, Transition
from ..samplers.transitions import Transitions

ADAM = {"optimiser": crl.AdamW(1e-3, weight_decay=0.0), "schedule": crl.CosineDecay()}


@crl.presets(blocks=ADAM | {"hidden": 128, "epochs": 40, "batch_size": 256})
def c_swm(world: World = World(), size: int = 2, hidden: int = 512, sigma: float = 0.5) -> crl.Recipe:
    """C-SWM: the state that an action leads to is near the next picture's, and another picture's far from this one's.

    Paper: Kipf, van der Pol, Welling 2020, Contrastive Learning of Structured World Models
    Checked: equations 4 to 6, energy ½/σ² Σ‖·‖² as a mean over objects, plus max(0, 1 - energy) of a state and another
        one of the batch. As in the source, the negative is compared with the state before, without the transition.
    Differs: pictures before and after go through the encoder together. `Blocks()` has a tenth of the paper's steps.
    """
    # Pair squares, so the energy is ‖·‖² / (2 σ² objects). Its mean over the two pairs of a step is half the sum.
    score, loss = crl.L2((2 * sigma**2 * world.objects) ** 0.5), crl.Pair(margin=1.0, form="squared")
    moved, keys, true = Transition(world.objects, world.actions, hidden), crl.PerQuery(), same("truth")
    energy = crl.Contrast(
        "predicted", "met", score=score, loss=loss, positive=true, negative=~true, keys=keys, weight=2.0, name="energy"
    )
    return world.recipe(
        crl.Training(epochs=100, batch_size=1_024, optimiser=crl.Adam(5e-4), schedule=crl.Constant()),
        sampler=Transitions(),
        branches={
            "states": crl.Branch("step", encoder=Objects(world.objects, size, hidden)),
            "predicted": crl.Branch("step", tracks="states", head=moved),
            "met": crl.Branch("step", tracks="states", head=NextAndOther()),
        },
        contrasts=[energy],
    )
