"""One group measured in a process of its own: rows as JSON lines on standard output, the machine's facts first.

``run.py`` starts it with the environment that every group needs; it is not meant to be called by hand.
"""

from __future__ import annotations

import importlib
import json
import sys

from machine import machine_facts, one_thread
from measurement import row_to_json, settings_from_json


def main() -> None:
    name, settings = sys.argv[1], settings_from_json(json.loads(sys.argv[2]))
    rows, sys.stdout = sys.stdout, sys.stderr  # nobody else's words come between the rows
    one_thread()
    print(json.dumps({"row": "machine"} | machine_facts()), file=rows, flush=True)
    for row in importlib.import_module(f"bench_{name}").measure(settings):
        print(json.dumps(row_to_json(row)), file=rows, flush=True)


if __name__ == "__main__":
    main()
