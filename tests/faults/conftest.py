"""The shops that faults are let loose on."""

import pytest
from pyspark.sql import SparkSession

from tests.faults.shop import Shops, open_shops


@pytest.fixture(scope="session")
def shops(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shops:
    """One undisturbed night, and as many copies of the shop before it as there are faults."""
    return open_shops(spark, tmp_path_factory.mktemp("faults"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")
