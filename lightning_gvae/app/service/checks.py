"""Checks of what a person enters, with messages for that person."""

from lightning_gvae.errors import ConfigError

__all__ = ["number_between", "whole_number"]

HIGHEST_SEED = 2**63 - 1


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """``value`` as an integer within bounds; 64.0 counts as 64, as browsers send it.

    Raises:
        ConfigError: It is no whole number, or out of bounds.
    """
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a whole number from {least:,} to {most:,}, got {value!r}.")
    if not least <= value <= most:
        raise ConfigError(f"{name} must be from {least:,} to {most:,}, got {int(value):,}; choose a number in between.")
    return int(value)


def number_between(name: str, value: object, least: float, most: float) -> float:
    """``value`` as a number within bounds.

    Raises:
        ConfigError: It is no number, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}.")
    return float(value)
