"""`python -m controller` is the command `controller`."""

from controller.cli import main

raise SystemExit(main())
