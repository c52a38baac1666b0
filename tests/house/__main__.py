import sys
from pathlib import Path

from house.figures import main

main(*(Path(arg) for arg in sys.argv[1:2]))
