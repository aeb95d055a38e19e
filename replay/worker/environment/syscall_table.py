"""System calls by name, with their numbers on x86_64 and aarch64, and what the sandbox does with each.

The filter answers ENOSYS for a call that is in no table. An older kernel does the same, so programs
fall back to an older call.
Standard library only: the launcher, the worker and the parent import this module.
"""

from __future__ import annotations

from typing import Dict

MACHINES = ("x86_64", "aarch64")
_ABSENT = "-"

# Each entry is NAME:NUMBER ON x86_64:NUMBER ON aarch64.
_ALLOWED = """
read:0:63 write:1:64 close:3:57 stat:4:- fstat:5:80 lstat:6:- poll:7:- lseek:8:62 mmap:9:222
mprotect:10:226 munmap:11:215 brk:12:214 rt_sigaction:13:134 rt_sigprocmask:14:135
rt_sigreturn:15:139 pread64:17:67 pwrite64:18:68 readv:19:65 writev:20:66 access:21:-
pipe:22:- select:23:- sched_yield:24:124 mremap:25:216 msync:26:227 mincore:27:232
madvise:28:233 dup:32:23 dup2:33:- pause:34:- nanosleep:35:101 getitimer:36:102 alarm:37:-
setitimer:38:103 getpid:39:172 sendfile:40:71 accept:43:202 recvfrom:45:207 sendmsg:46:211
recvmsg:47:212 shutdown:48:210 getsockname:51:204 getpeername:52:205 setsockopt:54:208
getsockopt:55:209 fork:57:- vfork:58:- execve:59:221 exit:60:93 wait4:61:260 uname:63:160
fsync:74:82 fdatasync:75:83 ftruncate:77:46 getdents:78:- getcwd:79:17 chdir:80:49
fchdir:81:50 readlink:89:- umask:95:166 gettimeofday:96:169 getrlimit:97:163 getrusage:98:165
sysinfo:99:179 times:100:153 getuid:102:174 getgid:104:176 geteuid:107:175 getegid:108:177
getppid:110:173 getpgrp:111:- getpgid:121:155 getsid:124:156 getgroups:115:158
getresuid:118:148 getresgid:120:150 capget:125:90 rt_sigpending:127:136
rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 statfs:137:43 fstatfs:138:44
getpriority:140:141 sched_getparam:143:121 sched_getscheduler:145:120
sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_rr_get_interval:148:127
sched_getattr:315:275 mlock:149:228 munlock:150:229 arch_prctl:158:- gettid:186:178
readahead:187:213 getxattr:191:8 lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11
llistxattr:195:12 flistxattr:196:13 getxattrat:464:464 listxattrat:465:465
file_getattr:468:468 time:201:- futex:202:98 sched_getaffinity:204:123 epoll_create:213:-
getdents64:217:61 set_tid_address:218:96 restart_syscall:219:128 fadvise64:221:223
timer_create:222:107 timer_settime:223:110 timer_gettime:224:108 timer_getoverrun:225:109
timer_delete:226:111 clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115
exit_group:231:94 epoll_wait:232:- epoll_ctl:233:21 waitid:247:95 newfstatat:262:79
readlinkat:267:78 faccessat:269:48 pselect6:270:72 ppoll:271:73 set_robust_list:273:99
get_robust_list:274:100 splice:275:76 tee:276:77 epoll_pwait:281:22 eventfd:284:-
signalfd:282:- timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87
fallocate:285:47 accept4:288:242 signalfd4:289:74 eventfd2:290:19 epoll_create1:291:20
dup3:292:24 pipe2:293:59 preadv:295:69 pwritev:296:70 recvmmsg:299:243 sendmmsg:307:269
getcpu:309:168 getrandom:318:278 execveat:322:281 membarrier:324:283 copy_file_range:326:285
preadv2:327:286 pwritev2:328:287 statx:332:291 rseq:334:293 faccessat2:439:439
epoll_pwait2:441:441 close_range:436:436 futex_waitv:449:449 futex_wake:454:454
futex_wait:455:455 futex_requeue:456:456 cachestat:451:451 get_mempolicy:239:236
set_mempolicy:238:237 mbind:237:235 mlock2:325:284 pkey_mprotect:329:288 pkey_alloc:330:289
pkey_free:331:290 mseal:462:462 map_shadow_stack:453:453 pidfd_open:434:434
"""

# Refused and reported to the parent: these calls change files, reach other processes, or lead outside.
_REFUSED = """
socket:41:198 connect:42:203 bind:49:200 listen:50:201 creat:85:- truncate:76:45 rename:82:-
renameat:264:38 renameat2:316:276 link:86:- linkat:265:37 unlink:87:- unlinkat:263:35
symlink:88:- symlinkat:266:36 mkdir:83:- mkdirat:258:34 rmdir:84:- mknod:133:- mknodat:259:33
chmod:90:- fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 chown:92:- fchown:93:55 lchown:94:-
fchownat:260:54 utime:132:- utimes:235:- futimesat:261:- utimensat:280:88 setxattr:188:5
lsetxattr:189:6 fsetxattr:190:7 setxattrat:463:463 removexattr:197:14 lremovexattr:198:15
fremovexattr:199:16 removexattrat:466:466 file_setattr:469:469 ptrace:101:117
process_vm_readv:310:270 process_vm_writev:311:271 process_madvise:440:440
process_mrelease:448:448 pidfd_getfd:438:438 pidfd_send_signal:424:424 kcmp:312:272
shmget:29:194 shmat:30:196 shmctl:31:195 shmdt:67:197 semget:64:190 semop:65:193 semctl:66:191
semtimedop:220:192 msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187 mq_open:240:180
mq_unlink:241:181 add_key:248:217 request_key:249:218 keyctl:250:219 setsid:112:157
setpgid:109:154 unshare:272:97 setns:308:268 mount:165:40 umount2:166:39 chroot:161:51
pivot_root:155:41 open_by_handle_at:304:265 bpf:321:280 fanotify_init:300:262 flock:73:32
"""

# Allowed with some arguments only; `seccomp_filter` has the rules.
_CHECKED = """
open:2:- openat:257:56 kill:62:129 tkill:200:130 tgkill:234:131 rt_sigqueueinfo:129:138
rt_tgsigqueueinfo:297:240 sched_setaffinity:203:122 sched_setparam:142:118
sched_setscheduler:144:119 sched_setattr:314:274 setpriority:141:140 prlimit64:302:261
setrlimit:160:164 fcntl:72:25 ioctl:16:29 prctl:157:167 clone:56:220 socketpair:53:199
sendto:44:206
"""


def _numbers(table: str, machine: str) -> Dict[str, int]:
    column = 1 + MACHINES.index(machine)
    rows = (entry.split(":") for entry in table.split())
    return {row[0]: int(row[column]) for row in rows if row[column] != _ABSENT}


def allowed_calls(machine: str) -> Dict[str, int]:
    """Return the numbers of the calls that a worker may make with any arguments, by name."""
    return _numbers(_ALLOWED, machine)


def refused_calls(machine: str) -> Dict[str, int]:
    """Return the numbers of the calls that are refused and reported to the parent, by name."""
    return _numbers(_REFUSED, machine)


def checked_calls(machine: str) -> Dict[str, int]:
    """Return the numbers of the calls whose arguments decide, by name."""
    return _numbers(_CHECKED, machine)


def call_names(machine: str) -> Dict[int, str]:
    """Return the names of all calls that the filter may report to the parent, by number."""
    reported = {**refused_calls(machine), **checked_calls(machine)}
    return {number: name for name, number in reported.items()}
