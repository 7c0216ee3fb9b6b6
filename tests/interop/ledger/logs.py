"""Logs, one per (lane, author): forks, and how far a fence reaches."""

from collections import defaultdict


def forks(entries):
    """Places with more than one entry, each with what stands there."""
    places = defaultdict(list)
    for entry in entries.values():
        places[entry.place].append(entry)
    return {place: rivals for place, rivals in places.items() if len(rivals) > 1}


class Logs:
    """The logs of one lane."""

    def __init__(self, entries):
        self.forked = {}
        for _, author, seq in forks(entries):
            self.forked[author] = min(seq, self.forked.get(author, seq))

    def is_forked(self, entry):
        return entry.seq >= self.forked.get(entry.author, entry.seq + 1)


class Span:
    """The part of a log that leads up to one point: the branch that ends there or, if that is not held, all before that place."""

    def __init__(self, point, entries):
        self.point, self.branch = point, set()
        held = entries.get(point["hash"])
        self.is_held = held is not None and (held.author, held.seq) == (point["author"], point["seq"])
        while self.is_held and held is not None:
            self.branch.add(held.hash)
            held = entries.get(held.prev)

    def __contains__(self, entry):
        return entry.hash in self.branch if self.is_held else entry.seq < self.point["seq"]
