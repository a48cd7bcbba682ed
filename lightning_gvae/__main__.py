"""``python -m lightning_gvae``: the commands, and each of them where the scripts are not on the path."""

import importlib
import sys

from lightning_gvae.io.version import PACKAGE, package_version

__all__ = ["main"]

# Command -> its module in `cli`, and what it does.
COMMANDS = {
    "train": ("train", "train one model, from the configuration to its final numbers"),
    "eval": ("evaluate", "scores of a trained model on the test set"),
    "export": ("export", "a trained model as a folder, as ONNX or as programs of torch.export"),
    "study": ("study", "a protocol over many runs that ends in tables, figures and an answer"),
    "inspect": ("inspect", "a data set before training"),
    "app": ("app", "the web lab on this machine"),
}


def main() -> None:
    """List the commands, or run the one that the first argument names with the others."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print(f"{PACKAGE} {package_version()}")
    elif not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:9}{text}" for name, (_, text) in COMMANDS.items()]
        print(f"{PACKAGE} {package_version()}\n\npython -m lightning_gvae <command> [settings], or gvae-<command>:\n")
        print("\n".join(lines))
        print("\ngvae-<command> --help lists the settings of a command.")
    elif arguments[0] in COMMANDS:
        sys.argv = [f"gvae-{arguments[0]}", *arguments[1:]]
        importlib.import_module(f"lightning_gvae.cli.{COMMANDS[arguments[0]][0]}").main()
    else:
        sys.exit(f"there is no command {arguments[0]!r}; there are {', '.join(COMMANDS)}.")


if __name__ == "__main__":
    main()
