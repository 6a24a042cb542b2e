"""Reading the text of a relation."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from ..errors import did_you_mean
from .relation import And, Beyond, Near, Not, Or, Relation, RelationError, Same, Weighted, Within

_WORDS: dict[str, tuple[type[Relation], tuple[type | tuple[type, ...], ...]]] = {
    "same": (Same, (str,)),
    "within": (Within, (str, (int, float))),
    "beyond": (Beyond, (str, (int, float))),
    "near": (Near, (str, (int, float))),
    "weighted": (Weighted, (str,)),
}
_LONGEST = 1_000  # characters; keeps Python's own parser far from its depth limits


def parse(text: str) -> Relation:
    """The relation that prints as `text`.

    The text may have the functions above, `&`, `|`, `~` and brackets. No code is run.

    Raises:
        RelationError: the text has anything else; the error quotes it.
    """
    if len(text) > _LONGEST:
        raise RelationError(f"a relation of {len(text)} characters; at most {_LONGEST} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise RelationError(f"can't read the relation {text!r}: {error}") from None
    return _build(tree.body, text)


def _build(node: ast.expr, text: str) -> Relation:
    match node:
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return And(_build(left, text), _build(right, text))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Or(_build(left, text), _build(right, text))
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return Not(_build(operand, text))
        case ast.Call(func=ast.Name(id=word), args=args, keywords=[]):
            return _call(word, args, text)
    raise _unreadable(node, text, f"expected {', '.join(f'{word}(…)' for word in _WORDS)} joined by &, | and ~")


def _call(word: str, args: list[ast.expr], text: str) -> Relation:
    if word not in _WORDS:
        raise RelationError(
            f"no relation {word!r} in {text!r}; there are {', '.join(_WORDS)}.{did_you_mean(word, _WORDS)}"
        )
    relation, types = _WORDS[word]
    values = [_constant(node, text) for node in args]
    wanted = ", ".join("column" if t is str else "distance" for t in types)
    if len(values) != len(types):
        raise RelationError(f"{word} in {text!r} takes ({wanted}), not {len(values)} values")
    for value, kind in zip(values, types, strict=True):
        if isinstance(value, bool) or not isinstance(value, kind):
            raise RelationError(f"{word} in {text!r} takes ({wanted}); {value!r} doesn't fit")
    return relation(*values)


def _constant(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
        return node.value
    raise _unreadable(node, text, "expected a column's name or a number")


def _unreadable(node: ast.expr, text: str, expected: str) -> RelationError:
    part = ast.get_source_segment(text, node) or text
    return RelationError(f"can't read {part!r} in the relation {text!r}: {expected}")
