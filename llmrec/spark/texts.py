"""Templates filled in with the columns of a table."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.templates import Field, parse_part

_BETWEEN = ". "


def item_text(template: Sequence[str]) -> Column:
    """Return the text of a row of items; see `_filled`."""
    category = F.concat_ws(", ", C.CATEGORY)
    values = {"title": F.col(C.TITLE), "category": category, "text": F.col(C.TEXT), "attributes": F.col(C.ATTRIBUTES)}
    return _filled(template, values)


def user_text(template: Sequence[str], scene: Column) -> Column:
    """Return what the text of a row of users begins with, in ``scene``; see `_filled`."""
    values = {
        "profile": F.col(C.TEXT), "segment": F.col(C.SEGMENT), "scene": scene, "attributes": F.col(C.ATTRIBUTES)
    }  # fmt: skip
    return _filled(template, values)


def _filled(template: Sequence[str], values: Mapping[str, Column]) -> Column:
    """Put values in the place of placeholders and join the parts.

    A part without one of its values, null or blank, is left out; without any part the text is empty.
    """

    def value(piece: str | Field) -> Column:
        if isinstance(piece, str):
            return F.lit(piece)
        found = values[piece.name] if piece.key is None else F.element_at(values[piece.name], piece.key)
        return F.when(F.btrim(found) != "", found)

    return F.concat_ws(_BETWEEN, *(F.concat(*(value(piece) for piece in parse_part(part))) for part in template))
