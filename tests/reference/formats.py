"""formats.py: ternary formats of GGUF files, decoded apart from the compiler, from their definitions.

    formats.py make FILE           a file with random tensors in every format below, under every type id
    formats.py id42 FILE KIND      one of the layouts that id 42 stands for: q2_0, first, last, stq1_0
    formats.py same FILE FLOATS    whether the F32 tensors of FLOATS are those of FILE, bit for bit
"""
import random
import struct
import sys

ROWS, COLS = 5, 768


def half(b):
    return struct.unpack("<e", b)[0]


def digits(byte, n):
    """Base-3 digits of a byte as a fraction of 256, the highest first, as -1, 0, 1."""
    out = []
    for _ in range(n):
        out.append(byte * 3 // 256 - 1)
        byte = byte * 3 % 256
    return out


def two_bits(codes):
    return [(b >> s & 3) - 1 for b in codes for s in (0, 2, 4, 6)]


def q2_0(b):
    return [half(b[:2]) * c for c in two_bits(b[2:])]


def codes_first(b):
    return [half(b[-2:]) * c for c in two_bits(b[:-2])]


def q1_0(b):
    d = half(b[:2])
    return [d if x >> s & 1 else -d for x in b[2:] for s in range(8)]


def ptq1_0(b):
    d, out = half(b[26:]), []
    for stage, n in ((b[:16], 5), (b[16:24], 5), (b[24:26], 4)):
        each = [digits(x, n) for x in stage]
        out += [d * each[j][k] for k in range(n) for j in range(len(stage))]
    return out


# Four lanes of two bits, the first lowest, by sign and slot (block_stq1_0's table)
STQ = bytes(
    [0xA9, 0x89, 0x29, 0x09, 0xA6, 0x86, 0x26, 0x06, 0x9A, 0x92, 0x1A, 0x12, 0x6A, 0x62, 0x4A, 0x42,
     0x01, 0x21, 0x81, 0xA1, 0x04, 0x24, 0x84, 0xA4, 0x10, 0x18, 0x90, 0x98, 0x40, 0x48, 0x60, 0x68])


def stq1_0(b):
    d, out = half(b[40:]), [0.0] * 256
    for w in range(256):
        group, lane = w // 64 * 16 + w % 16, w % 64 // 16
        slot = b[group // 2] >> 4 * (group & 1) & 15
        sign = b[32 + group // 8] >> group % 8 & 1
        out[w] = d * ((STQ[sign * 16 + slot] >> 2 * lane & 3) - 1)
    return out


def iq1_bn(b):
    out = []
    for g in range(4):
        for byte in b[3 * g:3 * g + 3]:
            out += reversed(digits(byte, 5))
        out.append(digits(b[12], 5)[4 - g])
    return out


def iq2_bn(b):
    return [(b[i % 16] >> 2 * (i // 16) & 3) - 1 for i in range(64)]


# name: type id, values and bytes a block, where its f16 scale stands, bytes before a row, decoder
FORMATS = {
    "q2_0": (42, 64, 18, 0, 0, q2_0), "first": (42, 128, 34, 0, 0, q2_0), "last": (42, 128, 34, 32, 0, codes_first),
    "pq2_0": (142, 128, 34, 0, 0, q2_0), "q1_0": (41, 128, 18, 0, 0, q1_0), "ptq1_0": (143, 128, 28, 26, 0, ptq1_0),
    "stq1_0": (43, 256, 42, 40, 0, stq1_0), "iq1_bn": (134, 64, 13, None, 2, iq1_bn),
    "iq2_bn": (135, 64, 16, None, 4, iq2_bn),
}


def data_of(name, rng):
    _, elems, size, scale, head, _ = FORMATS[name]
    out = b""
    for _ in range(ROWS):
        out += struct.pack("<e" if head == 2 else "<f", rng.uniform(0.5, 2)) if head else b""
        for _ in range(COLS // elems):
            b = bytearray(rng.randrange(256) for _ in range(size))
            if name in ("q2_0", "first", "last", "pq2_0", "iq2_bn"):
                b = bytearray(sum(rng.randrange(3) << s for s in (0, 2, 4, 6)) for _ in range(size))
            if scale is not None:
                b[scale:scale + 2] = struct.pack("<e", rng.uniform(0.5, 2))
            out += b
    return out


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def write(path, names, stq_id):
    rng = random.Random(7)
    kv = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    info, data = b"", b""
    for name in names:
        ident = stq_id if name == "stq1_0" else FORMATS[name][0]
        info += text(name) + struct.pack("<IQQIQ", 2, COLS, ROWS, ident, len(data))
        data += data_of(name, rng)
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(names), 1) + kv + info
    open(path, "wb").write(head + bytes(-len(head) % 32) + data)


def read(path):
    """name: (type id, bytes from its start on) of a file of write() or of retype."""
    raw = open(path, "rb").read()
    at = 24
    ntensor, nkey = struct.unpack("<QQ", raw[8:24])

    def word():
        nonlocal at
        n, = struct.unpack("<Q", raw[at:at + 8])
        at += 8 + n
        return raw[at - n:at].decode()
    for _ in range(nkey):
        word()
        kind, = struct.unpack("<I", raw[at:at + 4])
        at += 4
        if kind == 8:
            word()
        else:
            at += {4: 4, 5: 4, 6: 4}[kind]
    found = {}
    for _ in range(ntensor):
        name = word()
        rank, = struct.unpack("<I", raw[at:at + 4])
        at += 4 + 8 * rank
        found[name] = struct.unpack("<IQ", raw[at:at + 12])
        at += 12
    start = at + -at % 32
    return {name: (ident, raw[start + offset:]) for name, (ident, offset) in found.items()}


def values(name, raw):
    _, elems, size, _, head, decode = FORMATS[name]
    row = head + COLS // elems * size
    for r in range(ROWS):
        b = raw[r * row:(r + 1) * row]
        factor = struct.unpack("<e" if head == 2 else "<f", b[:head])[0] if head else 1.0
        for i in range(head, row, size):
            for v in decode(b[i:i + size]):
                yield struct.pack("<f", factor * v if head else v)


def same(path, floats):
    ours, theirs = read(path), read(floats)
    bad = 0
    for name, (_, raw) in ours.items():
        want, (ident, got) = b"".join(values(name, raw)), theirs[name]
        # zeros have no sign here, in bnc they may
        zero = struct.pack("<f", -0.0)
        got = b"".join(b"\0" * 4 if got[i:i + 4] == zero else got[i:i + 4] for i in range(0, len(want), 4))
        want = b"".join(b"\0" * 4 if want[i:i + 4] == zero else want[i:i + 4] for i in range(0, len(want), 4))
        if ident != 0 or want != got:
            print(f"{name}: other values")
            bad = 1
    print(f"{len(ours)} formats compared")
    return bad or not ours


if __name__ == "__main__":
    if sys.argv[1] == "make":
        write(sys.argv[2], ["pq2_0", "q1_0", "ptq1_0", "stq1_0", "iq1_bn", "iq2_bn"], 43)
    elif sys.argv[1] == "id42":
        write(sys.argv[2], [sys.argv[3]], 42)
    else:
        sys.exit(same(sys.argv[2], sys.argv[3]))
