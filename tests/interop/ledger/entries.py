"""Entries: signature, certificate, body, and links per (lane, author)."""

from . import shapes
from .encoding import Sign1, Wrong, digest, frozen

TYPE = "application/chartmesh-entry+cbor"
CERTIFICATE = "application/chartmesh-certificate+cbor"


class Entry:
    def __init__(self, stored, ledger):
        if len(stored["header"]) > shapes.MAX_HEADER or len(stored.get("body", b"")) > shapes.MAX_BODY:
            raise Wrong("is too long", digest(stored["header"]))
        signed = Sign1(stored["header"], TYPE)
        self.hash = signed.hash
        self.says = frozen(signed.payload)
        if not shapes.header(self.says):
            self.refuse("is not an entry")
        self.lane, self.author, self.seq = (self.says[name] for name in ("lane", "author", "seq"))
        self.prev, self.uses = self.says.get("prev"), self.says.get("uses", {})
        self.code, self.arguments = self.says["action"]
        signed.verify(self.author)
        if self.says["ledger"] != ledger:
            self.refuse("of another ledger")
        if (self.prev is None) != (self.seq == 1):
            self.refuse("prev and seq disagree")
        names = [*self.says.get("crit", ()), *(self.says.keys() - shapes.header_keys), self.code]
        if len(names) > shapes.MAX_NAMES or not all(0 < len(name.encode()) <= shapes.MAX_NAME for name in names):
            self.refuse("a name is out of bounds, or there are too many")
        if "body" in stored and digest(stored["body"]) != self.says.get("body"):
            self.refuse("the body is not the one that was signed")
        if self.action_is_known and not shapes.actions[self.code](self.arguments):
            self.refuse(f"a {self.code} with arguments that are not of its kind")
        self.party, self.roles = self.author, {"write", "receipt"}
        if "cert" in self.says:
            self.certified(self.says["cert"])

    def refuse(self, reason):
        raise Wrong(reason, self.hash)

    def certified(self, data):
        certificate = Sign1(data, CERTIFICATE)
        says = frozen(certificate.payload)
        if not shapes.certificate(says) or says["node"] != self.author:
            self.refuse("the certificate is not for its author")
        certificate.verify(says["party"])
        self.party, self.roles = says["party"], set(says["roles"])

    @property
    def place(self):
        return self.lane, self.author, self.seq

    @property
    def takes_away(self):
        return self.code in shapes.TAKING

    @property
    def action_is_known(self):
        """What gives is not known with an argument that is not; what takes away is read in spite of it."""
        return self.takes_away or (self.code in shapes.actions and self.arguments.keys() <= shapes.arguments(self.code))

    @property
    def is_understood(self):
        critical = set(self.says.get("crit", ())) <= shapes.actions.keys() | shapes.header_keys
        return self.action_is_known and critical and self.says.keys() <= shapes.header_keys


def read_all(stored, ledger):
    entries = {}
    for one in stored:
        entry = Entry(one, ledger)
        entries[entry.hash] = entry
    for entry in entries.values():
        before = entries.get(entry.prev)
        if entry.seq > 1 and (before is None or before.place != (entry.lane, entry.author, entry.seq - 1)):
            entry.refuse("the entry before is missing")
    return entries
