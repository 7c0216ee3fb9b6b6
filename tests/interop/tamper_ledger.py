#!/usr/bin/env python3
"""Writes copies of a ledger file, each changed in one way.

    python tamper_ledger.py LEDGER-FILE DIRECTORY

Each is called REFUSED-... or ACCEPTED-..., by what a verifier owes it.
"""

import sys
from pathlib import Path

import cbor2

from ledger.encoding import decode, encode


def payload(header):
    return cbor2.loads(cbor2.loads(header).value[2])


def log_of(header):
    return header["lane"][1], header["author"][1]


def flipped(data, at, bit=0):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def without(items, index):
    return items[:index] + items[index + 1 :]


def swapped_bodies(entries):
    one, other = [index for index, entry in enumerate(entries) if "body" in entry][:2]
    changed = [dict(entry) for entry in entries]
    changed[one]["body"], changed[other]["body"] = entries[other]["body"], entries[one]["body"]
    return changed


def changed(entries, index, **parts):
    return [dict(entry, **parts) if at == index else entry for at, entry in enumerate(entries)]


def signed_anew(header, signature):
    """The same content under another signature."""
    value = cbor2.loads(header).value
    return encode(cbor2.CBORTag(18, [*value[:3], signature]))


def tampered(data):
    file = decode(data)
    charters, entries = list(file["charters"]), list(file["entries"])
    headers = [payload(entry["header"]) for entry in entries]
    lengths = {}
    for header in headers:
        lengths[log_of(header)] = max(header["seq"], lengths.get(log_of(header), 0))
    inner = next(index for index, header in enumerate(headers) if header["seq"] < lengths[log_of(header)])
    last = next(index for index, header in enumerate(headers) if header["seq"] == lengths[log_of(header)] and header["action"][0] == "key")

    def with_entries(new):
        return encode(dict(file, entries=new))

    def with_charters(new):
        return encode(dict(file, charters=new))

    yield "ACCEPTED-as-it-is", data
    for at in range(2):
        yield f"REFUSED-bit-of-byte-{at}-flipped", flipped(data, at)
    for step in range(20):
        index = len(entries) * step // 20
        for part in entries[index]:
            whole = entries[index][part]
            at = len(whole) * (2 * step + 1) // 40
            yield f"REFUSED-bit-{step}-of-a-{part}-flipped", with_entries(changed(entries, index, **{part: flipped(whole, at, step % 8)}))
    for part in (2, 3, 10):
        yield f"REFUSED-cut-to-1-{part}", data[: len(data) // part]
    yield "REFUSED-last-byte-cut", data[:-1]
    yield "REFUSED-byte-more", data + b"\0"
    yield "REFUSED-empty", b""

    yield "REFUSED-inner-entry-dropped", with_entries(without(entries, inner))
    yield "ACCEPTED-last-entry-dropped", with_entries(without(entries, last))
    yield "ACCEPTED-entry-twice", with_entries(entries + entries[:1])
    yield "ACCEPTED-entries-reversed", with_entries(entries[::-1])
    yield "ACCEPTED-no-entries", with_entries([])
    yield "ACCEPTED-bodies-detached", with_entries([{"header": entry["header"]} for entry in entries])
    yield "REFUSED-two-bodies-swapped", with_entries(swapped_bodies(entries))
    body = next(index for index, entry in enumerate(entries) if "body" in entry)
    yield "REFUSED-body-changed", with_entries(changed(entries, body, body=flipped(entries[body]["body"], 99)))
    yield "REFUSED-body-empty", with_entries(changed(entries, body, body=b""))
    header = entries[0]["header"]
    yield "REFUSED-signature-changed", with_entries(changed(entries, 0, header=flipped(header, len(header) - 1)))
    yield "REFUSED-signature-of-another", with_entries(changed(entries, 0, header=signed_anew(header, cbor2.loads(entries[1]["header"]).value[3])))
    yield "REFUSED-charter-as-entry", with_entries(changed(entries, 0, header=charters[0]))
    circles = {one["lane"][1] for one in headers if one["action"][0] == "grant"}
    written_in = {one["lane"][1] for one in headers if "uses" in one}
    circle, other = min(circles & written_in), min(circles - written_in)
    of_parties = [entry for entry, one in zip(entries, headers) if one["lane"][1] != circle or "uses" in one]
    yield "REFUSED-parties-without-their-grants", with_entries(of_parties)
    yield "ACCEPTED-circle-dropped", with_entries([entry for entry, one in zip(entries, headers) if one["lane"][1] != other])

    yield "REFUSED-first-charter-dropped", with_charters(charters[1:])
    yield "REFUSED-charter-changed", with_charters([flipped(charters[0], len(charters[0]) // 2)] + charters[1:])
    yield "REFUSED-charter-signature-changed", with_charters(charters[:-1] + [flipped(charters[-1], len(charters[-1]) - 1)])
    yield "REFUSED-no-charters", with_charters([])
    yield "REFUSED-charters-reversed", with_charters(charters[::-1])
    yield "REFUSED-other-format", encode(dict(file, format="chartmesh-ledger/2"))
    indefinite = b"\x9f" + b"".join(encode(entry) for entry in entries) + b"\xff"
    yield "REFUSED-entries-of-indefinite-length", encode(file).replace(encode(entries), indefinite)


def main():
    source, directory = Path(sys.argv[1]), Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in tampered(source.read_bytes()):
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
