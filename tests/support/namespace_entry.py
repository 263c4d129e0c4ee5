"""Runs a program in the network namespace it was started in, and lends out sockets of that namespace.

Started by `tests.support.orthanc` as ``unshare -n python namespace_entry.py FD PROGRAM ...``. On the
socket FD (sequenced packets) it answers ``connect PORT`` and ``listen PORT`` with a socket of the
namespace's 127.0.0.1, handed over as a file descriptor, and ``kill 0`` by killing the program. It ends the
program when FD is closed, that is when the test process is gone, however that came about.
"""

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


def _lend(verb: str, port: int) -> socket.socket:
    if verb == "connect":
        return socket.create_connection(("127.0.0.1", port), timeout=5)
    return socket.create_server(("127.0.0.1", port), backlog=128)


def _serve(control: socket.socket, program: "subprocess.Popen[bytes]") -> None:
    child = os.pidfd_open(program.pid)
    while True:
        ready, _, _ = select.select([control, child], [], [])
        request = control.recv(256) if control in ready else b""
        if not request:
            return
        verb, port = request.decode().split()
        if verb == "kill":
            program.kill()
            return
        try:
            with _lend(verb, int(port)) as lent:
                lent.setblocking(True)
                socket.send_fds(control, [b"ok"], [lent.fileno()])
        except OSError as error:
            control.send(str(error).encode())


def main() -> int:
    """Bring the loopback up, start the program, lend sockets until either side ends."""
    _loopback_up()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test process, which ends us
    program = subprocess.Popen(sys.argv[2:])
    try:
        with socket.socket(fileno=int(sys.argv[1])) as control:
            _serve(control, program)
    finally:
        program.terminate()
        try:
            program.wait(20)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
