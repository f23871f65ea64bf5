"""`python -m kerastune`, for where the command is not on the path."""

import sys

from kerastune.cli import main

sys.exit(main())
