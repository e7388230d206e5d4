"""Checks of the options of methods, made before anything is traced."""

from collections.abc import Collection


def check_choice(name: str, value, choices: Collection[str]) -> None:
    """Checks a name of a variant.

    Raises:
      ValueError: it is none of `choices`.
    """
    if value not in choices:
        raise ValueError(
            f"Expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}."
        )


def check_positive(**values: float) -> None:
    """Checks numbers that have to be above 0, given by name.

    Raises:
      ValueError: one is not.
    """
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"Expected {name} > 0, got {value}.")


def check_not_negative(**values: float) -> None:
    """Checks numbers that have to be 0 or more, given by name.

    Raises:
      ValueError: one is not.
    """
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"Expected {name} >= 0, got {value}.")


def check_fraction(**values: float) -> None:
    """Checks numbers that have to be within 0 .. 1, given by name.

    Raises:
      ValueError: one is not.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"Expected {name} within 0 .. 1, got {value}.")


def check_window(first_epoch: int, last_epoch: int) -> None:
    """Checks the epochs in which a method acts.

    Raises:
      ValueError: the window ends before it begins.
    """
    if first_epoch > last_epoch:
        raise ValueError(
            f"Expected first_epoch <= last_epoch, got {first_epoch} > {last_epoch}. Both are "
            "counted from 0 and belong to the window."
        )
