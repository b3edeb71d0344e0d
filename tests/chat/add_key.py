"""add_key.py IN OUT KEY FILE: a GGUF whose metadata has the text KEY, the contents of FILE; its own is dropped."""
import struct
import sys

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def number(data, at, kind):
    return struct.unpack_from("<" + kind, data, at)[0], at + struct.calcsize(kind)


def skip(data, at, kind):
    """The place behind a value."""
    if kind == 8:
        size, at = number(data, at, "Q")
        return at + size
    if kind == 9:
        item, at = number(data, at, "I")
        count, at = number(data, at, "Q")
        for _ in range(count):
            at = skip(data, at, item)
        return at
    return at + SIZES[kind]


def main():
    source, out, key, text = sys.argv[1:]
    data = open(source, "rb").read()
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    at, align, kept = 24, 32, []
    for _ in range(keys):
        begin = at
        size, at = number(data, at, "Q")
        name, at = data[at:at + size], at + size
        kind, at = number(data, at, "I")
        if name == b"general.alignment":
            align = number(data, at, "I")[0]
        at = skip(data, at, kind)
        if name != key.encode():
            kept.append(data[begin:at])
    names = at
    for _ in range(tensors):
        size, at = number(data, at, "Q")
        rank, at = number(data, at + size, "I")
        at += 8 * rank + 4 + 8
    body = -at % align + at
    value = open(text, "rb").read()
    extra = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<IQ", 8, len(value)) + value
    head = data[:8] + struct.pack("<QQ", tensors, len(kept) + 1) + b"".join(kept) + extra + data[names:at]
    open(out, "wb").write(head + b"\0" * (-len(head) % align) + data[body:])


main()
