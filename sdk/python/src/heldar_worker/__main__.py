"""`python -m heldar_worker`: the same as the command `heldar-worker`."""

import sys

from .cli import main

sys.exit(main())
