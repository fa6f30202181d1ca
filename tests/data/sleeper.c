/* A program that needs nothing, not even a loader: it can run in an empty root.  It writes what only it can ask for into
 * its name, which /proc shows as comm: the parent death signal, the securebits, whether it is a subreaper; and sleeps. */
static long call(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return answer;
}

static void hex(char *at, long number)
{
    at[0] = "0123456789abcdef"[number >> 4 & 15];
    at[1] = "0123456789abcdef"[number & 15];
}

void _start(void)
{
    char name[16] = "-- -- --";
    int signal = 0, reaper = 0;
    long forever[2] = {1000000, 0};
    call(157, 2, (long)&signal, 0, 0);  /* PR_GET_PDEATHSIG */
    call(157, 37, (long)&reaper, 0, 0); /* PR_GET_CHILD_SUBREAPER */
    hex(name, signal);
    hex(name + 3, call(157, 27, 0, 0, 0)); /* PR_GET_SECUREBITS */
    hex(name + 6, reaper);
    call(157, 15, (long)name, 0, 0); /* PR_SET_NAME */
    for (;;)
        call(230, 1, 0, (long)forever, 0); /* clock_nanosleep on the monotonic clock */
}
