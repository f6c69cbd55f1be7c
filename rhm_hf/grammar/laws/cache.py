"""Tables of a source, built once for every device and dtype."""

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch


T = TypeVar("T")


def cached_tables(make: Callable[..., T]) -> Callable[..., T]:
    """Makes `make(source, device, dtype)` remember its results: they live as long as a source equal to this one.

    What `make` returns must not hold the source itself, which is the cache's weak key.
    """
    cache: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def tables_for(source: Any, device: torch.device, dtype: torch.dtype = torch.float64) -> T:
        of_source = cache.setdefault(source, {})
        key = (str(device), dtype)
        if key not in of_source:
            of_source[key] = make(source, device, dtype)
        return of_source[key]

    tables_for.cache = cache
    return tables_for
