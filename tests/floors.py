#!/usr/bin/env python3
"""floors.py OBJECT...: the floor rule of docs/house.md, by tests/rooms.def, from the root of the tree.

  edges      what a room includes ("..." or <...>) and which symbols its objects use (nm) must be of
             rooms that it may use; a library's header must be on its list
  circles    none between rooms, none between the objects of one room
  homes      each source of compiler/ and runtime-min/ stands in a room; a header declares what its own
             room defines; no .c that is compiled declares functions or variables of others
  sizes      800 lines a file, 80 lines a function

OBJECT: those that bnc and the runtime are linked from. The last line says how it ended; status 1 where a
rule is broken.
"""
import os
import re
import subprocess
import sys

FILE_LINES, FUNCTION_LINES = 800, 80
LIMITED = (".c .h .def .y .l .cu .cuh .cc .metal .m .sh .py .js .mjs .css .awk .mk .tir .jinja .yml "
           "Makefile").split()
LIKE_C = ".c .h .cu .cuh .cc .metal .m".split()
SCANNED = LIKE_C + [".def", ".y", ".l"]
DIALECT = ".cu .cuh .metal .m".split()  # of other compilers, whose headers are theirs
# Of C11 and POSIX.1-2008, as far as they are used.
STANDARD = set("""assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h
    math.h setjmp.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h
    stdnoreturn.h string.h tgmath.h threads.h time.h uchar.h wchar.h wctype.h dirent.h dlfcn.h fcntl.h
    fnmatch.h glob.h langinfo.h poll.h pthread.h pwd.h regex.h sched.h semaphore.h spawn.h strings.h
    sys/mman.h sys/resource.h sys/select.h sys/socket.h sys/stat.h sys/time.h sys/types.h sys/uio.h
    sys/utsname.h sys/wait.h syslog.h termios.h unistd.h netdb.h netinet/in.h arpa/inet.h""".split())
MAY_DECLARE = {"environ"}  # POSIX: in no header

broken = []


def refuse(text):
    if text not in broken:
        broken.append(text)


# ---- the table ----

TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    r"|^[ \t]*\#(?:\\\n|[^\n])*|\n|[A-Za-z_]\w*|\d[\w.]*|\S", re.S | re.M)


def rows(path, macro):
    """The arguments of each MACRO(...) of a .def file, strings unquoted, those beside each other joined by a space."""
    row, last = None, None
    for m in TOKEN.finditer(open(path).read()):
        t = m.group()
        if t == "\n" or t.startswith(("//", "/*")):
            continue
        if row is None:
            row = [""] if t == "(" and last == macro else None
        elif t == ")":
            yield row
            row = None
        elif t == ",":
            row.append("")
        else:
            joint = " " if last.startswith('"') else ""
            row[-1] += joint + t[1:-1] if t.startswith('"') else t
        last = t


class Room:
    def __init__(self, name, place, uses, libraries, holds):
        self.name, self.place, self.libraries = name, place, libraries.split()
        self.files = [u for u in uses.split() if "/" in u]
        self.rooms = [u for u in uses.split() if "/" not in u and u != "contract"]
        self.contract = "contract" in uses.split()


ROOMS = {r[0]: Room(*r) for r in rows("tests/rooms.def", "ROOM")}
CONTRACT = ["runtime-min/" + h for h in next(rows("tests/rooms.def", "CONTRACT"))[0].split()]
EXEMPT = {r[0] for r in rows("tests/rooms.def", "EXEMPT")}


def room_of(path):
    for r in ROOMS.values():
        if path == r.place or path.startswith(r.place + "/"):
            return r
    return None


def circles(graph):
    """The strongly connected sets of more than one node (Tarjan)."""
    index, low, stack, out = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(graph.get(v, ())):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            at = stack.index(v)
            if len(stack) - at > 1:
                out.append(sorted(stack[at:]))
            del stack[at:]

    for v in sorted(graph):
        if v not in index:
            visit(v)
    return out


# ---- sources ----

def tracked():
    """What git tracks, and new files that it does not ignore; where there is no git, all files."""
    p = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if p.returncode == 0 and p.stdout:
        return sorted(f for f in set(p.stdout.splitlines()) if os.path.isfile(f))
    found = []
    for top, dirs, files in os.walk("."):
        dirs[:] = [d for d in dirs if d not in (".git", "build")]
        found += [os.path.normpath(os.path.join(top, f)) for f in files]
    return sorted(found)


def kind(path):
    name = os.path.basename(path)
    return os.path.splitext(name)[1] or name


