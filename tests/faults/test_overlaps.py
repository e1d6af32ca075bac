"""Runs that overlap do not get into one another's way, or say so."""

import pytest

from tests.faults import overlaps
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shops


@pytest.mark.faults
@pytest.mark.parametrize("fault", overlaps.FAULTS, ids=lambda fault: fault.name)
def test_of_two_runs_of_a_date_one_publishes_and_two_dates_are_both_published(shops: Shops, fault: Fault) -> None:
    assert fault.inject(shops) == Outcome()
