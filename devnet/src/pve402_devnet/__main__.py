"""`python -m pve402_devnet`: the same as the command `pve402-devnet`."""

import sys

from pve402_devnet import main

if __name__ == "__main__":
    sys.exit(main.main())
