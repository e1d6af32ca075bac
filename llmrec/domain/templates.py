"""Templates of what the model reads: parts of text with placeholders in the form of Python's format strings."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Formatter

USER_FIELDS = ("profile", "segment", "scene", "attributes[NAME]")
ITEM_FIELDS = ("title", "category", "text", "attributes[NAME]")


@dataclass(frozen=True)
class Field:
    """A placeholder, such as {title}, or {attributes[brand]} with its key."""

    name: str
    key: str | None = None

    @property
    def kind(self) -> str:
        """How USER_FIELDS and ITEM_FIELDS spell it."""
        return self.name if self.key is None else f"{self.name}[NAME]"


def parse_part(part: str) -> list[str | Field]:
    """Split a part into literal text and placeholders; {{ and }} stand for braces.

    Raises ValueError if it is blank, its braces do not match, or a placeholder asks for a format of its own.
    """
    if not part.strip():
        raise ValueError(f"the part {part!r} is blank, expected text or a placeholder")
    try:
        parsed = list(Formatter().parse(part))
    except ValueError as error:
        raise ValueError(
            f"the part {part!r} cannot be read ({error}); expected placeholders such as {{name}}"
        ) from None
    found: list[str | Field] = []
    for literal, name, form, conversion in parsed:
        if literal:
            found.append(literal)
        if form or conversion:
            raise ValueError(f"the part {part!r} formats {{{name}}}, expected the name alone")
        if name is not None:
            keyed = re.fullmatch(r"(.*?)\[(.+)\]", name)
            found.append(Field(keyed[1], keyed[2]) if keyed else Field(name))
    return found


def require_known(template: Iterable[str], known: Sequence[str]) -> None:
    """Raise ValueError as `parse_part`, and if a placeholder is not among ``known``."""
    for part in template:
        for piece in parse_part(part):
            if isinstance(piece, Field) and piece.kind not in known:
                name = piece.name if piece.key is None else f"{piece.name}[{piece.key}]"
                raise ValueError(
                    f"the part {part!r} names {{{name}}}, expected one of {', '.join(f'{{{one}}}' for one in known)}"
                )


def names(template: Iterable[str], field: str) -> bool:
    """Tell whether a part of ``template`` has a placeholder for ``field``."""
    return any(isinstance(piece, Field) and piece.name == field for part in template for piece in parse_part(part))
