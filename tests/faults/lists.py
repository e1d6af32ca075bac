"""What holds of the lists of a date, whatever is in them."""

from collections import Counter
from datetime import date

from pyspark.sql import functions as F

from tests.faults.shop import Outcome, Shop

_LENGTH = 4
"""Rows that planted's settings ask for."""


def check_lists(shop: Shop, day: date, outcome: Outcome) -> None:
    """Expect for each user four distinct items that are there and that they had not.

    A row that a list lacks is lost; one that is there twice, or should not be in it, is doubled.
    """
    rows = shop.table("recommendations").filter(F.col("run_date") == day).select("user_id", "item_id")
    had = Counter(map(tuple, rows.join(shop.table("events"), ["user_id", "item_id"], "left_semi").collect()))
    users = {
        row[0] for table in ("events", "users") for row in shop.table(table).select("user_id").distinct().collect()
    }
    items = {row[0] for row in shop.table("items").select("item_id").collect()}
    found, good = Counter(map(tuple, rows.collect())), Counter[str]()
    for user, item in found:
        good[user] += user in users and item in items and (user, item) not in had
    lost = sum(max(_LENGTH - good[user], 0) for user in users)
    beyond = sum(max(count - _LENGTH, 0) for count in good.values())
    doubled = found.total() - good.total() + beyond
    what = f"rows of {day}, expected four distinct items for each of {len(users)} users, there and not had before"
    outcome.expect(not lost, f"there lack {lost} {what}")
    outcome.expect(not doubled, f"there are {doubled} too many {what}")
    outcome.lost_rows += lost
    outcome.doubled_rows += doubled
