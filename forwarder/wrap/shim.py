"""What a shim starts: `python -I -S …/forwarder/wrap/shim.py TOOL NAME ARGS…`, the quickest way into this package.

TOOL is the real program's absolute path, NAME what it is called by. Without `site` (-S) only the standard library
and this package can be imported, whatever else is installed.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    try:
        from forwarder.wrap import main
    except Exception:  # noqa: BLE001 - a broken installation is no reason to scan nothing
        os.execv(sys.argv[1], sys.argv[2:])  # noqa: S606
    sys.exit(main(sys.argv[1], sys.argv[2:]))
