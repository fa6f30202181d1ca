/* Between clone and exec the child shares the parent's memory, and the parent's other threads run on: a lock of libc
 * may be held by one of them, and a byte written here is written in the parent.  So no Python, no malloc, no libc, no
 * stack protector (its canary is read through the parent's thread pointer); what is called is listed by `nm -u child.o`:
 * the interpreter's entry points.
 */
#include "child.h"

#include "syscall.h"

#define RS_NO_CANARY __attribute__((no_stack_protector))
#define SYS_rt_sigaction 13
#define SYS_execve 59
#define SYS_exit_group 231
#define SYS_execveat 322
#define MINUS_EACCES -13

/* Handlers are the parent's code: no signal may reach one here.  Ignored signals stay ignored, as exec has it. */
static RS_NO_CANARY void reset_handlers(void)
{
    long action[4];
    const long zero[4] = {0};
    for (long signal = 1; signal <= 64; signal++)
        if (!rs_failed(rs_syscall4(SYS_rt_sigaction, signal, 0, (long)action, 8)) && (unsigned long)action[0] > 1)
            rs_syscall4(SYS_rt_sigaction, signal, (long)zero, 0, 8);
}

static int is_exec(const struct rs_step *step)
{
    return step->number == SYS_execve || step->number == SYS_execveat;
}

/* All candidates of a search were refused: "permission denied" says more than "not found". */
static void tell_search(struct rs_report *report, const struct rs_program *program, const struct rs_frame *frame)
{
    uint32_t chosen = program->count - 1;
    for (uint32_t i = program->count; i-- && is_exec(&program->step[i]);)
        if (frame->answer[i] == MINUS_EACCES)
            chosen = i;
    report->step = chosen;
    report->error = (int32_t)-frame->answer[chosen];
}

static int run_part(struct rs_report *report, const struct rs_program *program, struct rs_frame *frame)
{
    frame->at = &report->step;
    rs_run(program, frame, 0, program->count, 1);
    uint32_t failed = rs_first_failure(program, frame);
    if (failed < program->count) {
        report->step = failed;
        report->error = (int32_t)-frame->answer[failed];
        return 0;
    }
    if (!program->count || !is_exec(&program->step[program->count - 1]))
        return 1;
    tell_search(report, program, frame);
    return 0;
}

void rs_child_run(struct rs_child *child)
{
    for (unsigned i = 0; i < child->parts; i++) {
        child->report->step = 0;
        child->report->part = i;
        if (!run_part(child->report, child->program[i], child->frame[i]))
            return;
    }
}

void rs_child_main(void *word)
{
    struct rs_child *child = word;
    if (child->reset_handlers)
        reset_handlers();
    rs_child_run(child);
    rs_syscall1(SYS_exit_group, child->report->error ? 127 : 0);
    __builtin_unreachable();
}
