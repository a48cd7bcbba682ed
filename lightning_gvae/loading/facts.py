"""Facts of the data that a model was trained on, kept with its weights."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from lightning_gvae.errors import CheckpointError

__all__ = ["TrainedData"]

Bound = float | tuple[float, ...]


@dataclass(frozen=True)
class TrainedData:
    """Facts of a data set, those of :class:`~lightning_gvae.interfaces.DataFacts` and the range of its values.

    Args:
        name: Name of the data set.
        image_shape: ``(C, H, W)``; ``(D,)`` of points; ``(T, V)`` of sentences, most tokens and tokens in all.
        num_classes: Number of labels, if there are any.
        class_names: Names of the labels, if they have any.
        factor_names: Names of the factors, if the targets are factors.
        factor_sizes: Number of classes of each factor.
        is_grid: Whether there is one image for every combination of factors.
        binary: Whether pixels are either 0 or 1.
        value_range: Least and greatest value of what the model decodes: (0, 1) of images, ``(D,)`` each of points;
            None of sentences.
    """

    name: str
    image_shape: tuple[int, ...]
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()
    factor_sizes: tuple[int, ...] = ()
    is_grid: bool = False
    binary: bool = False
    value_range: tuple[Bound, Bound] | None = (0.0, 1.0)

    @classmethod
    def of(cls, datamodule: object, ranged: object | None = None) -> "TrainedData | None":
        """Facts that a data module states; None if it states none.

        Args:
            datamodule: The data module; loaded, unless ``ranged`` is given.
            ranged: What is asked for the range instead, a model that knows it.
        """
        from lightning_gvae.interfaces import DescribedData, offers

        if not offers(datamodule, DescribedData):
            return None
        spec: Any = datamodule.spec  # of a user's own class, which may say less
        stated = {each.name: getattr(spec, each.name, each.default) for each in fields(cls)[2:-1]}
        limits = _range_of(datamodule if ranged is None else ranged)
        return cls._checked({"name": spec.name, "image_shape": spec.image_shape, **stated, **limits})

    @classmethod
    def parse(cls, stored: object) -> "TrainedData":
        """Facts of plain containers, as :meth:`as_dict` writes them; what a later release added is left out.

        Raises:
            CheckpointError: They are something else.
        """
        try:
            return cls._checked(stored)
        except (TypeError, ValueError, KeyError) as error:
            raise CheckpointError(f"the facts of the data are damaged ({error}), got {stored!r:.100}.") from error

    @classmethod
    def _checked(cls, stored: Any) -> "TrainedData":
        known: dict[str, Any] = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        known |= {"name": str(known["name"]), "image_shape": tuple(map(int, known["image_shape"]))}
        for name, kind in (("class_names", str), ("factor_names", str), ("factor_sizes", int)):
            known[name] = tuple(map(kind, known.get(name) or ()))
        if known.get("num_classes") is not None:
            known["num_classes"] = int(known["num_classes"])
        if known.get("value_range") is not None:
            low, high = known["value_range"]
            known["value_range"] = (_bound(low), _bound(high))
        return cls(**known)

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, for checkpoints and JSON."""
        return {name: _listed(value) for name, value in asdict(self).items()}


def _range_of(source: object) -> dict[str, Any]:
    from lightning_gvae.interfaces import HasDataRange, HasVocabulary, offers  # they import torch

    if offers(source, HasDataRange):
        low, high = source.data_range
        return {"value_range": (low.tolist(), high.tolist())}
    return {"value_range": None} if offers(source, HasVocabulary) else {}


def _bound(value: Any) -> Bound:
    return tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value
