#!/usr/bin/env python3
"""make -nB OBJECT... | compile_commands.py: the compilations in make's output as a compile_commands.json."""
import json
import os
import shlex
import sys

entries = {}
for line in sys.stdin:
    if " -c " not in line:
        continue
    words = shlex.split(line)
    source = words[words.index("-c") + 1]
    entries[source] = {"directory": os.getcwd(), "file": source, "arguments": words}
json.dump([entries[k] for k in sorted(entries)], sys.stdout, indent=1)
print()
