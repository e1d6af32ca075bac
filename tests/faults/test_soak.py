"""Nights in a row keep their promises."""

import shutil

import pytest

from tests.faults import soak
from tests.faults.shop import Outcome, Shops

NIGHTS = 10
"""So many that items go and old dates are deleted; bench.faults runs 30, and looks at what grows."""


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_in_nights_in_a_row_everybody_gets_a_list_of_what_is_there(shops: Shops) -> None:
    assert soak.many_nights(shops, NIGHTS) == Outcome()
