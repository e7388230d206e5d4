"""Names and order of methods, and in what configurations differ."""

from collections.abc import Mapping, Sequence

# In which order methods are listed; others follow by name.
METHODS = (
    "joint", "unimodal", "tcmax", "infonce", "ogm", "ogm_ge", "opm", "agm", "qmf", "pmr", "mla",
    "mmpareto",
)  # fmt: skip


def order(name: str) -> tuple[int, str]:
    """Returns a key by which to sort methods."""
    return (METHODS.index(name) if name in METHODS else len(METHODS)), name


def labels(sections: Sequence[Mapping]) -> list[str]:
    """Returns the kind of each method or head, with the options in which those of a kind differ.

    Args:
      sections: the section `method` of each configuration, or the section `model.fusion`.

    Returns:
      Labels such as "joint" and, where another run has another projection, "mla (projection=owm)".
    """
    groups = {}
    for section in sections:
        groups.setdefault(section["kind"], []).append(section)
    differing = {name: [path for path, _ in differing_fields(g)] for name, g in groups.items()}
    texts = []
    for section in sections:
        options = [f"{o}={section.get(o)}" for o in differing[section["kind"]]]
        texts.append(section["kind"] + (f" ({', '.join(options)})" if options else ""))
    return texts


def flat(tree: Mapping, path: str = "") -> dict:
    """Returns {"section.field": value} of a configuration."""
    fields = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            fields |= flat(value, f"{path}{name}.")
        else:
            fields[path + name] = value
    return fields


def differing_fields(configs: Sequence[Mapping]) -> list[tuple[str, list]]:
    """Returns (path, the value in each configuration) of the fields that are not equal in all.

    A field that a configuration does not have is None there.
    """
    trees = [flat(config) for config in configs]
    paths = dict.fromkeys(path for tree in trees for path in tree)
    values = [(path, [tree.get(path) for tree in trees]) for path in paths]
    return [(path, own) for path, own in values if any(value != own[0] for value in own)]
