"""Recipe (what may change bits), Launch (what must not), and the shipped recipes (.toml)."""

from importlib import resources
from pathlib import Path


def shipped() -> list[str]:
    """Names of the recipes that come with majelpy."""
    folder = resources.files("majelpy") / "recipes"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".toml"))
