"""Functions with one implementation for each family of sources, chosen by the type of their first argument."""

import functools
from collections.abc import Callable


def by_family(function: Callable) -> Callable:
    """Makes `function(grammar, ..)` the implementation for all sources that have none of their own.

    `function.register(cls, implementation)` gives the subclasses of `cls` theirs, with the same arguments. Unlike
    `functools.singledispatch`, the grammar may be passed by keyword.
    """
    implementations: dict[type, Callable] = {}

    @functools.wraps(function)
    def of_family(grammar, *args, **kwargs):
        for cls in type(grammar).__mro__:
            if cls in implementations:
                return implementations[cls](grammar, *args, **kwargs)
        return function(grammar, *args, **kwargs)

    def register(cls: type, implementation: Callable) -> None:
        implementations[cls] = implementation

    of_family.register = register
    return of_family
