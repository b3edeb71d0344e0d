"""differential.py DRIVER CODE TEMPLATE: a compiled template against Jinja itself.

Renders conversations with python3-jinja2, set up as transformers does it (trim_blocks,
lstrip_blocks, loop controls, generation, json without escapes), and compares each with what DRIVER
(driver.c) says of CODE, the same template compiled: text and failure; and holds the marks to what is
sure of them. The conversations: fixed ones, some with tools, variables and a date, and --rounds
drawn ones, the same in every run. The last line is "N same, M different, ...".
"""
import argparse
import datetime
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
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller):
        return caller()


class Raised(jinja2.exceptions.TemplateError):
    """What raise_exception raises; of other failures the words are each side's own."""


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env.filters["tojson"] = tojson

    def raise_exception(message):
        raise Raised(message)

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


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a town, today \u2013 \"now\".",
    "parameters": {"type": "object", "properties": {
        "town": {"type": "string", "description": "Its name"},
        "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
        "days": {"type": "integer", "minimum": 1}, "exact": {"type": "boolean"},
        "near": {"type": "array", "items": {"type": "number"}}},
        "required": ["town"]},
    "return": {"type": "number", "description": "Degrees"}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time",
                                          "parameters": {"type": "object", "properties": {}}}}


def call(arguments, **more):
    return {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "id": "abcdef123", "function": {"name": "get_weather", "arguments": arguments}}],
        **more}


def tool_cases():
    """Tools, calls of them, thoughts, variables, dates: what a chat API has besides turns."""
    system, ask_ = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in \u00c5bo?"}
    args = {"town": "\u00c5bo", "days": 2, "near": [1.5, -2, 1e-7, 1e16, 0.1], "exact": True, "unit": None}
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "-3.5"}
    end = {"role": "assistant", "content": "Cold."}
    for tools in ([WEATHER], [WEATHER, CLOCK], []):
        yield {"messages": [ask_], "tools": tools}
        yield {"messages": [system, ask_], "tools": tools}
        yield {"messages": [system, ask_, call(args), result, end, ask_], "tools": tools, "now": 1000000000}
    for c in (call(args, content="Let me see."), call(json.dumps(args)), call(args, content="")):
        yield {"messages": [ask_, c, result], "tools": [WEATHER]}
        yield {"messages": [ask_, c, result, result, end], "tools": [WEATHER, CLOCK]}
    both = call(args)
    both["tool_calls"].append({"type": "function", "id": "ABCDEF456", "function": {"name": "clock", "arguments": {}}})
    yield {"messages": [ask_, both, result, {**result, "name": "clock", "content": "12:00"}], "tools": [WEATHER, CLOCK]}
    yield {"messages": [ask_, {"role": "assistant", "content": "Well.", "reasoning_content": " I\nthink. "}, ask_]}
    yield {"messages": [ask_, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nWell."}, ask_, call(args), result]}
    yield {"messages": [{"role": "developer", "content": "Rules."}, ask_, end]}
    yield {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"},
                                                     {"type": "text", "text": ALIEN}]}]}
    yield {"messages": [system, ask_, {"role": "ipython", "content": {"degrees": -3}}, end]}
    for variables in ({"enable_thinking": False}, {"enable_thinking": True}, {"date_string": "1 May 2025"},
                      {"tools_in_user_message": False}, {"system_prompt": "X", "custom": [1, {"a": None}]}):
        for messages in ([ask_], [system, ask_, end, ask_]):
            yield {"messages": messages, "variables": variables, "tools": [WEATHER] if len(messages) > 1 else None}
    yield {"messages": [ask_], "now": 1735689599}
    yield {"messages": [system, ask_], "now": 1709164805}


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


def ask(driver, case, begin):
    sizes, texts = [], []
    for key in ("messages", "tools", "variables"):
        value = case.get(key)
        if key == "messages" and "turns" in case:
            value = None
        text = b"" if value is None else json.dumps(value, ensure_ascii=len(texts) % 2 == 0).encode()
        sizes.append(-1 if value is None else len(text))
        texts.append(text)
    turns = case.get("turns", [])
    parts = [f"{len(turns)} {begin} {sizes[0]} {sizes[1]} {sizes[2]} {case.get('now', 0)}\n".encode()]
    for role, content in turns:
        r, c = role.encode(), (content or "").encode()
        size = len(c) if content is not None else -1
        parts.append(f"{len(r)} {size}\n".encode() + r + c)
    driver.stdin.write(b"".join(parts + texts))
    driver.stdin.flush()
    status, size = driver.stdout.readline().split()
    text = driver.stdout.read(int(size))
    marks = driver.stdout.read(int(size)) if status == b"0" else b""
    return int(status), text, marks


def wrong_marks(case, text, marks):
    """Alien characters are the messages' own; with no "<" said, each "<" is the template's."""
    spoken = json.dumps(case, ensure_ascii=False)
    at = 0
    for char in text.decode():
        mark = marks[at:at + 1]
        at += len(char.encode())
        if mark == b"\1" if char in ALIEN else mark == b"\0" and char == "<" and char not in spoken:
            return True
    return False


def render(template, case, begin, bos, eos):
    """What Jinja gives: the text, or None and the reason ("": of its own)."""
    messages = case.get("messages")
    if "turns" in case:
        messages = [{"role": r, "content": c} for r, c in case["turns"]]
    names = {"bos_token": bos, "eos_token": eos, **case.get("variables", {})}
    if case.get("now"):
        now = datetime.datetime.fromtimestamp(case["now"], datetime.timezone.utc)
        names["strftime_now"] = now.strftime
    try:
        return template.render(messages=messages, tools=case.get("tools"), documents=None,
                               add_generation_prompt=bool(begin), **names).encode(), None
    except Raised as e:
        return None, str(e.message)
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError, LookupError):
        return None, ""


def main():
    parser = argparse.ArgumentParser()
    for name in ("driver", "code", "template"):
        parser.add_argument(name)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--bos", default="<s>")
    parser.add_argument("--eos", default="</s>")
    o = parser.parse_args()
    with open(o.template, encoding="utf-8", newline="") as f:
        template = environment().from_string(f.read())
    driver = subprocess.Popen([o.driver, o.code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    rng = random.Random(o.template.rsplit("/", 1)[-1])
    cases = [{"turns": t} for t in fixed()] + list(tool_cases())
    cases += [{"turns": drawn(rng)} for _ in range(o.rounds)]
    same = different = told = failed = 0
    for case in cases:
        for begin in (0, 1):
            want, why = render(template, case, begin, o.bos, o.eos)
            status, text, marks = ask(driver, case, begin)
            good = text == want if status == 0 else why is not None and text.startswith(why.encode())
            good = good and not (status == 0 and wrong_marks(case, text, marks))
            same += good
            failed += good and status != 0
            different += not good
            if not good and told < 3:
                told += 1
                print(f"{o.template}: {case!r} {begin}\n  want {want!r} {why!r}\n  got  {status} {text!r}")
    driver.stdin.close()
    ended = driver.wait()
    different += ended != 0
    print(f"{same} same, {different} different, {failed} of the same are refusals")
    return different > 0


sys.exit(main())
