#!/usr/bin/env python3
"""Writes copies of a ledger file, each with something added that chartmesh would not write, signed with the keys of two homes without a passphrase.

    python forge_ledger.py LEDGER-FILE PATIENT-HOME PARTY-HOME DIRECTORY

Each is called REFUSED-... or ACCEPTED-..., by what a verifier owes it.
"""

import sys
from pathlib import Path

import cbor2
import nacl.signing

from ledger import shapes
from ledger.encoding import COSE_SIGN1, decode, digest, encode, frozen

SOME_HASH = (1, b"h" * 32)
SOME_ID = (0, b"i" * 16)


def secrets(home):
    """keys.age of a home without a passphrase: a line of text, then CBOR (schemas/node.cddl)."""
    return cbor2.loads(cbor2.loads((home / "keys.age").read_bytes().split(b"\n", 1)[1])["secrets"])


def payload(signed):
    return frozen(cbor2.loads(cbor2.loads(signed).value[2]))


def public(key):
    return (1, bytes(key.verify_key))


def sign(says, key, kind, unprotected=None):
    protected = encode({1: -8, 16: f"application/chartmesh-{kind}+cbor"})
    signature = key.sign(encode(["Signature1", protected, b"", encode(says)])).signature
    return encode(cbor2.CBORTag(COSE_SIGN1, [protected, unprotected or {}, encode(says), signature]))


