"""The program `majel`; it catches signals before it loads the rest."""

import sys

from majelpy.train.signals import interrupting


def program() -> int:
    """Run the command that the program was called with; return the exit code."""
    with interrupting():
        try:
            from majelpy.cli import main
        except KeyboardInterrupt as stop:
            print(f"majel: {stop}", file=sys.stderr)
            return 130
        return main()


if __name__ == "__main__":
    sys.exit(program())
