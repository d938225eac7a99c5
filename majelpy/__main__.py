"""``python -m majelpy`` is the program `majel`."""

import sys

from majelpy.cli import main

sys.exit(main())
