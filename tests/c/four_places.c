/* One program, run by the interpreter in its four places: here, in a child that shares our memory, in a
 * thread, and in a signal handler.  Each run writes one letter into a pipe, reads it back, and gives what it
 * read to a step that depends on it.  Prints one line for each place; exits with 0 when all are right. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"

static const struct rs_row row_write = {.name = "write", .number = 1, .arity = 3, .returns = RS_SIZE,
    .arg = {{.name = "fd", .kind = RS_FD, .bits = 32}, {.name = "buf", .kind = RS_IN, .bits = 64, .extent = RS_SCALED, .extent_arg = 2, .scale = 1},
            {.name = "count", .kind = RS_NUMBER, .bits = 64}}};
static const struct rs_row row_read = {.name = "read", .number = 0, .arity = 3, .returns = RS_SIZE,
    .arg = {{.name = "fd", .kind = RS_FD, .bits = 32}, {.name = "buf", .kind = RS_OUT, .bits = 64, .extent = RS_SCALED, .extent_arg = 2, .scale = 1},
            {.name = "count", .kind = RS_NUMBER, .bits = 64}}};

#define STEPS 5
static union { struct rs_program program; char room[sizeof(struct rs_program) + STEPS * sizeof(struct rs_step)]; } made;
static const char *const letter = "x";

struct memory {
    long answer[STEPS], buffer[1];
    size_t buffer_length[1];
    char data[8];
    volatile uint32_t at;
    uint32_t end;
};

static void step(unsigned i, const struct rs_row *row, long fd, long count)
{
    made.program.step[i] = (struct rs_step){.row = row, .number = row->number, .arity = row->arity, .word = {fd, (long)letter, count},
        .length = {RS_UNMEASURED, row == &row_write ? 1 : RS_UNMEASURED, RS_UNMEASURED}};
    made.program.count = i + 1;
}

static void patch(unsigned i, unsigned word, int source, unsigned index)
{
    struct rs_step *s = &made.program.step[i];
    s->patch[s->patches++] = (struct rs_patch){.word = (uint8_t)word, .source = (uint8_t)source, .index = index};
}

/* write "x"; read it; write as much as was read; a read longer than its buffer (-EFAULT, not made); what depends on it (-ECANCELED) */
static void make(int in, int out)
{
    step(0, &row_write, out, 1);
    step(1, &row_read, in, 1);
    patch(1, 1, RS_FROM_BUFFER, 0);
    step(2, &row_write, out, 0);
    patch(2, 2, RS_FROM_STEP, 1);
    step(3, &row_read, in, 100);
    patch(3, 1, RS_FROM_BUFFER, 0);
    made.program.step[3].flags = RS_BOUND;
    step(4, &row_write, out, 0);
    patch(4, 2, RS_FROM_STEP, 3);
}

static void run(struct memory *m)
{
    struct rs_frame frame = {.answer = m->answer, .buffer = m->buffer, .buffer_length = m->buffer_length, .at = &m->at};
    m->buffer[0] = (long)m->data;
    m->buffer_length[0] = sizeof m->data;
    m->end = rs_run(&made.program, &frame, 0, made.program.count, 1);
}

static int check(const char *place, const struct memory *m, int in)
{
    char drained = 0;
    int right = m->end == STEPS && m->at == STEPS - 1 && m->answer[0] == 1 && m->answer[1] == 1 && m->data[0] == 'x' &&
                m->answer[2] == 1 && m->answer[3] == -14 && m->answer[4] == -125 && read(in, &drained, 1) == 1 && drained == 'x';
    printf("%s: %s\n", place, right ? "right" : "WRONG");
    return right;
}

static struct memory in_handler;

static void handler(int number)
{
    (void)number;
    run(&in_handler);
}

static int child(void *memory)
{
    run(memory);
    _exit(0);
}

static void *thread(void *memory)
{
    run(memory);
    return NULL;
}

int main(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    static struct memory here, in_child, in_thread;
    int ends[2], right = 1, status;
    pthread_t id;
    if (pipe(ends))
        return 2;
    make(ends[0], ends[1]);
    run(&here);
    right &= check("here", &here, ends[0]);
    pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &in_child);
    waitpid(pid, &status, 0);
    right &= check("child", &in_child, ends[0]);
    pthread_create(&id, NULL, thread, &in_thread);
    pthread_join(id, NULL);
    right &= check("thread", &in_thread, ends[0]);
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    right &= check("handler", &in_handler, ends[0]);
    return right ? 0 : 1;
}