def tokens(text):
    """(token, line) without comments and preprocessor lines; of #if's branches, each begins at the
    depth of braces of the first."""
    line, depth, stack = 1, 0, []
    for m in TOKEN.finditer(text):
        t = m.group()
        word = re.match(r"\s*#\s*(\w*)", t)
        if word:
            if word[1] in ("if", "ifdef", "ifndef"):
                stack.append(depth)
            elif word[1] in ("else", "elif") and stack:
                depth = stack[-1]
            elif word[1] == "endif" and stack:
                stack.pop()
        elif t != "\n" and not t.startswith(("//", "/*")):
            depth = max(0, depth - 1) if t == "}" else depth
            yield t, line, depth
            depth += t == "{"
        line += t.count("\n")


def declarations(text):
    """The declarations of a file: (tokens, first line, lines of the function that it defines or 0)."""
    head, start, body = [], None, 0
    for t, line, depth in tokens(text):
        if depth == 0:
            start = start or line
            if t == "{" and head and head[-1] == ")":
                body = line - 1  # its name stands on the line before
            if t == ";" or (t == "}" and body):
                yield head, start, line - body + 1 if body else 0
                head, start, body = [], None, 0
            else:
                head.append(t)
        elif t == "extern":
            yield ["extern", "inside"], line, 0


def declared(head):
    """The name that a declaration at file level gives to a function (or, extern, to a variable) that
    it does not define; None: it declares no such thing."""
    if not head or {"static", "typedef", "=", "{", "_Static_assert", "_Pragma"} & set(head):
        return None
    if head == ["extern", "inside"]:
        return "inside a function"
    for i, t in enumerate(head[1:], 1):
        if t == "(" and re.match(r"[A-Za-z_]\w*$", head[i - 1]) and head[i - 1] != "__attribute__":
            return head[i - 1] if i > 1 else None  # else a macro
    if "extern" in head:
        return next((t for t in reversed(head) if re.match(r"[A-Za-z_]\w*$", t)), None)
    return None


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def check_sizes(files):
    for path in files:
        if kind(path) not in LIMITED:
            continue
        text = read(path)
        if text.count("\n") > FILE_LINES:
            refuse("over %d lines: %s (%d)" % (FILE_LINES, path, text.count("\n")))
        if kind(path) in LIKE_C:
            for head, first, lines in declarations(text):
                if lines > FUNCTION_LINES:
                    refuse("over %d lines: %s: the function on line %d (%d)" % (
                        FUNCTION_LINES, path, first, lines))


GENERATED = re.compile(r"(\w+)\.(tab|lex)\.h$")


def included(path, name):
    """The file of the tree that an include names, or None: it is of none."""
    made = GENERATED.match(name)
    if made:
        for r in ROOMS.values():
            if os.path.exists("%s/%s.y" % (r.place, made[1])):
                return "%s/%s.y" % (r.place, made[1])
    if name in ("unicode_tables.h", "unicode_normal.h", "jit_rows.def"):
        return {"unicode_tables.h": "runtime-min/", "unicode_normal.h": "compiler/ir/", "jit_rows.def": "compiler/jit/"}[name] + name
    for top in (os.path.dirname(path), "compiler", "runtime-min", ""):
        at = os.path.normpath(os.path.join(top, name))
        if os.path.isfile(at):
            return at
    return None


def check_include(path, room, quoted, name):
    at = included(path, name)
    if at is None:
        if kind(path) in DIALECT:
            return
        if quoted:
            refuse("%s includes \"%s\", which is no file here" % (path, name))
        elif name not in STANDARD and not any(
                name == l or (l.endswith("/") and name.startswith(l)) for l in room.libraries):
            refuse("%s includes <%s>: no library of room %s" % (path, name, room.name))
        return
    other = room_of(at)
    if other is room or (room.contract and at in CONTRACT):
        return
    if other is None:
        refuse("%s includes %s, which is in no room" % (path, at))
    elif other.name not in room.rooms and not any(
            at == ROOMS[f.split("/")[0]].place + "/" + f.split("/", 1)[1] for f in room.files):
        refuse("%s includes %s: room %s may not use %s" % (path, at, room.name, other.name))
    elif kind(at) not in (".h", ".def", ".y") and other.name in room.rooms:
        refuse("%s includes %s: only headers and tables of other rooms" % (path, at))


INCLUDE = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*(?:include|include_next|import|embed)\b[ \t]*(.*)", re.M)


