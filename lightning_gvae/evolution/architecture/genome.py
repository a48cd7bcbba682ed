"""A convolutional autoencoder as genes: what is varied, what it means, and when two genomes mean the same."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from lightning_gvae.errors import ConfigError

__all__ = ["ACTIVATIONS", "OPTIMIZERS", "Block", "Genome", "Rules"]

Rules = Literal["reference", "robust"]
ACTIVATIONS = ("relu", "sigmoid")
OPTIMIZERS = ("adam", "rmsprop", "adagrad", "adadelta")
_BLOCK = re.compile(r"(\d+)k(\d+)(n?)([rs])(p?)")  # filters, kernel, norm, activation, pooling


@dataclass(frozen=True)
class Block:
    """Genes of one convolution block, in the order of the reference's flat list.

    Args:
        active: Whether the block is there.
        filters: Channels; a later block never has more than the active one before it.
        kernel: Odd side of the kernel.
        batch_norm: Batch normalisation after the convolution, in the encoder.
        activation: ``relu`` or ``sigmoid``, in encoder and decoder.
        dropout: 0..10, ignored by the reference's decoding and here.
        pool: 1 pools 2x2; 0 and 2 do not.
        skip: 0..2, ignored by the reference's decoding and here.
    """

    active: int = 1
    filters: int = 16
    kernel: int = 3
    batch_norm: int = 0
    activation: str = "relu"
    dropout: int = 0
    pool: int = 0
    skip: int = 0


@dataclass(frozen=True)
class Genome:
    """Genes of one autoencoder.

    Args:
        blocks: Convolution blocks from the image on; the first is active.
        optimizer: One of ``OPTIMIZERS``.
        lr: Learning rate, positive.
        rules: ``reference`` decodes as the released code does (the first block's activation on the pixels, Keras's
            constants); ``robust`` ends in logits and has torch's constants.

    Raises:
        ConfigError: There is no block, the first is not active, or a gene has a value that means nothing.
    """

    blocks: tuple[Block, ...]
    optimizer: str = "adam"
    lr: float = 1e-3
    rules: Rules = "reference"

    def __post_init__(self) -> None:
        if not self.blocks or not self.blocks[0].active:
            raise ConfigError(f"`blocks` must begin with an active block, got {self.blocks!r}")
        for number, block in enumerate(self.blocks):
            if block.filters < 1 or block.kernel < 1 or block.kernel % 2 == 0:
                raise ConfigError(
                    f"block {number} must have at least one filter and an odd kernel, got {block.filters} and "
                    f"{block.kernel}"
                )
            if block.activation not in ACTIVATIONS:
                raise ConfigError(f"`activation` must be one of {', '.join(ACTIVATIONS)}, got {block.activation!r}")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if not self.lr > 0:
            raise ConfigError(f"`lr` must be a positive learning rate, got {self.lr!r}")
        if self.rules not in get_args(Rules):
            raise ConfigError(f"`rules` must be one of {', '.join(get_args(Rules))}, got {self.rules!r}")

    @property
    def phenotype(self) -> tuple[Block, ...]:
        """Active blocks as they are built: channels never grow, genes without effect are at their default."""
        built: list[Block] = []
        for block in self.blocks:
            if block.active:
                filters = min(block.filters, built[-1].filters) if built else block.filters
                norm, pool = int(bool(block.batch_norm)), int(block.pool == 1)
                built.append(Block(1, filters, block.kernel, norm, block.activation, pool=pool))
        return tuple(built)

    @property
    def key(self) -> str:
        """Canonical text of the phenotype: two genomes with the same key make the same network and training.

        >>> Genome((Block(filters=8, pool=2), Block(active=0), Block(filters=64, kernel=5, pool=1))).key
        '8k3r-8k5rp adam 0.001 reference'
        """
        blocks = "-".join(
            f"{b.filters}k{b.kernel}{'n' * b.batch_norm}{b.activation[0]}{'p' * b.pool}" for b in self.phenotype
        )
        return f"{blocks} {self.optimizer} {self.lr:g} {self.rules}"

    @classmethod
    def from_key(cls, text: str) -> Self:
        """The genome that a :attr:`key` describes, without genes that have no effect.

        >>> Genome.from_key("8k3r-8k5nsp adam 0.001 reference").key
        '8k3r-8k5nsp adam 0.001 reference'

        Raises:
            ConfigError: The text is no key.
        """
        names = {name[0]: name for name in ACTIVATIONS}
        try:
            stack, optimizer, lr, rules = text.split()
            found = [_BLOCK.fullmatch(part) for part in stack.split("-")]
            blocks = tuple(
                Block(1, int(m[1]), int(m[2]), int(bool(m[3])), names[m[4]], pool=int(bool(m[5]))) for m in found if m
            )
            if len(blocks) < len(found):
                raise ValueError("a block cannot be read")
            genome = cls(blocks, optimizer, float(lr), rules)  # type: ignore[arg-type]
            if genome.phenotype != blocks:
                raise ValueError("channels grow towards the code")
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(
                "`genome` must be blocks, optimiser, learning rate and rules, as in the column genome of "
                "front.csv, for "
                f"example '16k3nrp-4k3rp adam 0.001 robust', got {text!r} ({error})"
            ) from error
        return genome

    @classmethod
    def parse(cls, given: str | Mapping[str, Any]) -> Self:
        """A genome as users write it: a key, JSON, or plain containers.

        Raises:
            ConfigError: It is none of them.
        """
        if isinstance(given, str):
            return cls.from_json(given) if given.lstrip().startswith("{") else cls.from_key(given)
        return cls.from_dict(given)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON and checkpoints."""
        return {
            "blocks": [list(asdict(block).values()) for block in self.blocks],
            "optimizer": self.optimizer,
            "lr": self.lr,
            "rules": self.rules,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`.

        Raises:
            ConfigError: A field is missing, too much or of another kind.
        """
        try:
            blocks = tuple(Block(*block) for block in data["blocks"])
            rest = {name: data[name] for name in ("optimizer", "lr", "rules")}
            if len(data) != 4 or not all(isinstance(b, list | tuple) and len(b) == 8 for b in data["blocks"]):
                raise TypeError("a field is missing or too much")
            return cls(blocks, **rest)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                "`genome` must hold blocks (lists of 8 genes), optimizer, lr and rules, as `Genome.to_dict` writes "
                f"them, got {data!r} ({error})"
            ) from error

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of :meth:`to_json`.

        Raises:
            ConfigError: The text is no genome.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"`genome` must be JSON as `Genome.to_json` writes it, got {text!r}") from error
        if not isinstance(data, dict):
            raise ConfigError(f"`genome` must be a JSON object, got {text!r}")
        return cls.from_dict(data)
