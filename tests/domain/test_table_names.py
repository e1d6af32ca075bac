import pytest

from llmrec.domain.table_names import is_catalog_name, table_name


@pytest.mark.parametrize("name", ["silver.events", "main.silver.events"])
def test_names_with_dots_alone_are_catalog_names(name: str) -> None:
    assert is_catalog_name(name)


@pytest.mark.parametrize("name", ["lake", "lake/events", "./lake", "../lake", ".lake", "s3://bucket.eu/lake", "/a.b/c"])
def test_everything_else_is_a_path(name: str) -> None:
    assert not is_catalog_name(name)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("lake", "lake/events"),
        ("lake/", "lake/events"),
        ("v1.2/lake", "v1.2/lake/events"),
        ("s3://bucket.eu/lake", "s3://bucket.eu/lake/events"),
        ("silver", "silver/events"),
        ("main.silver", "main.silver.events"),
        ("/", "/events"),
    ],
)
def test_a_table_is_named_in_its_folder_or_schema(location: str, expected: str) -> None:
    assert table_name(location, "events") == expected
