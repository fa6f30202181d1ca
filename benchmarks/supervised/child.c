/* The child that every supervisor is given: static, without a libc start-up worth measuring.
 *
 * It says "NAME PID NANOSECONDS\n" (CLOCK_MONOTONIC) into the FIFO $BENCH_FIFO, in one write that is atomic, and then does
 * what its name begins with: "flood" writes $BENCH_LINES numbered lines of 100 bytes, one write each (0: without end), and
 * says the same again as "NAME-end"; "family" has a child of its own, "NAME-grandchild"; "stubborn" ignores SIGTERM.
 * All others, and those afterwards, wait for ever.  The name is the first argument, or else that of the directory: runit,
 * s6 and daemontools start a file without arguments in a directory of the service's own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE 100

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void say(const char *name, const char *more, long long when)
{
    char text[256];
    int length = snprintf(text, sizeof text, "%s%s %d %lld\n", name, more, getpid(), when);
    int fifo = open(getenv("BENCH_FIFO"), O_WRONLY);
    if (fifo < 0 || write(fifo, text, length) != length)
        _exit(9);
    close(fifo);
}

static void flood(const char *name)
{
    char line[LINE + 1];
    long lines = atol(getenv("BENCH_LINES"));
    memset(line, 'x', LINE);
    for (long i = 0; !lines || i < lines; i++) {
        char number[24];
        memcpy(line, number, snprintf(number, sizeof number, "%010ld ", i));
        line[LINE - 1] = '\n';
        if (write(1, line, LINE) != LINE)
            _exit(8);
    }
    say(name, "-end", now());
}

int main(int argc, char **argv)
{
    long long began = now();
    char directory[4096];
    const char *name = argv[1];
    if (argc < 2) {
        if (!getcwd(directory, sizeof directory))
            return 7;
        name = strrchr(directory, '/') + 1;
    }
    if (!strncmp(name, "stubborn", 8))
        signal(SIGTERM, SIG_IGN);
    say(name, "", began);
    if (!strncmp(name, "flood", 5))
        flood(name);
    if (!strncmp(name, "family", 6) && fork() == 0)
        say(name, "-grandchild", now());
    for (;;)
        pause();
}
