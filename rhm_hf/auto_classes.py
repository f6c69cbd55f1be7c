"""What the Auto classes of transformers know of a class of configurations, asked of that class alone."""


def classes_of(config_class: type, auto_class: str) -> tuple[type, ...]:
    """The classes of models that an Auto class has for a class of configurations; none where it has none.

    The mapping's `keys()` would say it, too, but to make them transformers imports the configurations of all its
    architectures, which takes a second. It finds its own classes by their names, so that a class of the same name from
    elsewhere has to be told from them, unless somebody registered it.
    """
    import transformers

    mapping = getattr(transformers, auto_class)._model_mapping
    if config_class.__module__.partition(".")[0] != "transformers" and config_class not in mapping._extra_content:
        return ()
    found = mapping.get(config_class, ())
    return tuple(found) if isinstance(found, tuple | list) else (found,)
