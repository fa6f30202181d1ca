/* What the tests of signals need in C: registers that are live while a signal comes, and a handler that looks around. */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALL(one) one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) one(8) one(9) one(10) one(11) one(12) one(13) one(14) one(15)
#define LOAD(n) "movdqu " #n "*32(%[p]), %%xmm" #n "\n"
#define STORE(n) "movdqu %%xmm" #n ", " #n "*32(%[a])\n"
#define LOAD_WIDE(n) "vmovdqu " #n "*32(%[p]), %%ymm" #n "\n"
#define STORE_WIDE(n) "vmovdqu %%ymm" #n ", " #n "*32(%[a])\n"
#define CHANGED(n) "xmm" #n,
#define SPIN "1: cmpl $0, (%[go])\n je 1b\n"

/* Fills xmm0 to xmm15 (and the upper halves, where there are any) each with another pattern, spins until *go, and says
 * whether they are the same. */
__attribute__((noinline)) int live_vectors(volatile int *here, volatile int *go, int wide)
{
    unsigned char pattern[16][32], after[16][32];
    for (int i = 0; i < 16 * 32; i++)
        pattern[i / 32][i % 32] = (unsigned char)(i * 7 + 1);
    memset(after, 0, sizeof after);
    *here = (int)syscall(SYS_gettid);
    if (wide)
        __asm__ volatile(ALL(LOAD_WIDE) SPIN ALL(STORE_WIDE) "vzeroupper\n"
                         : : [p] "r"(pattern), [go] "r"(go), [a] "r"(after) : ALL(CHANGED) "memory", "cc");
    else
        __asm__ volatile(ALL(LOAD) SPIN ALL(STORE)
                         : : [p] "r"(pattern), [go] "r"(go), [a] "r"(after) : ALL(CHANGED) "memory", "cc");
    for (int i = 0; i < 16; i++)
        if (memcmp(after[i], pattern[i], wide ? 32 : 16))
            return 0;
    return 1;
}

/* The same for the 128 bytes below the stack pointer, which belong to the function that is interrupted. */
__attribute__((noinline)) int live_red_zone(volatile int *here, volatile int *go)
{
    int same = 0;
    *here = (int)syscall(SYS_gettid);
    __asm__ volatile(
        "xorl %%ecx, %%ecx\n"
        "2: leaq 0x5a00(%%rcx), %%rax\n movq %%rax, -128(%%rsp, %%rcx, 8)\n incl %%ecx\n cmpl $16, %%ecx\n jne 2b\n"
        SPIN
        "xorl %%ecx, %%ecx\n"
        "3: leaq 0x5a00(%%rcx), %%rax\n cmpq %%rax, -128(%%rsp, %%rcx, 8)\n jne 4f\n incl %[same]\n"
        "4: incl %%ecx\n cmpl $16, %%ecx\n jne 3b\n"
        : [same] "+r"(same) : [go] "r"(go) : "rax", "rcx", "memory", "cc");
    return same == 16;
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

volatile int depth, deepest, again;

/* Sends its own signal to itself, `again` times. */
void nested_handler(int signal)
{
    if (++depth > deepest)
        deepest = depth;
    if (again-- > 0)
        syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), signal);
    depth--;
}

static sigjmp_buf escape;

void escape_handler(int signal)
{
    siglongjmp(escape, 1);
}

/* A true fault of this kind; `page` is one that cannot be had.  1: escape_handler ended it. */
int fault(int signal, volatile char *page)
{
    if (sigsetjmp(escape, 1))
        return 1;
    if (signal == SIGFPE)
        __asm__ volatile("xorl %%ecx, %%ecx\n idivl %%ecx\n" : : : "eax", "ecx", "edx", "cc");
    else if (signal == SIGILL)
        __asm__ volatile("ud2");
    else
        (void)*page;
    return 0;
}

/* Calls itself until the stack ends. */
__attribute__((noinline)) int overflow(int above)
{
    volatile char here[4096];
    here[0] = (char)above;
    return overflow(above + 1) + here[0];
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