class Forger:
    def __init__(self, file, patient, party):
        self.file = file
        self.device, self.root = (nacl.signing.SigningKey(seed) for seed in (patient["signing"], patient["patient"]["root"]))
        self.party, self.stranger, self.node = (nacl.signing.SigningKey(seed) for seed in (party["signing"], b"\7" * 32, b"\t" * 32))
        self.entries = [(payload(entry["header"]), digest(entry["header"])) for entry in file["entries"]]
        self.last = file["charters"][-1]
        self.charter = payload(self.last)
        self.ledger, self.keyring = digest(file["charters"][0]), self.charter["keyring_lane"]
        receipt = self.one("confirm", self.party)
        self.circle, self.grant = receipt["lane"], receipt["uses"]["grant"]
        self.publish = self.one("publish", self.party)
        self.catalog = self.publish["lane"]

    def one(self, code, author):
        return next(says for says, _ in self.entries if says["action"][0] == code and says["author"] == public(author))

    def with_entry(self, lane, key, action, body=None, body_hash=None, unprotected=None, back=0, **more):
        """The ledger with one more entry, `back` places before the end of its author's log."""
        log = [hash_ for says, hash_ in sorted(self.entries, key=lambda entry: entry[0]["seq"]) if (says["lane"], says["author"]) == (lane, public(key))]
        log = log[: len(log) - back]
        says = {"suite": 1, "ledger": self.ledger, "lane": lane, "author": public(key), "seq": len(log) + 1, "time": 0, "action": action}
        says |= {"prev": log[-1]} if log else {}
        says |= {"body": body_hash} if body_hash else {}
        entry = {"header": sign(says | more, key, "entry", unprotected)} | ({} if body is None else {"body": body})
        return encode(dict(self.file, entries=[*self.file["entries"], entry]))

    def next_charter(self, before, key, **more):
        says = payload(before)
        return sign(says | {"version": says["version"] + 1, "prev": digest(before), "ledger": self.ledger, "signer": public(key)} | more, key, "charter")

    def with_charters(self, *charters):
        return encode(dict(self.file, charters=[*self.file["charters"], *charters]))

    def certificate(self, key, **more):
        return sign({"party": public(self.party), "node": public(self.node), "id": SOME_ID, "roles": ["receipt"]} | more, key, "certificate")

    def suspended(self, *seqs):
        """The device, suspended in its keyring log."""
        heads = [{"lane": self.keyring, "author": public(self.device), "seq": seq, "hash": hash_} for seq, hash_ in seqs]
        return [dict(self.charter["devices"][0], suspended=heads)]

    def charters(self):
        roots, devices, custodians = (self.charter[of] for of in ("roots", "devices", "custodians"))
        new = {"key": public(self.stranger), "rank": 1}
        lower = [root for root in roots if root["rank"] > 0]

        def one(key=self.root, **more):
            return self.with_charters(self.next_charter(self.last, key, **more))

        yield "ACCEPTED-charter-next", one()
        yield "ACCEPTED-charter-with-a-root-more", one(roots=[*roots, new])
        yield "ACCEPTED-charter-with-an-unknown-key", one(later={"a": [1]})
        yield "ACCEPTED-charter-with-a-device-of-an-unknown-role", one(devices=[*devices, dict(devices[0], key=new["key"], role="guardian")])
        yield "REFUSED-charter-by-a-stranger", one(self.stranger)
        yield "REFUSED-charter-by-the-device-key", one(self.device)
        yield "REFUSED-charter-with-a-root-of-rank-0-more", one(roots=[*roots, dict(new, rank=0)])
        yield "REFUSED-charter-without-the-root-of-rank-0", one(roots=lower)
        yield "REFUSED-charter-with-another-recovery", one(recovery=(1, b"r" * 1216))
        yield "REFUSED-charter-without-the-device", one(devices=[])
        yield "REFUSED-charter-with-another-role", one(devices=[dict(devices[0], role="guardian")])
        yield "REFUSED-charter-with-a-root-twice", one(roots=[*roots, roots[-1]])
        yield "REFUSED-charter-with-a-custodian-twice", one(custodians=[*custodians, custodians[0]])
        yield "REFUSED-charter-with-too-many-custodians", one(
            custodians=[dict(custodians[0], party=(1, bytes([byte]) * 32)) for byte in range(shapes.MAX_MEMBERS + 1)]
        )
        yield "REFUSED-charter-with-a-number-left-out", one(version=99)
        yield "REFUSED-charter-of-another-ledger", one(ledger=SOME_HASH)
        yield "REFUSED-charter-rival", self.with_charters(self.next_charter(self.file["charters"][-2], self.root, time=1))
        several = self.next_charter(self.last, self.root, threshold=2)
        yield "ACCEPTED-charter-that-asks-for-two-signatures", self.with_charters(several)
        yield "REFUSED-charter-with-one-of-two-signatures", self.with_charters(several, self.next_charter(several, self.root, threshold=1))

        log = {says["seq"]: hash_ for says, hash_ in self.entries if (says["lane"], says["author"]) == (self.keyring, public(self.device))}
        fenced = self.next_charter(self.last, self.root, devices=self.suspended((2, log[2])))
        for name, after in (
            ("ACCEPTED-fence-lowered", self.suspended((1, log[1]))),
            ("REFUSED-fence-raised", self.suspended((3, log[3]))),
            ("REFUSED-fence-moved", self.suspended((2, SOME_HASH))),
            ("REFUSED-suspension-ended", devices),
        ):
            yield name, self.with_charters(fenced, self.next_charter(fenced, self.root, devices=after))

    def of_devices(self):
        key = ["key", {}]

        def one(action=key, lane=self.keyring, **more):
            return self.with_entry(lane, self.device, action, **more)

        def nested(levels):
            return [nested(levels - 1)] if levels else 0

        grant = {"id": SOME_ID, "party": public(self.party), "max_age": 1}
        ended = {"grant": SOME_ID, "fence": []}
        point = {"author": public(self.party), "seq": 1, "hash": SOME_HASH}
        yield "ACCEPTED-key", one()
        yield "ACCEPTED-key-in-a-catalog", one(lane=self.catalog)
        yield "ACCEPTED-publish-without-an-epoch", one(self.publish["action"], self.catalog)
        yield "ACCEPTED-grant", one(["grant", grant], self.circle)
        yield "ACCEPTED-grant-with-an-unknown-argument", one(["grant", grant | {"later": 1}], self.circle)
        yield "REFUSED-grant-without-max-age", one(["grant", {"id": SOME_ID, "party": public(self.party)}], self.circle)
        yield "REFUSED-grant-with-a-negative-max-age", one(["grant", grant | {"max_age": -1}], self.circle)
        yield "ACCEPTED-revoke-with-an-unknown-argument", one(["revoke", ended | {"later": 1}], self.circle)
        yield "ACCEPTED-revoke-with-an-unknown-key-in-a-point", one(["revoke", ended | {"fence": [point | {"later": 1}]}], self.circle)
        yield "REFUSED-revoke-without-a-fence", one(["revoke", {"grant": SOME_ID}], self.circle)
        yield "REFUSED-revoke-with-too-long-a-fence", one(["revoke", ended | {"fence": [point] * (shapes.MAX_LIST + 1)}], self.circle)
        yield "ACCEPTED-unknown-action", one(["later", {"a": 1}], self.circle)
        yield "REFUSED-unknown-action-without-arguments", one(["later", 1], self.circle)
        yield "REFUSED-action-of-three-parts", one(["later", {}, 1], self.circle)
        yield "ACCEPTED-unknown-critical-name", one(crit=["later"])
        yield "REFUSED-too-many-names", one(crit=["later"] * shapes.MAX_NAMES)
        yield "ACCEPTED-unknown-header-key", one(**{"k" * shapes.MAX_NAME: 1})
        yield "REFUSED-too-long-a-header-key", one(**{"k" * (shapes.MAX_NAME + 1): 1})
        yield "ACCEPTED-deep-header", one(later=nested(20))
        yield "REFUSED-other-suite", one(suite=2)
        yield "REFUSED-other-ledger", one(ledger=SOME_HASH)
        yield "REFUSED-other-algorithm", one(lane=(2, b"l" * 32))
        yield "REFUSED-null-epoch", one(epoch=None)
        yield "REFUSED-place-left-out", one(seq=99)
        yield "REFUSED-predecessor-unknown", one(prev=SOME_HASH)
        yield "REFUSED-predecessor-of-another-lane", one(prev=next(hash_ for says, hash_ in self.entries if says["lane"] == self.catalog))
        yield "REFUSED-fork", one(back=1)
        yield "ACCEPTED-body-named-and-missing", one(body_hash=SOME_HASH)
        yield "REFUSED-body-not-named", one(body=b"body")
        yield "REFUSED-unprotected-header", one(unprotected={4: b"kid"})

    def of_parties(self):
        under, admit = {"grant": self.grant}, self.publish["uses"]
        receipt = ["receipt", {"grant": self.grant, "n": 99}]

        def one(action=receipt, lane=self.circle, key=self.party, **more):
            return self.with_entry(lane, key, action, **more)

        yield "ACCEPTED-receipt-after-the-revocation", one(uses=under)
        yield "ACCEPTED-request-after-the-revocation", one(["request", {}], uses=under)
        yield "ACCEPTED-publish-after-the-bar", one(self.publish["action"], self.catalog, uses=admit)
        yield "ACCEPTED-grant-by-a-party", one(["grant", {"id": SOME_ID, "party": public(self.party), "max_age": 1}], uses=under)
        yield "REFUSED-receipt-under-nothing", one()
        yield "REFUSED-receipt-under-an-unknown-grant", one(uses={"grant": SOME_ID})
        yield "REFUSED-receipt-of-a-stranger", one(key=self.stranger, uses=under)
        yield "REFUSED-publish-with-another-salt", one(self.publish["action"], self.catalog, uses={"admit": admit["admit"] | {"salt": b"s" * 16}})
        yield "REFUSED-publish-under-a-grant", one(self.publish["action"], self.catalog, uses=under)
        yield "REFUSED-key-of-a-stranger", one(["key", {}], self.keyring, self.stranger)
        for name, certificate in (
            ("ACCEPTED-receipt-of-a-node", self.certificate(self.party)),
            ("ACCEPTED-receipt-of-a-node-without-the-role", self.certificate(self.party, roles=["write"])),
            ("REFUSED-certificate-with-an-unknown-role", self.certificate(self.party, roles=["later"])),
            ("REFUSED-certificate-by-a-stranger", self.certificate(self.stranger)),
            ("REFUSED-certificate-of-another-node", self.certificate(self.party, node=public(self.stranger))),
        ):
            yield name, one(key=self.node, uses=under, cert=certificate)


def main():
    ledger, patient, party, directory = (Path(argument) for argument in sys.argv[1:5])
    forger = Forger(decode(ledger.read_bytes()), secrets(patient), secrets(party))
    directory.mkdir(parents=True, exist_ok=True)
    for forged in (forger.charters, forger.of_devices, forger.of_parties):
        for name, data in forged():
            (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
