/* Preloaded into the user-mode kernel: its programs keep all registers on processors with AMX (registers.py).
 *
 * It keeps 2,696 bytes of a program's vector registers. Linux takes registers back only as a whole, and with AMX they
 * are 11,008 bytes: PTRACE_SETREGSET says EFAULT. So what it does not know is read first, and given back as it was. No
 * program in it uses AMX: one must ask Linux for that first, and Linux 6.1 as a program does not have that call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...)
{
    static long (*real)(enum __ptrace_request, pid_t, void *, void *);
    static __thread char whole[65536] __attribute__((aligned(64)));
    va_list list;

    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *addr = va_arg(list, void *), *data = va_arg(list, void *);
    va_end(list);
    if (!real)
        real = dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && (long)addr == NT_X86_XSTATE) {
        struct iovec *given = data, all = {whole, sizeof whole};

        if (real(PTRACE_GETREGSET, pid, addr, &all) == 0 && all.iov_len > given->iov_len) {
            memcpy(whole, given->iov_base, given->iov_len);
            return real(request, pid, addr, &all);
        }
    }
    return real(request, pid, addr, data);
}