def check_includes(files):
    for path in files:
        if kind(path) not in SCANNED or not path.startswith(("compiler/", "runtime-min/")):
            continue
        room = room_of(path)
        if room is None:
            refuse("%s is in no room of tests/rooms.def" % path)
            continue
        text = re.sub(r"\\\n", "", read(path))
        for m in INCLUDE.finditer(re.sub(r"/\*.*?\*/", " ", text, flags=re.S)):
            name = re.match(r'(["<])([^">]+)[">]', m[1])
            if name:
                check_include(path, room, name[1] == '"', name[2])
            else:
                refuse("%s includes by a macro: %s" % (path, m[1]))


# ---- objects ----

def source_of(obj):
    """The source of an object, by its place in build/."""
    parts = obj.split("/")
    while parts[0] != "build":
        parts = parts[1:]
    name = "/".join(parts[1:])[:-2]
    if name.startswith("rt/"):
        return "runtime-min/" + name[3:] + ".c"
    made = re.match(r"gen/(\w+)\.(tab|lex)$", name)
    if made:
        return included("compiler", made[1] + ".tab.h") or "?"
    if name == "gen/embedded":
        return "compiler/ir/ir.h"  # which declares what it defines
    return "compiler/" + name + ".c"


class Objects:
    def __init__(self, objects):
        self.defines, self.uses = {}, {o: set() for o in objects}
        out = subprocess.run(["nm", "-A", "-P"] + objects, capture_output=True, text=True, check=True).stdout
        for l in out.splitlines():
            obj, name, letter = re.match(r"(.*): (\S+) (\w)", l).groups()
            if letter in "Uvw":
                self.uses[obj].add(name)
            elif letter.isupper():
                self.defines.setdefault(name, []).append(obj)

    def edges(self):
        """(object, object, symbol) of all uses between objects."""
        for o, names in self.uses.items():
            for n in names:
                for d in self.defines.get(n, ()):
                    if d != o:
                        yield o, d, n


def check_objects(objects):
    x = Objects(objects)
    inside = {}
    for o, d, n in sorted(x.edges()):
        a, b = room_of(source_of(o)), room_of(source_of(d))
        if a is None or b is None:
            refuse("%s is in no room" % source_of(o if a is None else d))
        elif a is b:
            inside.setdefault(o, set()).add(d)
        elif b.name not in a.rooms and source_of(d) not in [
                ROOMS[u.split("/")[0]].place + "/" + u.split("/", 1)[1] for u in a.files]:
            refuse("%s uses %s of %s: room %s may not use %s" % (
                source_of(o), n, source_of(d), a.name, b.name))
    for c in circles(inside):
        refuse("a circle of files: " + ", ".join(sorted(source_of(o) for o in c)))
    for name, where in x.defines.items():
        if len(where) > 1:
            refuse("%s is defined twice: %s" % (name, ", ".join(sorted(map(source_of, where)))))
    return x


def check_homes(files, x):
    sources = {source_of(o) for o in x.uses}
    for path in files:
        if kind(path) not in (".c", ".h") or not room_of(path) or (kind(path) == ".c" and path not in sources):
            continue
        for head, first, lines in declarations(read(path)):
            name = None if lines else declared(head)
            if not name or name in MAY_DECLARE:
                continue
            homes = {room_of(source_of(o)) for o in x.defines.get(name, ())}
            if kind(path) == ".c":
                refuse("%s:%d declares %s by hand: include its header" % (path, first, name))
            elif homes and room_of(path) not in homes:
                refuse("%s:%d declares %s of room %s" % (path, first, name, homes.pop().name))


def main():
    objects = sys.argv[1:]
    for r in ROOMS.values():
        if not os.path.exists(r.place):
            refuse("room %s: there is no %s" % (r.name, r.place))
        for u in r.rooms:
            if u not in ROOMS:
                refuse("room %s uses %s, which is no room" % (r.name, u))
    for c in circles({r.name: set(r.rooms) for r in ROOMS.values()}):
        refuse("a circle of rooms: " + ", ".join(c))
    files = tracked()
    check_sizes(files)
    check_includes(files)
    x = check_objects(objects)
    check_homes(files, x)
    shapes = {re.sub(r"\b\d+\b", "N", b): b for b in broken}
    said = [b for s, b in shapes.items() if s not in EXEMPT]
    said += ["exempt, but not broken: " + e for e in sorted(EXEMPT - set(shapes))]
    for b in said:
        print("floors: " + b)
    if not said:
        print("floors: clean: %d rooms, %d files, %d objects%s" % (
            len(ROOMS), len(files), len(objects), ", %d exempt" % len(EXEMPT) if EXEMPT else ""))
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
