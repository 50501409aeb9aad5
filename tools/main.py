"""The `caffe` command: finds the subcommand's module, and words what goes wrong."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from .. import __version__, logs
from ..errors import ConfigError, DataError, DeviceError, DivergedError, nearest
from ..user_layers import user_code

CAFFE_VERSION = "1.0.0"  # whose commands and files this one takes

# Name of the subcommand: its module in this folder, and what it does.
COMMANDS = {
    "train": ("train_net", "train or fine-tune a net"),
    "test": ("eval_net", "score a net"),
    "time": ("time_net", "measure how long a net takes, layer by layer"),
    "device_query": ("device_query", "show the devices that nets can run on"),
    "doctor": ("doctor", "say what is usable here, and what to install"),
    "summary": ("summary", "show a net's layers, shapes, operations and bytes"),
    "classify": ("classify", "show the most likely classes of images"),
    "convert_imageset": ("convert_imageset", "make a database of images"),
    "convert_mnist_data": ("convert_mnist_data", "make a database of MNIST's files"),
    "convert_cifar_data": ("convert_cifar_data", "make databases of CIFAR-10's files"),
    "compute_image_mean": ("compute_image_mean", "make the mean image of a database"),
    "dataset": ("dataset", "make the databases of a well-known data set"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit status.

    0 for success and for the usage text, 1 for every error, which is worded in one message. What a layer
    written in Python raises passes through.
    """
    logs.install()
    try:
        with user_code.forbidden():
            return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except (ConfigError, DataError, DeviceError, DivergedError) as error:
        logs.progress.clear()
        print(f"caffe: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("caffe: interrupted", file=sys.stderr)
        return 130
    except Exception:
        logs.progress.clear()
        raise


def _dispatch(argv: list[str]) -> int:
    if argv and argv[0].lstrip("-") == "version" and argv[0].startswith("-"):
        print(f"caffe version {CAFFE_VERSION}\npycaffe-like version {__version__}")
        return 0
    # Flags may stand before the command, as gflags allows.
    place = 0 if argv and not argv[0].startswith("-") else _find_command(argv)
    if place is None:
        print(usage())
        return 0
    command = argv.pop(place)
    if command not in COMMANDS:
        hint = nearest(command, COMMANDS) or f"known commands: {', '.join(COMMANDS)}"
        raise ConfigError(f"unknown command '{command}'", hint=hint)
    module = importlib.import_module(f"{__package__}.{COMMANDS[command][0]}")
    return int(module.main(argv))


def _find_command(argv: list[str]) -> int | None:
    return next((place for place, word in enumerate(argv) if word in COMMANDS), None)


def usage() -> str:
    """Text that is shown when no command is given."""
    lines = ["usage: caffe <command> <flags>", "", "commands:"]
    lines += [f"  {name:<20}{summary}" for name, (_, summary) in COMMANDS.items()]
    lines += ["", "caffe <command> -help shows the flags of a command; caffe -version the versions."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
