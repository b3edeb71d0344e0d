"""typed.py COMMAND: what a terminal shows of a shell command, as bytes on standard output.

Standard output and error of the command are a pseudo-terminal, its input is empty. Status: that of the
command; 77 where the system gives no pseudo-terminal."""
import os
import pty
import subprocess
import sys


def main():
    try:
        terminal, inside = pty.openpty()
    except OSError as e:
        print(f"no pseudo-terminal can be had: {e}")
        sys.exit(77)
    command = subprocess.Popen(["/bin/sh", "-c", sys.argv[1]], stdin=subprocess.DEVNULL, stdout=inside, stderr=inside)
    os.close(inside)
    while True:
        try:
            got = os.read(terminal, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not got:
            break
        sys.stdout.buffer.write(got)
    sys.exit(command.wait())


main()
