"""Settings of the command line that are sections with a name: the name alone may stand for the section."""

import re
from collections.abc import Iterable

__all__ = ["NAMED_SECTIONS", "named_sections"]

NAMED_SECTIONS = ("model.network", "model.adversary.discriminator")


def named_sections(overrides: Iterable[str]) -> list[str]:
    """Overrides in which a section's name and its other settings can stand side by side.

    A name alone replaces the section, which Hydra does by itself. Where other settings of the section are given too it
    becomes one of them, whatever the order.

    >>> named_sections(["model.network=conv", "model.network.width=64"])
    ['model.network.name=conv', 'model.network.width=64']
    >>> named_sections(["model.network=conv", "seed=1"])
    ['model.network=conv', 'seed=1']
    """
    found = list(overrides)
    for section in NAMED_SECTIONS:
        if any(each.lstrip("+").startswith(f"{section}.") for each in found):
            alone = re.compile(rf"^(\+*){re.escape(section)}=(?!\{{)")
            found = [alone.sub(rf"\g<1>{section}.name=", each) for each in found]
    return found
