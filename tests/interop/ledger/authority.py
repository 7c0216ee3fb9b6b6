"""What each entry comes to: a function of the charter and the entries of its lane."""

from collections import defaultdict

import blake3

from . import shapes
from .charters import lowest
from .encoding import Wrong
from .logs import Logs, Span

STANDS, STALE, NO_EFFECT = "stands", "stale", "no effect"
NO_AUTHORITY, FORKED, FENCED, REVOKED, NO_GRANT, WRONG_LANE = (
    f"void: {why}" for why in ("no authority", "forked", "fenced", "revoked", "no grant", "wrong lane")
)


def commits_to(admit, entry, salt):
    """Whether an Admit is for the party of an entry."""
    return admit.arguments["party"] == blake3.blake3(salt + entry.party[1]).digest()


class Lane:
    def __init__(self, charter, lane, entries):
        self.charter, self.id = charter, lane
        self.keyring = charter.in_force.says["keyring_lane"] == lane
        self.entries, self.logs = entries, Logs(entries)
        by_devices = [entry for entry in entries.values() if entry.author in charter.devices]
        self.given = [entry for entry in by_devices if entry.code in ("grant", "admit") and entry.action_is_known]
        self.standing = [entry for entry in by_devices if entry.author in charter.listed and self.device_verdict(entry) == STANDS]
        self.grants, self.admits = self.ids("grant", "id"), self.ids("admit", "id")
        self.revokes, self.bars = self.ids("revoke", "grant"), self.ids("bar", "id")
        self.epochs = [entry for entry in self.standing if entry.code == "epoch"]

    def ids(self, code, name):
        """Entries of devices that stand, by the id they name."""
        found = defaultdict(list)
        for entry in sorted(self.standing, key=lambda entry: entry.hash):
            if entry.code == code:
                found[entry.arguments[name]].append(entry)
        return found

    def refuse_without_place(self, entry):
        """Every author is a device of some charter, or names what some device once gave it, be that void by now."""
        if entry.author not in self.charter.devices and not any(self.gives_place(given, entry) for given in self.given):
            raise Wrong("its author never had a place in this lane", entry.hash)

    def gives_place(self, given, entry):
        if given.code == "grant":
            return entry.uses.get("grant") == given.arguments["id"] and entry.party == given.arguments["party"]
        admit = entry.uses.get("admit")
        return admit is not None and admit["id"] == given.arguments["id"] and commits_to(given, entry, admit["salt"])

    def verdict(self, entry):
        if entry.author in self.charter.listed:
            verdict = self.device_verdict(entry)
            if verdict == STANDS:
                verdict = self.settled(entry)
        else:
            verdict = NO_EFFECT if self.keyring else self.party_verdict(entry)
        return STALE if verdict == STANDS and entry.code == "publish" and self.is_stale(entry) else verdict

    # Devices.

    def device_verdict(self, entry):
        """What gives must stand under every rival charter, what takes away under any."""
        under = [self.standing_under(version, entry) for version in self.charter.last]
        if entry.takes_away:
            why = None if None in under or FORKED in under else under[-1]
        else:
            why = next((trouble for trouble in under if trouble), None)
            if why is None and not entry.is_understood:
                return NO_EFFECT
        if why is None and self.keyring != (entry.code == "key"):
            return WRONG_LANE
        return why or STANDS

    def standing_under(self, version, entry):
        device = version.devices.get(entry.author)
        if device is None or device["role"] != "full":
            return NO_AUTHORITY
        forked = self.logs.is_forked(entry)
        if "suspended" not in device:
            return FORKED if forked else None
        head = lowest(device["suspended"], self.id, entry.author)
        span = head and Span(head, self.entries)
        if span is None or entry not in span:
            return FENCED
        return FORKED if forked and not span.is_held else None

    def settled(self, entry):
        """What a device's entry comes to once all of the lane is known."""
        if entry.code in ("receipt", "confirm", "request"):
            return NO_EFFECT
        if entry.code in ("grant", "envelope"):
            grant = entry.arguments["id" if entry.code == "grant" else "grant"]
            return NO_GRANT if grant not in self.grants else REVOKED if grant in self.revokes else STANDS
        return STANDS

    # Parties.

    def party_verdict(self, entry):
        verdict = self.party_authority(entry)
        if verdict == STANDS and not entry.takes_away and not entry.is_understood:
            return NO_EFFECT
        if verdict == STANDS and entry.code == "withdraw" and not self.is_own(entry):
            return NO_AUTHORITY
        return verdict

    def party_authority(self, entry):
        grant, admit = entry.uses.get("grant"), entry.uses.get("admit")
        if grant and entry.code in shapes.TESTIMONY and entry.action_is_known:
            own = entry.code == "confirm" or entry.arguments["grant"] == grant
            return STANDS if own and "receipt" in entry.roles else NO_AUTHORITY
        if grant and (entry.code == "request" or not entry.action_is_known):
            granted = grant in self.grants and self.grants[grant][0].arguments["party"] == entry.party
            return self.fenced(granted, self.logs.is_forked(entry), self.revokes.get(grant, []), entry)
        if admit and (entry.code in ("publish", "withdraw") or not entry.action_is_known):
            admitted = any(commits_to(given, entry, admit["salt"]) for given in self.admits.get(admit["id"], []))
            forked = self.logs.is_forked(entry) and not entry.takes_away
            return self.fenced(admitted and "write" in entry.roles, forked, self.bars.get(admit["id"], []), entry)
        return NO_AUTHORITY

    def fenced(self, given, forked, enders, entry):
        if not given or forked:
            return FORKED if given else NO_AUTHORITY
        return STANDS if all(self.within(ender.arguments["fence"], entry) for ender in enders) else FENCED

    def within(self, fence, entry):
        points = [point for point in fence if point["author"] == entry.author]
        return bool(points) and entry in Span(min(points, key=lambda point: (point["seq"], point["hash"])), self.entries)

    def is_own(self, withdraw):
        """A party withdraws what it published under the same access; of what is not held nothing is known."""
        publish = self.entries.get(withdraw.arguments["publish"])
        if publish is None or publish.code != "publish" or not publish.is_understood:
            return True
        by_device = publish.author in self.charter.listed
        return not by_device and publish.party == withdraw.party and publish.uses.get("admit", {}).get("id") == withdraw.uses["admit"]["id"]

    # Epochs.

    def usable(self):
        """Unsuperseded and covering every Bar; of several the lowest hash."""
        superseded = {old for epoch in self.epochs for old in epoch.arguments["supersedes"]}
        fit = [epoch.hash for epoch in self.epochs if epoch.hash not in superseded and self.bars.keys() <= set(epoch.arguments["covers"])]
        return min(fit, default=None)

    def is_stale(self, publish):
        epoch = publish.says.get("epoch")
        if epoch is not None and epoch == self.usable():
            return False
        successors = [later for later in self.epochs if epoch in later.arguments["supersedes"]]
        return not any(self.within(later.arguments["past"], publish) for later in successors)


def judge(charter, entries):
    """The verdict on every entry; refuses those whose author never had a place."""
    lanes = defaultdict(dict)
    for entry in entries.values():
        lanes[entry.lane][entry.hash] = entry
    verdicts = {}
    for lane_id, of_lane in lanes.items():
        lane = Lane(charter, lane_id, of_lane)
        for entry in of_lane.values():
            lane.refuse_without_place(entry)
            verdicts[entry.hash] = lane.verdict(entry)
    return verdicts
