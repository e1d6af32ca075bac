"""How a table is named: by path, or by catalog name."""


def is_catalog_name(name: str) -> bool:
    """Tell a catalog name (silver.events) from a path (lake/events, s3://bucket/events)."""
    return "." in name and "/" not in name and not name.startswith(".")


def table_name(location: str, table: str) -> str:
    """Return the name of ``table`` in a folder or catalog schema."""
    return f"{location.rstrip('/')}{'.' if is_catalog_name(location) else '/'}{table}"
