"""Run the command line as `python -m perdure.cli`."""

from . import main

main()
