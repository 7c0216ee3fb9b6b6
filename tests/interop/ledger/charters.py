"""The charter: versions, each signed by a root of the one before, and which of several is in force."""

from . import shapes
from .encoding import Sign1, Wrong, digest, frozen

TYPE = "application/chartmesh-charter+cbor"


class Version:
    def __init__(self, data, before):
        if len(data) > shapes.MAX_CHARTER:
            raise Wrong("is too long", digest(data))
        signed = Sign1(data, TYPE)
        self.hash = signed.hash
        self.says = frozen(signed.payload)
        if not shapes.charter(self.says):
            raise Wrong("is not a charter", self.hash)
        self.number, self.signer = self.says["version"], self.says["signer"]
        self.prev = self.says.get("prev")
        self.roots = {root["key"]: root["rank"] for root in self.says["roots"]}
        self.devices = {device["key"]: device for device in self.says["devices"]}
        if self.number == 0:
            self.ledger, self.rank = self.begin()
        else:
            self.ledger, self.rank = self.follow(before)
        signed.verify(self.signer)
        custodians = {custodian["party"] for custodian in self.says["custodians"]}
        if [len(self.roots), len(self.devices), len(custodians)] != [len(self.says[of]) for of in ("roots", "devices", "custodians")]:
            self.refuse("lists a key twice")
        if max(len(self.roots), len(self.devices), len(custodians)) > shapes.MAX_MEMBERS:
            self.refuse("has too many members")

    def refuse(self, reason):
        raise Wrong(f"charter version {self.number}: {reason}", self.hash)

    def begin(self):
        if "prev" in self.says or "ledger" in self.says:
            self.refuse("a first version names one before")
        if self.signer not in self.roots:
            self.refuse("not signed by a root of its own")
        return self.hash, self.roots[self.signer]

    def follow(self, before):
        if self.prev not in before:
            self.refuse("the version before is missing")
        prev = before[self.prev]
        if self.number != prev.number + 1 or self.says.get("ledger") != prev.ledger:
            self.refuse("does not continue the version before")
        if prev.says["threshold"] != 1:
            self.refuse("one signature where the version before asks for several")
        if self.signer not in prev.roots:
            self.refuse("not signed by a root of the version before")
        rank = prev.roots[self.signer]
        if above(self.roots, rank) != above(prev.roots, rank):
            self.refuse("changes roots above its signer")
        if rank > 0 and self.says["recovery"] != prev.says["recovery"]:
            self.refuse("replaces the recovery recipient without rank 0")
        for device in prev.devices.values():
            self.keep(device)
        return prev.ledger, rank

    def keep(self, old):
        """A device stays, with its role; once suspended it stays so, at its heads or below."""
        new = self.devices.get(old["key"])
        if new is None or new["role"] != old["role"]:
            self.refuse("drops a device or changes its role")
        if "suspended" not in old:
            return
        if "suspended" not in new:
            self.refuse("revives a suspended device")
        for head in new["suspended"]:
            limit = lowest(old["suspended"], head["lane"], head["author"])
            if head["author"] == new["key"] and (limit is None or not up_to(head, limit)):
                self.refuse("raises the fence of a suspended device")


def lowest(heads, lane, author):
    """Where heads cut a log: of several the lowest holds."""
    own = [head for head in heads if (head["lane"], head["author"]) == (lane, author)]
    return min(own, key=lambda head: (head["seq"], head["hash"]), default=None)


def up_to(head, limit):
    return head["seq"] < limit["seq"] or (head["seq"], head["hash"]) == (limit["seq"], limit["hash"])


def above(roots, rank):
    """The roots with more to say than this rank."""
    return {key: of for key, of in roots.items() if of < rank}


class Charter:
    """All versions of a ledger, and the last ones of which none is void: one is in force, several await rank 0."""

    def __init__(self, files):
        self.versions = {}
        for data in files:
            version = Version(data, self.versions)
            if version.number == 0 and self.versions and version.hash not in self.versions:
                version.refuse("a second first version")
            self.versions[version.hash] = version
        first = next(iter(self.versions.values()))
        self.ledger = first.hash
        self.last = list(self.settle(first))
        self.contested = self.fork(first)
        self.in_force = self.contested or self.last[0]
        # Devices of void versions may have a place; what is judged as a device's is of one in a version that is not void.
        self.devices = {key for version in self.versions.values() for key in version.devices}
        self.listed = {key for version in self.kept(first) for key in version.devices}

    def rivals(self, version):
        """What follows a version: the lowest rank voids the others and their successors; of several of rank 0 the lowest hash holds."""
        followers = [other for other in self.versions.values() if other.prev == version.hash]
        best = min((other.rank for other in followers), default=0)
        rivals = sorted((other for other in followers if other.rank == best), key=lambda other: other.hash)
        return rivals[:1] if best == 0 else rivals

    def kept(self, version):
        """A version and all that follow it and are not void."""
        yield version
        for rival in self.rivals(version):
            yield from self.kept(rival)

    def settle(self, version):
        rivals = self.rivals(version)
        if not rivals:
            yield version
        for rival in rivals:
            yield from self.settle(rival)

    def fork(self, version):
        """The first version with several rivals after it."""
        while rivals := self.rivals(version):
            if len(rivals) > 1:
                return version
            version = rivals[0]
        return None
