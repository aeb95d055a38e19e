"""The attacks: pieces of Python that change a canary unless the sandbox stops them.

`T` holds the names of the canaries, `libc` the C library, `NR` numbers of system calls, and
`call(name, …)` makes one without any wrapper. A piece that raises has not got out.
"""

PRELUDE = """
import array, ctypes, fcntl, mmap, os, resource, signal, socket, struct, subprocess, sys, termios, threading, time
T = {targets!r}
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.mmap.restype = ctypes.c_void_p
NR = dict(zip(
    "socket socketpair sendto sendmsg connect fork execve kill tgkill prlimit64 setpriority sched_setaffinity "
    "sched_setscheduler ioprio_set setxattr setxattrat removexattrat file_setattr openat openat2 creat truncate "
    "ftruncate fchmodat fchmodat2 utimensat linkat symlinkat renameat2 unlinkat mknodat add_key shmget memfd_create "
    "io_uring_setup ptrace process_vm_writev pidfd_open pidfd_send_signal pidfd_getfd bpf userfaultfd setsid clone3 "
    "sendmmsg fallocate copy_file_range mq_open unshare setns mount chroot quotactl keyctl sched_setattr "
    "name_to_handle_at open_by_handle_at perf_event_open".split(),
    (41, 53, 44, 46, 42, 57, 59, 62, 234, 302, 141, 203, 144, 251, 188, 463, 466, 469, 257, 437, 85, 76, 77, 268,
     452, 280, 265, 266, 316, 263, 259, 248, 29, 319, 425, 101, 311, 434, 424, 438, 321, 323, 112, 435, 307, 285,
     326, 240, 272, 308, 165, 161, 179, 250, 314, 303, 304, 298)
    if os.uname().machine == "x86_64" else
    (198, 199, 206, 211, 203, None, 221, 129, 131, 261, 140, 122, 119, 30, 5, 463, 466, 469, 56, 437, None, 45, 46,
     53, 452, 88, 37, 36, 276, 35, 33, 217, 194, 279, 425, 117, 271, 434, 424, 438, 280, 282, 157, 435, 269, 47,
     285, 180, 97, 268, 40, 51, 60, 219, 274, 264, 265, 241)))
def call(name, *arguments):
    found = libc.syscall(NR[name], *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if found < 0:
        raise OSError(ctypes.get_errno(), name)
    return found
def done(found):
    if found is None or found < 0:
        raise OSError(ctypes.get_errno(), "libc")
    return found
AT_FDCWD = -100
def inet(port):
    return struct.pack("=H", 2) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
def unix(path):
    return struct.pack("=H", 1) + path.encode() + b"\\0"
def abstract(name):
    return struct.pack("=H", 1) + b"\\0" + name.encode()
FILE, ABSENT = T["file"].encode(), T["absent"].encode()
"""

