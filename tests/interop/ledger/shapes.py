"""schemas/chartmesh.cddl, as far as a ledger file goes."""

MAX_CHARTER = MAX_HEADER = 1 << 20
MAX_BODY = 16 << 20
MAX_LIST = 4096
MAX_MEMBERS = 128
MAX_HEADS = 65_536
MAX_NAME = MAX_NAMES = 64


def number(value):
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def unsigned(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def text(value):
    return isinstance(value, str)


def boolean(value):
    return isinstance(value, bool)


def some_bytes(value):
    return isinstance(value, bytes)


def anything(_):
    return True


def sized(size):
    return lambda value: isinstance(value, bytes) and len(value) == size


def tagged(algorithm, size):
    return lambda value: isinstance(value, tuple) and len(value) == 2 and number(value[0]) and value[0] == algorithm and sized(size)(value[1])


def each(of, at_least=0):
    return lambda value: isinstance(value, tuple) and len(value) >= at_least and all(of(item) for item in value)


def listed(of):
    """A list in a header."""
    return lambda value: each(of)(value) and len(value) <= MAX_LIST


def row(*kinds):
    return lambda value: isinstance(value, tuple) and len(value) == len(kinds) and all(kind(item) for kind, item in zip(kinds, value))


def record(required, optional={}, more=False):
    """A map with text keys; `more` where it ends with `* tstr => any`."""
    known = required | optional

    def holds(value):
        return (
            isinstance(value, dict)
            and all(name in value for name in required)
            and all(known[name](item) if name in known else more and text(name) for name, item in value.items())
        )

    return holds


key = tagged(1, 32)
hash_ = tagged(1, 32)
id16 = tagged(0, 16)
recipient = tagged(1, 1216)
head = record({"lane": hash_, "author": key, "seq": unsigned, "hash": hash_})
point = {"author": key, "seq": unsigned, "hash": hash_}
past = listed(record(point))
fence = listed(record(point, more=True))

certificate = record({"party": key, "node": key, "id": id16, "roles": each(lambda role: role in ("write", "receipt"))})

device = record(
    {"key": key, "card": hash_, "party": key, "recipient": recipient, "endpoint": key, "role": text},
    {"suspended": lambda value: each(head)(value) and len(value) <= MAX_HEADS},
    more=True,
)
charter = record(
    {
        "version": unsigned,
        "signer": key,
        "threshold": unsigned,
        "roots": each(record({"key": key, "rank": unsigned}), 1),
        "devices": each(device),
        "recovery": recipient,
        "keyring": recipient,
        "keyring_lane": hash_,
        "custodians": each(record({"party": key, "card": hash_, "endpoint": key})),
        "min_suite": unsigned,
        "time": number,
    },
    {"prev": hash_, "ledger": hash_, "continues": hash_, "crit": each(text)},
    more=True,
)

uses_grant = record({"grant": id16})
uses_admit = record({"admit": record({"id": id16, "salt": sized(16)})})
header_fields = {
    "suite": lambda value: unsigned(value) and value == 1,
    "ledger": hash_,
    "lane": hash_,
    "author": key,
    "seq": lambda value: unsigned(value) and value >= 1,
    "time": number,
    "action": row(text, record({}, more=True)),
}
header_options = {
    "cert": some_bytes,
    "prev": hash_,
    "uses": lambda value: uses_grant(value) or uses_admit(value),
    "epoch": hash_,
    "body": hash_,
    "crit": each(text),
}
header = record(header_fields, header_options, more=True)
header_keys = header_fields.keys() | header_options.keys()

known = {
    "key": ({}, {}),
    "grant": ({"id": id16, "party": key, "max_age": unsigned}, {"until": number}),
    "envelope": ({"grant": id16, "epochs": listed(hash_), "documents": listed(row(hash_, hash_)), "catalogs": listed(hash_)}, {}),
    "revoke": ({"grant": id16, "fence": fence}, {}),
    "receipt": ({"grant": id16, "n": unsigned}, {}),
    "confirm": ({"revoke": hash_}, {}),
    "request": ({}, {}),
    "admit": ({"id": id16, "party": sized(32)}, {}),
    "bar": ({"id": id16, "fence": fence}, {}),
    "epoch": ({"recipient": recipient, "supersedes": listed(hash_), "covers": listed(id16), "past": past}, {}),
    "publish": ({"documents": listed(record({"hash": hash_, "length": unsigned}))}, {}),
    "withdraw": ({"publish": hash_, "documents": listed(hash_), "erase": boolean}, {}),
}
actions = {code: record(required, optional, more=True) for code, (required, optional) in known.items()}


def arguments(code):
    required, optional = known[code]
    return required.keys() | optional.keys()


TAKING = {"revoke", "bar", "withdraw"}
TESTIMONY = {"receipt", "confirm"}

ledger_file = record(
    {
        "format": lambda value: value == "chartmesh-ledger/1",
        "charters": each(some_bytes, 1),
        "entries": each(record({"header": some_bytes}, {"body": some_bytes})),
    }
)
