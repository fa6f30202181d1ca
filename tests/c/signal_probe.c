/* What the tests of signals need in C: registers that are live while a signal comes, and a handler that looks around. */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Fills xmm0 to xmm15 (and the upper halves, where there are any), spins until *go, and says whether they are the same. */
__attribute__((noinline)) int live_vectors(volatile int *here, volatile int *go, int wide)
{
    static const unsigned char pattern[16][32] = {
        [0 ... 15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}};
    unsigned char after[16][32];
    memset(after, 0, sizeof after);
    *here = (int)syscall(SYS_gettid);
    if (wide)
        __asm__ volatile(
            "vmovdqu (%[p]), %%ymm0\n vmovdqu (%[p]), %%ymm1\n vmovdqu (%[p]), %%ymm7\n vmovdqu (%[p]), %%ymm15\n"
            "1: cmpl $0, (%[go])\n je 1b\n"
            "vmovdqu %%ymm0, (%[a])\n vmovdqu %%ymm1, 32(%[a])\n vmovdqu %%ymm7, 64(%[a])\n vmovdqu %%ymm15, 96(%[a])\n"
            "vzeroupper\n"
            : : [p] "r"(pattern), [go] "r"(go), [a] "r"(after) : "xmm0", "xmm1", "xmm7", "xmm15", "memory", "cc");
    else
        __asm__ volatile(
            "movdqu (%[p]), %%xmm0\n movdqu (%[p]), %%xmm1\n movdqu (%[p]), %%xmm7\n movdqu (%[p]), %%xmm15\n"
            "1: cmpl $0, (%[go])\n je 1b\n"
            "movdqu %%xmm0, (%[a])\n movdqu %%xmm1, 32(%[a])\n movdqu %%xmm7, 64(%[a])\n movdqu %%xmm15, 96(%[a])\n"
            : : [p] "r"(pattern), [go] "r"(go), [a] "r"(after) : "xmm0", "xmm1", "xmm7", "xmm15", "memory", "cc");
    for (int i = 0; i < 4; i++)
        if (memcmp(after[i], pattern[i], wide ? 32 : 16))
            return 0;
    return 1;
}

int has_ymm(void)
{
    return __builtin_cpu_supports("avx") != 0;
}

/* errno of this thread, before and after a loop in which signals come. */
int live_errno(volatile int *here, volatile int *go)
{
    errno = 77;
    *here = (int)syscall(SYS_gettid);
    while (!*go)
        ;
    return errno;
}

volatile int runs, frames;

void count_handler(int signal)
{
    runs++;
}

__attribute__((noinline)) void backtrace_handler(int signal)
{
    void *address[64];
    runs++;
    frames = backtrace(address, 64);
}

__attribute__((noinline)) int interrupted_function(int signal)
{
    int answer = (int)syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), signal);
    return answer + runs;
}