NETWORK = {
    "connect": 'socket.create_connection(("127.0.0.1", T["tcp"]), 2)',
    "udp": 'socket.socket(2, 2).sendto(b"x", ("127.0.0.1", T["udp"]))',
    "unix": 's = socket.socket(1); s.connect(T["unix"])',
    "native tcp": 'a = inet(T["tcp"]); s = call("socket", 2, 1, 0); call("connect", s, a, len(a))',
    "native udp": 'a = inet(T["udp"]); s = call("socket", 2, 2, 0); call("sendto", s, b"x", 1, 0, a, len(a))',
    "native unix": 'a = unix(T["unix"]); s = call("socket", 1, 1, 0); call("connect", s, a, len(a))',
    "datagram pair": """
p = (ctypes.c_int * 2)(); call("socketpair", 1, 2, 0, p)
a = unix(T["unix_datagram"]); call("sendto", p[0], b"x", 1, 0, a, len(a))""",
    "datagram pair, abstract": """
p = (ctypes.c_int * 2)(); call("socketpair", 1, 2, 0, p)
a = abstract(T["abstract_datagram"]); call("sendto", p[0], b"x", 1, 0, a, len(a))""",
    "datagram pair by Python": """
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
libc.connect(one.fileno(), unix(T["unix_datagram"]), len(unix(T["unix_datagram"]))); one.send(b"x")""",
    "datagram pair by messages": """
p = (ctypes.c_int * 2)(); call("socketpair", 1, 2, 0, p)
a = ctypes.create_string_buffer(unix(T["unix_datagram"])); b = ctypes.create_string_buffer(b"x")
v = ctypes.create_string_buffer(struct.pack("PQ", ctypes.addressof(b), 1))
m = struct.pack("PIxxxxPQPQi4x", ctypes.addressof(a), len(a) - 1, ctypes.addressof(v), 1, 0, 0, 0)
call("sendmsg", p[0], ctypes.create_string_buffer(m), 0)""",
    "program": 'subprocess.run(["sh", "-c", "exec 3<>/dev/tcp/127.0.0.1/%d" % T["tcp"]], executable="/bin/bash")',
    "inherited sockets": """
for n in range(3, 64):
    a = unix(T["unix_datagram"]); libc.sendto(n, b"x", 1, 0, a, len(a))""",
}
FILES = {
    "open": 'open(T["absent"], "w").write("x")',
    "append": 'open(T["file"], "ab").write(b"x")',
    "native open": 'os.write(call("openat", AT_FDCWD, ABSENT, os.O_CREAT | os.O_WRONLY, 0o644), b"x")',
    "native openat2": 'call("openat2", AT_FDCWD, ABSENT, struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o644, 0), 24)',
    "native truncate": 'call("truncate", FILE, 0)',
    "open for reading, truncating": 'call("openat", AT_FDCWD, FILE, os.O_RDONLY | os.O_TRUNC, 0)',
    "chmod": 'call("fchmodat", AT_FDCWD, FILE, 0o777)',
    "chmod by descriptor": "done(libc.fchmod(os.open(FILE, os.O_RDONLY), 0o777))",
    "fchmodat2": 'call("fchmodat2", AT_FDCWD, FILE, 0o777, 0)',
    "chown": "done(libc.chown(FILE, 1, 1))",
    "times": 'call("utimensat", AT_FDCWD, FILE, struct.pack("qqqq", 1, 0, 1, 0), 0)',
    "times by descriptor": 'done(libc.futimens(os.open(FILE, os.O_RDONLY), struct.pack("qqqq", 1, 0, 1, 0)))',
    "setxattr": 'done(libc.setxattr(FILE, b"user.x", b"x", 1, 0))',
    "fsetxattr": 'done(libc.fsetxattr(os.open(FILE, os.O_RDONLY), b"user.x", b"x", 1, 0))',
    "setxattrat": """
v = ctypes.create_string_buffer(b"x"); a = ctypes.create_string_buffer(struct.pack("QII", ctypes.addressof(v), 1, 0))
call("setxattrat", AT_FDCWD, FILE, 0, b"user.x", a, 16)""",
    "file_setattr": """
a = ctypes.create_string_buffer(struct.pack("QIIII", 0x40, 0, 0, 0, 0)); call("file_setattr", AT_FDCWD, FILE, a, 24, 0)""",
    "flags": 'fcntl.ioctl(os.open(FILE, os.O_RDONLY), 0x40086602, struct.pack("l", 0x80))',
    "rename": 'call("renameat2", AT_FDCWD, FILE, AT_FDCWD, ABSENT, 0)',
    "link": 'call("linkat", AT_FDCWD, FILE, AT_FDCWD, ABSENT, 0)',
    "symlink": 'call("symlinkat", FILE, AT_FDCWD, ABSENT)',
    "unlink": 'call("unlinkat", AT_FDCWD, FILE, 0)',
    "fifo": 'call("mknodat", AT_FDCWD, ABSENT, 0o010644, 0)',
    "mkdir": "done(libc.mkdir(ABSENT, 0o755))",
    "program": 'done(libc.system(b"echo x > " + ABSENT) or -1 if not os.path.exists(ABSENT) else 0)',
    "through /proc": 'open("/proc/self/fd/%d" % os.open(FILE, os.O_RDONLY), "w").write("x")',
    "shared map": """
d = os.open(FILE, os.O_RDONLY); m = libc.mmap(None, 4096, 3, 1, d, 0)
if m in (None, 2**64 - 1): raise OSError
ctypes.memmove(m, b"X", 1)""",
    "sqlite": 'import sqlite3; sqlite3.connect(T["absent"]).execute("create table t (a)")',
}
PROCESSES = {
    "kill": 'call("kill", T["victim"], 9)',
    "kill by Python": 'os.kill(T["victim"], 9)',
    "kill the parent": 'call("kill", os.getppid(), 15)',
    "kill by thread": 'call("tgkill", T["victim"], T["victim"], 9)',
    "pidfd": 'call("pidfd_send_signal", call("pidfd_open", T["victim"], 0), 9, None, 0)',
    "signal by fcntl": """
a, b = os.pipe(); fcntl.fcntl(a, fcntl.F_SETOWN, T["victim"]); fcntl.fcntl(a, 10, 9)
fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK); os.write(b, b"x")""",
    "prlimit": 'call("prlimit64", T["victim"], 7, struct.pack("QQ", 16, 16), None)',
    "prlimit of the parent": 'call("prlimit64", os.getppid(), 0, struct.pack("QQ", 1, 1), None); time.sleep(1.5)',
    "priority": 'call("setpriority", 0, T["victim"], 15)',
    "affinity": 'call("sched_setaffinity", T["victim"], 8, struct.pack("Q", 1))',
    "scheduler": 'call("sched_setscheduler", T["victim"], 5, struct.pack("i", 0))',
    "scheduler attributes": 'call("sched_setattr", T["victim"], struct.pack("IIQiIQQQ", 48, 5, 0, 0, 0, 0, 0, 0), 0)',
    "input and output priority": 'call("ioprio_set", 1, T["victim"], (3 << 13))',
    "oom score": 'open("/proc/%d/oom_score_adj" % T["victim"], "w").write("500")',
    "ptrace": 'call("ptrace", 16, T["victim"], 0, 0); time.sleep(0.1); call("ptrace", 8, T["victim"], 0, 0)',
    "memory of another": 'open("/proc/%d/mem" % T["victim"], "r+b").write(b"x")',
    "child in a session of its own": """
if done(libc.fork()) == 0:
    libc.setsid(); time.sleep(30); os._exit(0)""",
    "child of a child": """
if done(libc.fork()) == 0:
    libc.setsid()
    if libc.fork() == 0:
        time.sleep(30)
    os._exit(0)""",
    "program that stays": 'done(libc.system(b"setsid sleep 30 >/dev/null 2>&1 &"))',
}
SHARED = {
    "existing segment": """
m = libc.shmat(T["shared"], None, 0)
if m in (None, 2**64 - 1): raise OSError
ctypes.memmove(m, b"X", 1)""",
    "existing queue": 'done(libc.msgsnd(T["queue"], struct.pack("l", 1) + b"x", 1, 0))',
    "existing semaphore": 'done(libc.semctl(T["semaphore"], 0, 16, 3))',
    "existing semaphore by operation": 'done(libc.semop(T["semaphore"], struct.pack("Hhh", 0, 2, 0), 1))',
    "removing a segment": 'done(libc.shmctl(T["shared"], 0, None))',
    "key": 'call("add_key", b"user", ("refold-" + T["token"]).encode(), b"x", 1, -4)',
    "posix segment": 'os.write(call("openat", AT_FDCWD, ("/dev/shm/refold-" + T["token"]).encode(), 0o102, 0o600), b"x")',
    "mark page": """
for n in range(3, 24):
    try: libc.ftruncate(n, 0)
    except OSError: pass""",
    "flood of descriptors": """
for n in range(3, 24):
    if libc.lseek(n, 0, 2) >= 0:
        for _ in range(3000): libc.write(n, b"x" * 1048576, 1048576)""",
}
TERMINAL = {
    "inject": """
for path in ("/dev/tty", T["tty"]):
    try: d = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    except OSError: continue
    for c in b"echo pwned\\n" * 3: libc.ioctl(d, 0x5412, bytes([c]))""",
    "inject on inherited": """
for d in range(0, 24):
    for c in b"echo pwned\\n" * 3: libc.ioctl(d, 0x5412, bytes([c]))""",
    "read": """
for path in ("/dev/tty", T["tty"]):
    try: d = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError: continue
    libc.signal(21, 1); os.read(d, 100)""",
    "read on inherited": """
for d in range(0, 3):
    os.set_blocking(d, False); os.read(d, 100) if os.isatty(d) else None""",
    "echo off": """
d = os.open(T["tty"], os.O_RDONLY | os.O_NOCTTY)
libc.signal(22, 1); modes = termios.tcgetattr(d); modes[3] &= ~termios.ECHO; termios.tcsetattr(d, 0, modes)""",
}
MEMORY = {
    "bytes": 'kept = bytearray(b"x") * 1_200_000_000; time.sleep(1)',
    "shared map": """
m = mmap.mmap(-1, 1_200_000_000)
for at in range(0, len(m), 4096): m[at] = 1
time.sleep(1)""",
    "memfd": """
d = call("memfd_create", b"x", 0)
for _ in range(1200): os.write(d, b"x" * 1_000_000)
m = mmap.mmap(d, 0); sum(m[at] for at in range(0, len(m), 4096)); time.sleep(1)""",
    "raised limit": """
for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
    resource.setrlimit(kind, (resource.getrlimit(kind)[1],) * 2)
kept = bytearray(b"x") * 1_200_000_000; time.sleep(1)""",
    "children": """
for _ in range(6):
    if libc.fork() == 0:
        kept = bytearray(b"x") * 220_000_000; time.sleep(2); os._exit(0)
time.sleep(2)""",
    "descriptors of pipes": """
for _ in range(200):
    r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20); os.write(w, b"x" * (1 << 20))
time.sleep(0.5)""",
}
BY_KIND = {
    "network": NETWORK,
    "files": FILES,
    "processes": PROCESSES,
    "shared": SHARED,
    "terminal": TERMINAL,
    "memory": MEMORY,
}
SQL = {
    "copy": "COPY (SELECT 1) TO '{absent}'",
    "attach": "ATTACH '{absent}' AS w",
    "read a file": "SELECT 'a' AS key, content AS v FROM read_text('{file}')",
    "glob": "SELECT 'a' AS key, file AS v FROM glob('{folder}/*')",
    "other table": "SELECT 'a' AS key, to_json(t) AS v FROM projections t",
    "serialized statement": "SELECT 'a' AS key, * FROM json_execute_serialized_sql(json_serialize_sql("
    "'SELECT 1 AS secret FROM projections'))",
    "query": "SELECT 'a' AS key, * FROM query('SELECT name AS secret FROM projections')",
    "query_table": "SELECT 'a' AS key, name AS secret FROM query_table('projections')",
    "environment": "SELECT 'a' AS key, getenv('HOME') AS v",
    "install": "INSTALL httpfs",
    "pragma": "PRAGMA enable_logging",
    "settings": "SET enable_external_access = true",
    "endless": "SELECT 'a' AS key, count(*) AS v FROM range(1000000000000) a, events",
    "memory": "SELECT 'a' AS key, repeat('x', 3000000000) AS v FROM events",
    "recursive": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT 'a' AS key, max(n) FROM r",
    "views": "SELECT 'a' AS key, sql AS secret FROM duckdb_tables()",
}
