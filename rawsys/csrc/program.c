#include "program.h"

#include <string.h>

#define MINUS_EINTR -4
#define MINUS_ECHILD -10
#define MINUS_EFAULT -14
#define MINUS_ECANCELED -125

int rs_step_allows(const struct rs_step *step, long answer)
{
    for (unsigned i = 0; i < step->allowed; i++)
        if (answer == -step->allow[i])
            return 1;
    return 0;
}

uint32_t rs_first_failure(const struct rs_program *program, const struct rs_frame *frame)
{
    uint32_t i = 0;
    while (i < program->count && !rs_step_failed(&program->step[i], frame->answer[i]))
        i++;
    return i;
}

static inline __attribute__((always_inline)) int
patch(const struct rs_program *program, const struct rs_frame *frame, const struct rs_step *step, long *word)
{
    memcpy(word, step->word, sizeof step->word); /* all six: a known number costs less than counting to the arity */
    const struct rs_patch *end = step->patch + step->patches;
    for (const struct rs_patch *p = step->patch; p < end; p++) {
        if (p->source == RS_FROM_PARAMETER)
            word[p->word] = frame->parameter[p->index];
        else if (p->source == RS_FROM_BUFFER)
            word[p->word] = frame->buffer[p->index];
        else if (rs_step_failed(&program->step[p->index], word[p->word] = frame->answer[p->index]))
            return 0;
    }
    return 1;
}

int rs_patch(const struct rs_program *program, const struct rs_frame *frame, const struct rs_step *step, long *word)
{
    return patch(program, frame, step, word);
}

/* The pointer law while a program runs: no call touches more of a buffer than there is. */
int rs_within_bounds(const struct rs_frame *frame, const struct rs_step *step, const long *word, int now)
{
    size_t length[6];
    for (unsigned i = 0; i < step->arity; i++)
        length[i] = step->length[i];
    for (unsigned i = 0; i < step->patches; i++) {
        const struct rs_patch *p = &step->patch[i];
        if (p->source != RS_FROM_STEP)
            length[p->word] = p->source == RS_FROM_BUFFER ? frame->buffer_length[p->index] : frame->parameter_length[p->index];
    }
    for (unsigned i = 0; i < step->arity; i++) {
        const struct rs_arg *arg = &step->row->arg[i];
        if (arg->extent == RS_UNKNOWN || length[i] == RS_UNMEASURED || (!now && (arg->extent == RS_POINTED || arg->extent == RS_OWN_SIZE)))
            continue;
        unsigned pointed = arg->extent == RS_POINTED ? rs_u32(word, length, arg->extent_arg, 0) : 0;
        if (length[i] < rs_extent(step->row, i, word, length, pointed))
            return 0;
    }
    return 1;
}

static inline long enter(const struct rs_step *step, const long *word)
{
    long answer = rs_syscall(step->number, step->arity, word);
    return RS_UNLIKELY(step->row->flags & RS_ANSWER32) ? (int)answer : answer;
}

/* Not inlined: its words would cost every step of a program of constants their place on the stack. */
static __attribute__((noinline)) long
run_patched(const struct rs_program *program, const struct rs_frame *frame, const struct rs_step *step)
{
    long word[6];
    if (!patch(program, frame, step, word))
        return MINUS_ECANCELED;
    if ((step->flags & RS_BOUND) && !rs_within_bounds(frame, step, word, 1))
        return MINUS_EFAULT;
    return enter(step, word);
}

static inline __attribute__((always_inline)) long
run_step(const struct rs_program *program, const struct rs_frame *frame, const struct rs_step *step)
{
    return step->patches ? run_patched(program, frame, step) : enter(step, step->word);
}

uint32_t rs_run(const struct rs_program *program, struct rs_frame *frame, uint32_t start, uint32_t end, int alone)
{
    for (uint32_t i = start; i < end; i++) {
        const struct rs_step *step = &program->step[i];
        if (frame->at)
            *frame->at = i;
        if (RS_UNLIKELY(frame->stopping) && !(step->flags & RS_ALWAYS)) {
            frame->answer[i] = MINUS_ECANCELED;
            continue;
        }
        long answer;
        do
            answer = run_step(program, frame, step);
        while (alone && answer == MINUS_EINTR && (step->flags & RS_RETRY));
        if (RS_UNLIKELY(step->flags & RS_EXPECT) && !rs_failed(answer) && answer != step->expected)
            answer = MINUS_ECHILD;
        frame->answer[i] = answer;
        if (RS_LIKELY(!rs_failed(answer)))
            continue;
        if (answer == MINUS_EINTR && (step->flags & RS_RETRY))
            return i;
        if (program->stop_on_error && rs_step_failed(step, answer))
            frame->stopping = 1;
    }
    return end;
}
