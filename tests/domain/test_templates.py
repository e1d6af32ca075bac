import pytest

from llmrec.domain.templates import ITEM_FIELDS, USER_FIELDS, Field, names, parse_part, require_known


def test_a_part_is_split_into_text_and_placeholders() -> None:
    assert parse_part("by {attributes[brand name]}, {title}") == [
        "by ", Field("attributes", "brand name"), ", ", Field("title")
    ]  # fmt: skip
    assert parse_part("только текст {{}}") == ["только текст {", "}"]


@pytest.mark.parametrize(
    "part", ["{}", "{0}", "{profile.x}", "{profile[a]}", "{attributes}", "{attributes[]}", "{ scene }"]
)
def test_only_known_placeholders_are_accepted(part: str) -> None:
    for known in (USER_FIELDS, ITEM_FIELDS):
        with pytest.raises(ValueError, match=r"expected one of \{"):
            require_known([part], known)


def test_a_field_is_found_in_any_part_and_in_text_never() -> None:
    assert names(["{profile}", "in {scene}"], "scene")
    assert names(["{attributes[scene]}"], "attributes")
    assert not names(["{profile}", "scene", "{{scene}}", "{attributes[scene]}"], "scene")
