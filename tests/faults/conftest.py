"""The shops that faults are let loose on."""

import pytest
from pyspark.sql import SparkSession

from tests.faults.shop import Shops, open_shops


@pytest.fixture(scope="session")
def shops(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shops:
    """One undisturbed night, and as many copies of the shop before it as there are faults."""
    return open_shops(spark, tmp_path_factory.mktemp("faults"))
