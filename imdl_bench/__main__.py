"""``python -m imdl_bench``."""

from imdl_bench.cli import main

if __name__ == "__main__":
    main()
