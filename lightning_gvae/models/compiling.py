"""Networks compiled by torch, in place: checkpoints and the copies of a look-ahead are those of plain networks."""

from collections.abc import Iterable

from torch import nn

from lightning_gvae.errors import checked_choice

__all__ = ["MODES", "Compile", "compile_networks"]

Compile = bool | str

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile


def compile_networks(networks: Iterable[nn.Module], setting: Compile, modes: Iterable[str] = MODES) -> None:
    """Have networks compiled when they are first called; nothing if ``setting`` is False.

    The networks within a model, never the model: logging and hooks must stay outside the graph. Networks with an LSTM
    are left as they are, since torch compiles none.

    Args:
        networks: What is compiled, each to a graph of its own.
        setting: True, or the name of one of torch's modes; ``reduce-overhead`` replays CUDA graphs.
        modes: Modes that the model can be compiled in.

    Raises:
        ConfigError: There is no such mode.
    """
    if setting is False or setting is None:
        return
    if setting is not True:
        checked_choice("compile", setting, (False, True, *modes))
    for network in networks:
        if not any(isinstance(part, nn.RNNBase) for part in network.modules()):
            network.compile(mode=None if setting is True else str(setting))
