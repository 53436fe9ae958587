"""The command `controller`, and what `python -m controller` runs."""

import gc


def main() -> int:
    """Run the command. What is imported stays: to look for garbage in it takes a sixth of the start."""
    gc.disable()
    from controller.cli import main as command  # noqa: PLC0415  # after that

    return command(ready=_ready)


def _ready() -> None:
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    raise SystemExit(main())
