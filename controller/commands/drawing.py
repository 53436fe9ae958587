"""Whether a picture can be drawn: asked before the work, not after it."""

from pathlib import Path
from typing import Final

from controller.options.base import SettingsError

FORMATS: Final = (".png", ".svg")


def refuse_picture(path: Path, option: str) -> None:
    """Refuses a file of another kind, and any where matplotlib is not installed; raises `SettingsError`."""
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"{option} {path} must end in {' or '.join(FORMATS)}")
    try:
        import matplotlib.figure  # noqa: F401, PLC0415  # an extra, and slow to load
    except ImportError as error:
        raise SettingsError(f"{option} needs matplotlib: pip install 'adaptive-k[plot]'") from error
