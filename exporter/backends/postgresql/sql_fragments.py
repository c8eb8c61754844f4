"""Parts of SQL statements, made from the description of the tables. Pure."""

from __future__ import annotations

from exporter.tables import SQL_TYPES, Table


def column_list(table: Table) -> str:
    """The columns of a table, quoted and separated by commas."""
    return ", ".join(f'"{name}"' for name in table.names)


def typed_row(table: Table) -> str:
    """The template of one row in a VALUES list, with a placeholder for each column.

    Each value has a cast, because an untyped NULL in a VALUES list is text.
    """
    types = SQL_TYPES["postgresql"]
    # CAST and not `::`, which binds tighter than the minus sign of the smallest bigint.
    casts = (f"CAST(%s AS {types[column.kind]})" for column in table.columns)
    return f"({', '.join(casts)})"
