"""paste.py FILE BNC ARGUMENTS...: `bnc chat` at a terminal of its own that sends what a terminal with bracketed
paste sends: typed characters of two, three and four bytes, a paste with ends of lines, a message between
quotes. Saves the conversation to FILE for the caller to look at."""
import os
import pty
import select
import sys
import time


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.argv[2], sys.argv[2:])
    seen = b""

    def wait_for(text, seconds=60):
        nonlocal seen
        end = time.time() + seconds
        while text not in seen:
            try:
                if time.time() > end:
                    raise OSError
                if select.select([terminal], [], [], 1)[0]:
                    seen += os.read(terminal, 4096)
            except OSError:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                sys.exit(f"no {text!r} in {seen[-300:]!r}")
        seen = seen[seen.index(text) + len(text):]

    def ready():  # the terminal marks pastes from here on, and is in raw mode when the prompt stands there
        wait_for(b"\x1b[?2004h")
        wait_for(b"> ")

    ready()
    os.write(terminal, "na\u00efve \u20ac \U0001f600\r".encode())
    wait_for(b"\x1b[?2004l")  # never on while an answer is written
    ready()
    os.write(terminal, "one\x1b[200~\r/two\r\u00fc three\x1b[201~!\r".encode())
    ready()
    os.write(terminal, b'"""a\r')
    wait_for(b"... ")
    os.write(terminal, b'b"""\r')
    ready()
    os.write(terminal, f"/save {sys.argv[1]}\r".encode())
    wait_for(b"6 turns saved")
    ready()
    os.write(terminal, b"/quit\r")
    end = time.time() + 30
    while time.time() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            sys.exit(os.waitstatus_to_exitcode(status))
        try:
            if select.select([terminal], [], [], 0.1)[0]:
                os.read(terminal, 4096)
        except OSError:
            time.sleep(0.1)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    sys.exit("/quit did not end it")


main()
