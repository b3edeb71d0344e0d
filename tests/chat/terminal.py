"""terminal.py BNC MODEL: `bnc chat` at a terminal of its own: prompt, line editing, Ctrl-C.

The answer must be long enough to be stopped: model and --ctx are the caller's. Status 0 where all is as
it should be, 77 where the system gives no pseudo-terminal."""
import os
import pty
import select
import sys
import time


def main():
    try:
        for end in pty.openpty():
            os.close(end)
    except OSError as e:
        print(f"no pseudo-terminal can be had: {e}")
        sys.exit(77)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execv(sys.argv[1], sys.argv[1:])
    seen = b""

    def fail(why):
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        sys.exit(why)

    def wait_for(text, seconds=300):  # a hang, not a slow machine
        nonlocal seen
        end = time.time() + seconds
        while text not in seen:
            if time.time() > end:
                fail(f"no {text!r} in {seen[-300:]!r}")
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                fail(f"ended without {text!r}: {seen[-300:]!r}")
        seen = seen[seen.index(text) + len(text):]

    wait_for(b"/help lists", 900)  # it may have to be compiled
    wait_for(b"> ")
    os.write(terminal, b"dropped")
    for _ in range(150):  # one that comes between the prompt and the read goes unseen: press again
        os.write(terminal, b"\x03")
        time.sleep(0.3)
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
        if b"(/quit or Ctrl-D leaves)" in seen:
            break
    wait_for(b"(/quit or Ctrl-D leaves)")
    os.write(terminal, b"Once upon a tome\x08\x08\x08ime\n")
    wait_for(b"ime\r\n")  # the end of the edited line; what follows is the answer
    wait_for(b" ")
    os.write(terminal, b"\x03")
    wait_for(b"(stopped)")
    wait_for(b"> ")
    os.write(terminal, b"/stats\n")
    wait_for(b"2 turns")
    wait_for(b"> ")
    end = time.time() + 300
    pressed = 0
    last = seen
    while time.time() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            sys.exit(os.waitstatus_to_exitcode(status))
        try:
            # What comes before the terminal is in raw mode stands on the line as a character that
            # Ctrl-U clears; Ctrl-D leaves from an empty line only.
            if time.time() - pressed > 1:
                pressed = time.time()
                os.write(terminal, b"\x15\x04")
            if select.select([terminal], [], [], 0.1)[0]:
                last = (last + os.read(terminal, 4096))[-300:]
        except OSError:
            time.sleep(0.1)
    fail(f"Ctrl-D did not end it: {last!r}")


main()
