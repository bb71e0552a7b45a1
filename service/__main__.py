"""`python -m twinlens.service` is the command `twinlens`."""

from twinlens.service.cli import main

main()
