/* The frame of a limit: what the machine allows, measured by itself.  limits.py puts a statement into the loop.
 *
 * The instruction stands here naked, so that a limit is neither libc's wrapper nor anything of rawsys.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return number;
}

static inline long call4(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return number;
}

static inline long call3(long number, long a, long b, long c)
{
    __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return number;
}

static inline long call1(long number, long a)
{
    __asm__ volatile("syscall" : "+a"(number) : "D"(a) : "rcx", "r11", "memory");
    return number;
}

static inline long call0(long number)
{
    __asm__ volatile("syscall" : "+a"(number) : : "rcx", "r11", "memory");
    return number;
}

static inline long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

#ifdef STATEMENT
long limit(long count, const long *a)
{
    (void)a;
    long begin = now();
    for (long i = 0; i < count; i++) {
        STATEMENT
    }
    return now() - begin;
}
#endif
