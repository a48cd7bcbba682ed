"""Base of models whose network is described by a genome."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.models.base import BaseModel
from lightning_gvae.nets.genome_autoencoder import build_decoder, build_encoder, initialise
from lightning_gvae.nets.genome_plan import Decoder, Plan, costs, plan
from lightning_gvae.rng import torch_stream

__all__ = ["GenomeBuilt", "genome_optimizer"]

# Keras's constants where they differ from torch's.
_KERAS: dict[str, dict[str, float]] = {
    "adam": {"eps": 1e-7},
    "rmsprop": {"alpha": 0.9, "eps": 1e-7},
    "adagrad": {"initial_accumulator_value": 0.1, "eps": 1e-7},
    "adadelta": {"rho": 0.95, "eps": 1e-7},
}
_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
}


def genome_optimizer(genome: Genome, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The genome's optimiser at its learning rate; by the reference's rules with Keras's constants."""
    constants = _KERAS[genome.optimizer] if genome.rules == "reference" else {}
    return _OPTIMIZERS[genome.optimizer](list(parameters), lr=genome.lr, **constants)


class GenomeBuilt(BaseModel):
    """Builds ``encoder`` and ``decoder`` from ``genome`` in ``configure_model``; initial weights are a function of
    ``seed``.

    The genome is a hyper-parameter, so that ``load_from_checkpoint`` builds the same network. A search hands it over
    with :meth:`adopt`, before ``configure_model``.
    """

    genome: Genome | None
    image_shape: tuple[int, ...]
    upsampling: Decoder
    variational: bool = False
    seed: int
    encoder: nn.Module
    decoder: nn.Module
    _weights: Mapping[str, Tensor] | None = None
    _built = False

    @property
    def plan(self) -> Plan:
        """Layers of the network.

        Raises:
            ConfigError: There is no genome yet.
        """
        if self.genome is None:
            raise ConfigError(
                "the network has no genome: give `genome`, or add the callback ArchitectureEvolution, which finds one "
                "before training starts"
            )
        return plan(self.genome, self._shape, self.upsampling, self.variational)

    def costs(self, genome: Genome) -> dict[str, float]:
        """``loc``, ``macs`` and ``parameters`` of a genome, without building it."""
        return self.cost_function()(genome)

    def cost_function(self) -> Callable[[Genome], dict[str, float]]:
        """:meth:`costs` without the module; can be sent to other processes."""
        return partial(costs, image_shape=self._shape, decoder=self.upsampling, variational=self.variational)

    def take_genome(self, given: Mapping[str, Any] | str | None) -> None:
        """Take the constructor's genome, if there is one; hyper-parameters have it as plain containers.

        Raises:
            ConfigError: It is no genome.
        """
        self.genome = None if given is None else Genome.parse(given)
        if self.genome is not None:
            self.hparams["genome"] = self.genome.to_dict()

    def adopt(self, genome: Genome, weights: Mapping[str, Tensor] | None = None) -> None:
        """Take over a genome, and weights of its network if there are any.

        Raises:
            ConfigError: The network is built already.
        """
        if self._built:
            raise ConfigError("the network is built already; a genome must be adopted before `configure_model`")
        self.genome, self._weights = genome, weights
        self.hparams["genome"] = genome.to_dict()

    def candidate_factory(self) -> Callable[..., "GenomeBuilt"]:
        """Makes modules like this one from ``genome`` and ``seed``; can be sent to other processes."""
        own = set(inspect.signature(type(self)).parameters) - {"genome", "seed"}
        settings = {name: value for name, value in self.hparams.items() if name in own}
        return partial(type(self), **settings)

    def configure_model(self) -> None:
        """Build the network; later calls do nothing."""
        if self._built:
            return
        layers = self.plan
        assert self.genome is not None
        # The layers' own initial weights come from the global generator; they are replaced.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            self.encoder = build_encoder(layers, self.genome.rules)
            self.decoder = build_decoder(layers, self.genome.rules)
        stream = torch_stream(self.seed, "initial-weights")
        initialise(self.encoder, stream)
        initialise(self.decoder, stream)
        self._built = True
        if self._weights is not None:
            self.load_state_dict(self._weights)
            self._weights = None

    def configure_optimizers(self) -> Any:
        """The genome's optimiser."""
        assert self.genome is not None
        return genome_optimizer(self.genome, (p for p in self.parameters() if p.requires_grad))

    def features(self, images: Tensor) -> Tensor:
        """Features for a classifier, ``(B, Z)``."""
        raise NotImplementedError

    def check_genome(self, checkpoint: Mapping[str, Any]) -> None:
        """Adopt the genome of a checkpoint, if there is none yet.

        Raises:
            CheckpointError: The checkpoint has another genome, or none.
        """
        stored = checkpoint.get("hyper_parameters", {}).get("genome")
        if stored is None:
            raise CheckpointError("the checkpoint holds no genome; it was not written by a model built from one.")
        genome = Genome.from_dict(stored)
        if self.genome is None:
            self.adopt(genome)
        elif genome.key != self.genome.key:
            raise CheckpointError(
                f"the checkpoint belongs to another genome (stored {genome.key}, now {self.genome.key}); start "
                "without `ckpt_path`, or with the stored genome."
            )
        self.configure_model()

    @property
    def _shape(self) -> tuple[int, int, int]:
        channels, height, width = self.image_shape
        return channels, height, width
