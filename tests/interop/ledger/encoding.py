"""Deterministic CBOR (RFC 8949, section 4.2.1), COSE_Sign1 with Ed25519 (RFC 9052), BLAKE3."""

import blake3
import cbor2
import nacl.exceptions
import nacl.signing

COSE_SIGN1 = 18
MAX_DEPTH = 24


class Wrong(Exception):
    """Why something is refused, and the hash of what is refused."""

    def __init__(self, reason, object_hash=None):
        super().__init__(reason)
        self.reason, self.object_hash = reason, object_hash


def digest(data):
    """[algorithm, bytes], in a form that can be a key of a dict."""
    return (1, blake3.blake3(data).digest())


def encode(value, depth=0):
    """The one encoding of a value; fails for what no signed object may hold."""
    if value is None or isinstance(value, bool):
        return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[value]])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if depth == MAX_DEPTH:
        raise Wrong("nested too deeply")
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(encode(item, depth + 1) for item in value)
    if isinstance(value, cbor2.CBORTag) and value.tag == COSE_SIGN1 and depth == 0:
        return head(6, COSE_SIGN1) + encode(value.value, 1)
    if hasattr(value, "items"):
        pairs = sorted((encode(key, depth + 1), encode(item, depth + 1)) for key, item in value.items())
        return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    raise Wrong(f"holds a {type(value).__name__}")


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    raise Wrong("holds a number beyond 64 bits")


def decode(data):
    """The value of bytes that are its one encoding."""
    try:
        value = cbor2.loads(data, allow_indefinite=False, allow_duplicate_keys=False)
    except Exception as error:
        raise Wrong(f"is not CBOR: {error}") from error
    if encode(value) != data:
        raise Wrong("is not deterministic CBOR")
    return value


class Sign1:
    """A COSE_Sign1 of one type, its signature not yet verified: who must have signed stands in the payload."""

    def __init__(self, data, media_type):
        self.hash = digest(data)
        try:
            self.read(decode(data), media_type)
        except Wrong as wrong:
            raise Wrong(wrong.reason, self.hash) from wrong

    def read(self, value, media_type):
        if not isinstance(value, cbor2.CBORTag) or not isinstance(value.value, (list, tuple)) or len(value.value) != 4:
            raise Wrong("is not a COSE_Sign1")
        self.protected, unprotected, self.signed, self.signature = value.value
        if not all(isinstance(part, bytes) for part in (self.protected, self.signed, self.signature)):
            raise Wrong("is not a COSE_Sign1")
        if self.protected != encode({1: -8, 16: media_type}) or unprotected != {}:
            raise Wrong(f"is not signed with Ed25519 as {media_type}")
        self.payload = decode(self.signed)

    def verify(self, key):
        to_be_signed = encode(["Signature1", self.protected, b"", self.signed])
        try:
            nacl.signing.VerifyKey(key[1]).verify(to_be_signed, self.signature)
        except (nacl.exceptions.BadSignatureError, ValueError) as error:
            raise Wrong("bad signature", self.hash) from error


def frozen(value):
    """Keys, hashes and ids as what dicts and sets take."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return {name: frozen(item) for name, item in value.items()} if hasattr(value, "items") else value
