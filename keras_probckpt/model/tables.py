"""Mutable lookup tables: what they hold is kept in a resource of TensorFlow's, and no variable."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["TABLES", "TableContents", "contents_of", "put_contents"]

TABLES: tuple[type, ...] = (tf.lookup.experimental.MutableHashTable, tf.lookup.experimental.DenseHashTable)


@dataclasses.dataclass(frozen=True)
class TableContents:
    """What a table holds.

    Attributes:
        keys: The keys, ascending.
        values: The value of each.
    """

    keys: Any
    values: Any

    def key(self) -> tuple[bytes, bytes]:
        """Return what is equal for equal contents."""
        return repr(self.keys.tolist()).encode(), repr(self.values.tolist()).encode()


def contents_of(table: Any) -> TableContents:
    """Read what a table holds."""
    keys, values = (item.numpy() for item in table.export())
    if isinstance(table, tf.lookup.experimental.DenseHashTable):
        is_used = ~np.isin(keys, [table._empty_key.numpy(), table._deleted_key.numpy()])
        keys, values = keys[is_used], values[is_used]
    order = np.argsort(keys, kind="stable")
    return TableContents(keys[order], values[order])


def put_contents(table: Any, contents: TableContents) -> bool:
    """Let a table hold what another one held.

    Returns:
        Whether it held anything else before.
    """
    before = contents_of(table)
    if before.key() == contents.key():
        return False
    table.remove(tf.constant(before.keys))
    table.insert(tf.constant(contents.keys), tf.constant(contents.values))
    return True
