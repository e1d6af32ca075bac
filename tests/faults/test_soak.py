"""Nights in a row keep their promises, and nothing grows without end."""

import shutil

import pytest

from tests.faults import soak
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shops


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("fault", soak.FAULTS, ids=lambda fault: fault.name)
def test_over_thirty_nights_tables_and_memory_level_off_and_lists_are_right(shops: Shops, fault: Fault) -> None:
    assert fault.inject(shops) == Outcome()
