"""Settings of a population's front, and of the probe that its members are scored on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lightning_gvae.errors import checked_choice, checked_count

__all__ = ["TRAINING_WAYS", "FrontChoice", "PopulationFront", "TrainingWay"]

FrontChoice = Literal["knee", "index"]
TrainingWay = Literal["auto", "stacked", "one_by_one"]
TRAINING_WAYS = get_args(TrainingWay)


@dataclass(frozen=True)
class PopulationFront:
    """Treatment of the front that a run ends with.

    Args:
        choose: Member that the run is tested with: ``knee``, or ``index``. With one objective the knee is the best.
        index: For ``index``, counted from 1 in the order of ``front.json``.
        test_images: Images of the test part that the members are scored on, at most; None for all, 0 for none.
        pick: Do not train a population but this member of a saved front, counted from 1; None trains a population.
        file: ``front.json`` for ``pick``; None takes the newest below ``folder``.
        folder: Where fronts are looked for; None for the folder above the run folder.

    Raises:
        ConfigError: A value is out of its range.
    """

    choose: FrontChoice = "knee"
    index: int = 1
    test_images: int | None = None
    pick: int | None = None
    file: str | Path | None = None
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        checked_choice("front.choose", self.choose, get_args(FrontChoice))
        checked_count("front.index", self.index)
        if self.test_images is not None:
            checked_count("front.test_images", self.test_images, least=0, unit="images")
        if self.pick is not None:
            checked_count("front.pick", self.pick)
