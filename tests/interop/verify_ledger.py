#!/usr/bin/env python3
"""Verifies a ledger written by `chartmesh ledger export`, from schemas/ and docs/ alone.

    python verify_ledger.py LEDGER-FILE

Prints one JSON object. Exit code 0 if all is well, 1 if not: `reason` says why, `hash` of what.
"""

import json
import sys
from pathlib import Path

from ledger import shapes
from ledger.authority import judge
from ledger.charters import Charter
from ledger.encoding import Wrong, decode, frozen
from ledger.entries import read_all
from ledger.logs import forks


def verify(data):
    file = frozen(decode(data))
    if not shapes.ledger_file(file):
        raise Wrong("is not a ledger file")
    charter = Charter(file["charters"])
    entries = read_all(file["entries"], charter.ledger)
    verdicts = judge(charter, entries)
    found = {
        "ok": True,
        "ledger": charter.ledger[1].hex(),
        "counts": {"charters": len(charter.versions), "entries": len(entries)},
        "entries": [{"entry": entry[1].hex(), "verdict": verdict} for entry, verdict in verdicts.items()],
    }
    if charter.contested:
        found |= {"ok": False, "reason": "rival charters of one rank", "hash": charter.contested.hash[1].hex()}
    for rivals in forks(entries).values():
        found |= {"ok": False, "reason": "two entries for one place", "hash": min(entry.hash for entry in rivals)[1].hex()}
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        result = verify(Path(sys.argv[1]).read_bytes())
    except Wrong as wrong:
        result = {"ok": False, "reason": wrong.reason, "hash": wrong.object_hash and wrong.object_hash[1].hex()}
    json.dump(result, sys.stdout)
    print()
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
