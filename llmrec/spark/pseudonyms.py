"""Pseudonyms of users: what stands for an id wherever the id itself is not needed.

A pseudonym is the HMAC-SHA256 of the id under a secret key (RFC 2104), in 64 hexadecimal digits: the same id has the
same one in every table, and whoever lacks the key can neither compute it nor try out ids until one fits.
"""

import hashlib
import hmac

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from llmrec import columns as C
from llmrec.errors import ConfigError
from llmrec.spark.convert import convert

_IDENTITY = "identity"


def pseudonym(user_id: str, key: bytes) -> str:
    """Return what stands for ``user_id``."""
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def fingerprint(key: bytes) -> str:
    """Return what tells keys apart; it is no one's pseudonym, as no id has that character."""
    return pseudonym("\0", key)


def with_pseudonyms(rows: DataFrame, key: bytes, column: str = C.USER) -> DataFrame:
    """Replace the ids in ``column``, which are text, by pseudonyms; null stays null."""
    # The key travels with the function: a literal would stand in plans, which Spark's pages show.
    named = F.udf(lambda one: None if one is None else pseudonym(one, key), T.StringType(), useArrow=True)
    return rows.withColumn(column, named(column))


def ids_of_source(mapped: DataFrame) -> DataFrame | None:
    """Return ``mapped``, a source with our columns, with its user ids as the tables would have them.

    None if its type is none that can be an id.
    """
    user = convert(F.col(C.USER), mapped.schema[C.USER].dataType, T.StringType())
    return None if user is None else mapped.withColumn(C.USER, user)


def pseudonymous(mapped: DataFrame, key: bytes) -> DataFrame:
    """Replace the user ids of ``mapped``, a source with our columns, where they are what can be an id."""
    readable = ids_of_source(mapped) if C.USER in mapped.columns else None
    return mapped if readable is None else with_pseudonyms(readable, key)


def with_identities(rows: DataFrame, sources: list[DataFrame], key: bytes) -> DataFrame:
    """Put ids for the pseudonyms in ``rows`` again, by those of the users in ``sources`` (at least one).

    Rows of users who are in none of the sources are left out. Raises ConfigError if that would be all of them.
    """
    readable = [found.select(C.USER) for one in sources if (found := ids_of_source(one)) is not None]
    ids = readable[0]
    for more in readable[1:]:
        ids = ids.unionByName(more)
    known = with_pseudonyms(ids.distinct().withColumn(_IDENTITY, F.col(C.USER)), key)
    found = rows.join(known, on=C.USER, how="inner").withColumn(C.USER, F.col(_IDENTITY)).select(*rows.columns)
    if found.isEmpty():
        raise ConfigError(
            "privacy.pseudonyms: nobody in the lists is in the sources under this key, expected the key that prepare "
            "had: run prepare again if it was changed"
        )
    return found
