#!/usr/bin/env python3
"""Compares what verify_ledger.py says with `chartmesh ledger log --json`, entry by entry, and with the numbers of `chartmesh ledger verify --json`.

    python compare_verdicts.py VERIFIED LOG COUNTED

Prints how often each verdict was given. Exit code 1 if the two differ.
"""

import json
import sys
from collections import Counter
from pathlib import Path


def main():
    verified, log, counted = (json.loads(Path(path).read_text()) for path in sys.argv[1:4])
    theirs = {entry["entry"]: entry["verdict"] for entry in verified.get("entries", [])}
    ours = {entry["entry"]: entry["verdict"] for entry in log}
    differ = any(verified["counts"][what] != counted[what] for what in ("charters", "entries"))
    for entry in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(entry, "not there"), ours.get(entry, "not there")
        if one.replace(" ", "") != other.replace(" ", ""):
            print(f"differ on {entry}: verifier {one!r}, chartmesh {other!r}", file=sys.stderr)
            differ = True
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(Counter(theirs.values()).items())))
    sys.exit(1 if differ or not theirs else 0)


if __name__ == "__main__":
    main()
