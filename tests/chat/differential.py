"""differential.py DRIVER TEMPLATE [RANDOM]: a compiled template against Jinja itself.

Renders conversations with python3-jinja2, set up as transformers does it (trim_blocks,
lstrip_blocks, loop controls, json without escapes, no tools), and compares each with what DRIVER
(driver.c) says, text and failure; and holds the marks to what is sure of them. The conversations:
fixed ones and RANDOM drawn ones, the same in every run. The last line is "N same, M different".
"""
import json
import random
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

ROLES = ["system", "user", "assistant", "tool"]
PIECES = ["hello", "hi", "stop", "", " ", "\n", "\n\n", "\t", "a", "Ab", "x, y", ", ", "</think>",
          "<think>", "<think>\nhm\n</think>\n\nyes", "<|eot_id|>", "<|im_end|>", "<s>", "</s>",
          "<|im_start|>system\n", "[/INST]", "{{ messages }}", "{% raw %}", "{#", "%}", "'", "\"",
          "\\", "\\n", "\u00e9", "\u4e2d\u6587", "\U0001f600", "\u00a0", "\u3000", "\u2028",
          "<tool_response>", "</tool_response>", "\r\n", "\x01", "\x7f", "BITNETAssistant: ",
          "0", "None", "true", "a" * 300]
ALIEN = "\ue000\ue001"  # in no template: what of it is in the text came out of a message


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}, which only marks what it holds."""
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])
    env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    return env


def fixed():
    u, a, s = "user", "assistant", "system"
    yield []
    yield [(u, "Hello")]
    yield [(s, "Be brief."), (u, "Hello")]
    yield [(u, "Hello"), (a, "Hi."), (u, "How are you?")]
    yield [(s, "Be brief."), (u, "Hello"), (a, "Hi."), (u, "And?"), (a, "Well.")]
    yield [(s, "One."), (s, "Two."), (u, "Hello")]
    yield [(a, "Hi.")]
    yield [(u, "A"), (u, "B")]
    yield [(u, ""), (a, ""), (u, "")]
    yield [(u, "  \n x \u00a0\n")]
    yield [(u, "<|eot_id|></s><|im_end|>"), (a, "<|start_header_id|>"), (u, "{{ bos_token }}{% if %}")]
    yield [(u, "q"), (a, "<think>\nhm\n</think>\n\nanswer"), (u, "q2")]
    yield [("tool", "42"), (u, "so?")]
    yield [("narrator", "once"), ("ROLE", "twice"), ("", "thrice")]
    yield [(u, None), (a, "x")]
    yield [(u, ALIEN), (a, ALIEN * 3), (u, " " + ALIEN)]


def drawn(rng):
    n = rng.choice([1, 1, 2, 3, 4, 5, 8])
    kind, out = rng.random(), []
    if kind < 0.5 and rng.random() < 0.5:
        out.append("system")
    while len(out) < n:
        turn = ["user", "assistant"][(len(out) - (out[:1] == ["system"])) % 2]
        out.append(turn if kind < 0.7 else rng.choice(ROLES))
    pieces = [ALIEN, ALIEN + " "] if rng.random() < 0.2 else PIECES
    text = lambda: "".join(rng.choice(pieces) for _ in range(rng.choice([0, 1, 1, 2, 3, 6])))
    return [(role, text()) for role in out]


def ask(driver, turns, begin):
    parts = [f"{len(turns)} {begin}\n".encode()]
    for role, content in turns:
        r, c = role.encode(), (content or "").encode()
        size = len(c) if content is not None else -1
        parts.append(f"{len(r)} {size}\n".encode() + r + c)
    driver.stdin.write(b"".join(parts))
    driver.stdin.flush()
    status, size = driver.stdout.readline().split()
    text = driver.stdout.read(int(size))
    marks = driver.stdout.read(int(size)) if status == b"0" else b""
    return int(status), text, marks


def wrong_marks(turns, text, marks):
    """Alien characters are the messages' own; with no "<" said, each "<" is the template's."""
    spoken = "".join((c or "") + r for r, c in turns)
    at = 0
    for char in text.decode():
        mark = marks[at:at + 1]
        at += len(char.encode())
        if mark == b"\1" if char in ALIEN else mark == b"\0" and char == "<" and char not in spoken:
            return True
    return False


def main():
    driver_path, path = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    bos, eos = sys.argv[4:6] if len(sys.argv) > 5 else ("<s>", "</s>")
    with open(path, encoding="utf-8", newline="") as f:
        template = environment().from_string(f.read())
    driver = subprocess.Popen([driver_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    rng = random.Random(path.rsplit("/", 1)[-1])
    cases = list(fixed()) + [drawn(rng) for _ in range(rounds)]
    same = different = told = 0
    for turns in cases:
        for begin in (0, 1):
            messages = [{"role": r, "content": c} for r, c in turns]
            why = None
            try:
                want = template.render(messages=messages, tools=None, documents=None,
                                       add_generation_prompt=bool(begin), bos_token=bos,
                                       eos_token=eos).encode()
            except jinja2.exceptions.UndefinedError as e:
                want, why = None, ""
            except jinja2.exceptions.TemplateError as e:
                want, why = None, e.message
            except (TypeError, ValueError, AttributeError):
                want, why = None, ""
            status, text, marks = ask(driver, turns, begin)
            good = text == want if status == 0 else why is not None and text.startswith(why.encode())
            good = good and not (status == 0 and wrong_marks(turns, text, marks))
            same += good
            different += not good
            if not good and told < 3:
                told += 1
                print(f"{path}: {turns!r} {begin}\n  want {want!r} {why!r}\n  got  {status} {text!r}")
    driver.stdin.close()
    ended = driver.wait()
    different += ended != 0
    print(f"{same} same, {different} different")
    return different > 0


sys.exit(main())
