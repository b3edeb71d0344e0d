"""gguf_edit.py: a GGUF file with other metadata or tensor bytes, written apart from the compiler.

    gguf_edit.py IN OUT [EDIT ...]

    KEY=TYPE:VALUE   sets a key: u32, i32, f32, f64, bool (0, 1), str; [str]: words by commas
    -KEY             drops a key
    @TENSOR+N=HEX    the tensor's bytes from byte N on
"""
import struct
import sys

CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
NAMES = {"i64": 11, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8, "u64": 10, "f64": 12}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code):
        (v,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize(code)
        return v

    def string(self):
        n = self.number("Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            item = self.number("I")
            return item, [self.value(item) for _ in range(self.number("Q"))]
        return self.number(CODES[kind])


def text(s):
    return struct.pack("<Q", len(s)) + s


def encode(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        return struct.pack("<IQ", v[0], len(v[1])) + b"".join(encode(v[0], x) for x in v[1])
    return struct.pack("<" + CODES[kind], v)


def parse(word):
    kind, v = word.split(":", 1)
    if kind == "[str]":
        return ARRAY, (STRING, [w.encode() for w in v.split(",")])
    kind = NAMES[kind]
    return kind, v.encode() if kind == STRING else float(v) if kind in (6, 12) else int(v)


def main(source, target, edits):
    r = Reader(open(source, "rb").read())
    r.at = 4
    version, tensors, keys = r.number("I"), r.number("Q"), r.number("Q")
    values = {}
    for _ in range(keys):
        key = r.string()
        kind = r.number("I")
        values[key] = (kind, r.value(kind))
    infos = []
    for _ in range(tensors):
        name = r.string()
        dims = [r.number("Q") for _ in range(r.number("I"))]
        infos.append((name, dims, r.number("I"), r.number("Q")))
    alignment = values.get(b"general.alignment", (4, 32))[1]
    data = bytearray(r.data[(r.at + alignment - 1) // alignment * alignment:])
    for e in edits:
        if e.startswith("@"):
            place, raw = e[1:].split("=")
            name, at = place.rsplit("+", 1)
            at = int(at) + next(i[3] for i in infos if i[0] == name.encode())
            data[at:at + len(raw) // 2] = bytes.fromhex(raw)
        elif e.startswith("-"):
            del values[e[1:].encode()]
        else:
            key, word = e.split("=", 1)
            values[key.encode()] = parse(word)
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(values))
    for key, (kind, v) in values.items():
        head += text(key) + struct.pack("<I", kind) + encode(kind, v)
    for name, dims, kind, at in infos:
        head += text(name) + struct.pack("<I%dQIQ" % len(dims), len(dims), *dims, kind, at)
    head += b"\0" * (-len(head) % alignment)
    with open(target, "wb") as f:
        f.write(head + data)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
