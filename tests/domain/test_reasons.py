import numpy as np
import pytest

from llmrec.domain.features import COLUMN, FEATURES
from llmrec.domain.reasons import added_by_ground, reason

COVISITED = "People who chose “Kettle” often choose this too"
SIMILAR = "Similar to “Teapot”, which you liked"
POPULAR = "Popular with many people"


def say(added: dict[str, float], **known: object) -> str:
    contributions = np.zeros((1, len(FEATURES)))
    for name, value in added.items():
        contributions[0, COLUMN[name]] = value
    facts = {
        "covisited_with": None,
        "by_alike": False,
        "follows": None,
        "similar_to": None,
        "taken_before": False,
        "supplied": False,
        "has_profile": False,
    } | known
    return reason({ground: float(value) for ground, [value] in added_by_ground(contributions).items()}, **facts)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ({"covisitation": 2.0, "dense": 1.0, "popularity": 1.5}, COVISITED),
        ({"covisitation": 1.0, "dense": 2.0, "popularity": 1.5}, SIMILAR),
        ({"covisitation": 1.0, "dense": 1.0, "popularity": 1.5}, POPULAR),
        ({"covisitation": 1.0, "dense": 0.7, "pair_logit": 0.7}, SIMILAR),  # features of one ground add up
        ({"covisitation": 3.0, "covisitation_last": -2.5, "popularity": 1.0}, POPULAR),
        ({"supplied": 9.0, "history_length": 9.0, "popularity": 0.1}, POPULAR),  # these two are no grounds
    ],
)
def test_the_ground_that_added_most_speaks(added: dict[str, float], expected: str) -> None:
    assert say(added, covisited_with="Kettle", similar_to="Teapot") == expected


def test_what_comes_next_names_what_it_follows() -> None:
    assert say({"next": 1.0, "next_last": 1.0, "covisitation": 1.5}, covisited_with="Cup", follows="Kettle") == (
        "Often chosen after “Kettle”"
    )


def test_what_a_user_had_before_is_called_so() -> None:
    assert say({"again": 2.0, "covisitation": 1.5}, covisited_with="Cup", taken_before=True) == "You chose this before"
    assert say({"again": 2.0, "covisitation": 1.5}, covisited_with="Cup") != "You chose this before"


def test_a_ground_without_its_item_is_passed_over() -> None:
    assert say({"covisitation": 3.0, "dense": 2.0, "popularity": 1.0}) == POPULAR
    assert say({"covisitation": 3.0, "dense": 2.0}, similar_to="Teapot") == SIMILAR


def test_where_no_item_can_be_named_it_is_the_people_who_are_alike() -> None:
    alike = "Chosen by people whose choices are like yours"
    assert say({"als": 3.0, "popularity": 1.0}, by_alike=True) == alike
    assert say({"als": 3.0, "popularity": 1.0}, by_alike=True, covisited_with="Kettle") == COVISITED
    assert say({"als": 1.0, "popularity": 3.0}, by_alike=True) == POPULAR


def test_without_liked_items_similarity_speaks_of_the_profile() -> None:
    assert say({"dense": 2.0, "popularity": 1.0}, has_profile=True) == "Fits your profile"
    assert say({"dense": 2.0, "popularity": 1.0}, has_profile=True, similar_to="Teapot") == SIMILAR


def test_where_nothing_spoke_for_the_item_the_supplied_list_is_named() -> None:
    against = {"covisitation": -1.0, "dense": -1.0, "popularity": -1.0}
    assert say(against, supplied=True, covisited_with="Kettle") == "From a list chosen for you"
    assert say(against, covisited_with="Kettle") == COVISITED
    assert say(against) == POPULAR
