#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold tests/unit/faults.cc to the library: whatever that calls is made to fail there, or has a reason.

faults_complete_test.py libpollux.a CALL...
"""

import re
import subprocess
import sys

# Calls that are not made to fail, by the reason.
EXEMPT = {
    "it cannot fail, or what it answers is no error": """
        __ctype_b_loc __ctype_tolower_loc __errno_location __tls_get_addr _GLOBAL_OFFSET_TABLE_
        __cmsg_nxthdr freeifaddrs geteuid getpid inet_ntop bcmp memchr memcmp memcpy memmove memset
        pthread_equal pthread_self qsort sched_yield sigfillset snprintf strchr strcmp strcpy
        strcspn strerror strerrordesc_np strlen strncmp strnlen
        strrchr strspn strstr strtol strtoul strtoull vsnprintf __isoc99_sscanf numa_max_node""",
    "it gives back, and nothing could be done about a failure": """
        close fclose pthread_attr_destroy pthread_mutex_destroy pthread_mutexattr_destroy sem_destroy
        shutdown pthread_join""",
    "it fails only for arguments that are wrong": """
        clock_gettime clock_nanosleep pthread_attr_setaffinity_np pthread_mutex_lock
        pthread_mutex_unlock pthread_mutexattr_settype pthread_setname_np pthread_sigmask sem_post
        sem_wait sysconf""",
    "it is no part of a device's start: pci_bind_test.cc has the binding of functions": """
        dprintf mkdir rename""",
    "it is no part of a device's start: emu_peer_test.cc has the recordings, emu_tap_test.cc the TAP": """
        fflush fread fseek fwrite write""",
    "it is no part of a device's start: guard_test.cc has the handler of SIGBUS": """
        raise sigaction""",
    "it reads to the end of a file; one that does not open is the same to the caller": """
        fgets""",
    "the thread of the emulated card calls it, and only calls of the thread that starts it fail": """
        eventfd_read eventfd_write ppoll""",
    "the other end of a socket would have to live in this process, whose memory and descriptors are "
    "counted: vhost_user_bad_test.cc fails each message in turn": """
        accept4 bind connect listen lstat64 poll recv recvmsg sendmsg socket unlink""",
    "the same, and vfio_user_bad_test.cc and emu_server_test.cc have what the other end says": """
        fstat64 json_object_get_int64 json_object_get_uint64 json_object_is_type
        json_object_new_object json_object_new_uint64 json_object_object_add
        json_object_object_get_ex json_object_put json_object_to_json_string_length
        json_tokener_free json_tokener_get_error json_tokener_new_ex json_tokener_parse_ex
        pthread_mutex_trylock""",
}

# What compilers and sanitizers put in by themselves.
OF_THE_BUILD = re.compile(
    r"__(assert_fail|asan|ubsan|tsan|sanitizer|gcov|stack_chk|cxa|gmon|cpu_model|cpu_indicator)_?|_ITM_|__llvm")


def symbols(archive, *options):
    listing = subprocess.run(["nm", "--format=posix", *options, archive], capture_output=True,
                             text=True, check=True).stdout
    return {line.split()[0] for line in listing.splitlines() if len(line.split()) > 1}


def plain(name):
    """The call as the source has it, where the compiler put in the one that checks sizes."""
    checked = re.fullmatch(r"__(\w+?)(?:_2)?_chk", name)
    return checked.group(1) if checked else name


def main():
    archive, wrapped = sys.argv[1], set(sys.argv[2:])
    called = {plain(name) for name in symbols(archive, "-u") - symbols(archive, "--defined-only")
              if not OF_THE_BUILD.match(name)}
    exempt = {name for names in EXEMPT.values() for name in names.split()}
    forgotten = sorted(called - wrapped - exempt)
    both = sorted(wrapped & exempt)
    print("1..2")
    for name in forgotten:
        print(f"# {name}() is called and never made to fail: wrap it in faults.cc, or say why not")
    print(f"{'not ok' if forgotten or not called else 'ok'} 1 - each of {len(called)} calls is made to "
          "fail or has a reason not to be")
    for name in both:
        print(f"# {name}() is made to fail and has a reason not to be")
    print(f"{'not ok' if both else 'ok'} 2 - no reason is given for what is made to fail")
    return 1 if forgotten or both or not called else 0


if __name__ == "__main__":
    sys.exit(main())
