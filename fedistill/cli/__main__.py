"""Run the command line: ``python -m fedistill.cli``."""

from fedistill.cli.main import main

main()
