"""What MoCo and those that stand on it share: two views, a momentum encoder for one, and a queue of its keys."""

from __future__ import annotations

from crl_core import Branch, Contrast, Cosine, Encoder, Head, InfoNCE, Momentum, Queue, same

from .defaults import Shape


def query_and_key(shape: Shape, encoder: Encoder, head: Head, momentum: float | None) -> dict[str, Branch]:
    """The two branches; the momentum is by default 0.999 for a million images and 0.99 for fewer."""
    if momentum is None:
        momentum = 0.999 if shape.many else 0.99
    return {
        "query": Branch("a", encoder=encoder, head=head),
        "key": Branch("b", tracks="query", update=Momentum(momentum)),
    }


def against_the_queue(shape: Shape, temperature: float, queue: int | None, weight: float = 1.0) -> Contrast:
    """The other view now, against earlier keys of other images; 65,536 for a million images, 4,096 for fewer."""
    if queue is None:
        queue = 65_536 if shape.many else 4_096
    return Contrast(
        "query",
        "key",
        score=Cosine(temperature),
        loss=InfoNCE(),
        positive=same("instance") & same("batch"),
        negative=~same("instance") & ~same("batch"),
        keys=Queue(queue),
        weight=weight,
    )
