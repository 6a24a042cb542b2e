"""Worlds of objects."""

from __future__ import annotations

from typing import Any

import crl_core as crl

from .measure import Clock, Row, row


def c_swm(shape: Any) -> list[Row]:
    """Hits@1 among 10,000 test episodes on the paper's 2D shapes or its 3D cubes, 1,000 training episodes of 100 steps;
    a quarter of the paper's width and of its epochs, one seed. CPU seconds are for training."""
    from crl_graph.sources.blocks import Blocks

    source = Blocks(shape, episodes=1_000, steps=100, test_episodes=10_000)
    recipe = crl.recipe("c-swm", source=source, preset="blocks", epochs=26, batch_size=512)
    with Clock() as clock:
        pipeline = crl.fit(recipe.pipeline, source, recipe.training, accelerator="cpu", show=False).pipeline
    figures = crl.evaluate(pipeline, source, untrained=pipeline).figures
    published = {1: 1.0, 5: 1.0, 10: 0.999} if shape == "shapes" else {}
    return [
        row(
            f"c-swm {shape}",
            f"hits@1, {steps} steps",
            figures[f"hits@1, {steps} steps"]["test"]["trained"],
            published=published.get(steps),
            cpu=clock.seconds,
        )
        for steps in (1, 5, 10)
    ]
