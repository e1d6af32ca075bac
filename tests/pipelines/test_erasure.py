"""Where an erasure looks beside the tables."""

from pathlib import Path

import pytest

from llmrec import columns as C
from llmrec.config import load_config
from llmrec.pipelines.erasure import ours_and_theirs, read_ids

OWN = "sources.{0}.path=rows sources.{0}.format=csv sources.{0}.columns.{1}=id"
PREPARED = [*OWN.format("events", "user_id").split(), *OWN.format("items", "item_id").split()]


@pytest.mark.parametrize(
    ("overrides", "also", "expected"),
    [
        ([], (), [C.EVENTS, C.USERS, C.IMPRESSIONS, C.CANDIDATES, C.DENIED]),  # all are written in place of prepare
        (PREPARED[:3], (), [C.USERS, C.IMPRESSIONS, C.CANDIDATES, C.DENIED]),
        (PREPARED, (), [C.CANDIDATES, C.DENIED]),
        ([*PREPARED, "tables.names.users=crm.users"], (), [C.USERS, C.CANDIDATES, C.DENIED]),
        ([*PREPARED, "tables.names.users=crm.users"], (C.USERS, C.DENIED), [C.CANDIDATES]),
        ([*PREPARED, "tables.names.events=lake/clicks"], (), [C.CANDIDATES, C.DENIED]),
    ],
)
def test_a_table_is_of_others_where_prepare_would_not_write_it(
    overrides: list[str], also: tuple[str, ...], expected: list[str]
) -> None:
    ours, theirs = ours_and_theirs(load_config(None, overrides), also)
    assert theirs == expected
    assert sorted(ours + theirs) == sorted(
        [C.EVENTS, C.USERS, C.IMPRESSIONS, C.QUARANTINE, C.RECOMMENDATIONS, C.CANDIDATES, C.DENIED]
    )


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("\ufeffu1\r\n u2\n\nu1\n", encoding="utf-8")
    assert read_ids(tmp_path / "users.txt") == ["u1", "u2"]
