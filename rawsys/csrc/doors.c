/* The doors: rawsys.raw.NAME, rawsys.syscalls.NAME, rawsys.syscall and the raw_ functions.
 *
 * doors.inc is written from syscalls.tsv: the rows, one raw and one checked built-in for each, and their
 * docstrings.  HOT rows are compiled with the row as a constant, so that the conversions of their
 * arguments are decided by the compiler; the others share one loop over the row.
 */
#include "doors.h"

#include "call.h"

#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_getpid 39
#define SYS_fork 57
#define SYS_kill 62
#define SYS_getppid 110
#define SYS_gettid 186
#define SYS_exit_group 231

static inline __attribute__((always_inline)) PyObject *
raw_prepared(const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    struct rs_call call;
    if (rs_prepare(&call, row, args, count) < 0)
        return NULL;
    long answer = rs_issue(&call, row);
    rs_finish(&call);
    return rs_answer(answer);
}

static __attribute__((noinline)) PyObject *raw_door(const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    return raw_prepared(row, args, count);
}

static inline __attribute__((always_inline)) int has_memory(const struct rs_row *row)
{
    int memory = 0;
#pragma GCC unroll 6
    for (unsigned i = 0; i < row->arity; i++)
        memory |= row->arg[i].kind != RS_NUMBER && row->arg[i].kind != RS_FD;
    return memory;
}

/* Numbers and descriptors that are plain ints stay in registers: no call is prepared, nothing has to be pinned or
 * counted.  Whatever is not as plain as that, a mistake too, takes the way through raw_door. */
static inline __attribute__((always_inline)) PyObject *
raw_hot(const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    long word[6];
    if (has_memory(row))
        return raw_prepared(row, args, count);
    if (RS_UNLIKELY(count != row->arity || rs_left)) /* what a detached thread left goes with the call */
        return raw_door(row, args, count);
#pragma GCC unroll 6
    for (unsigned i = 0; i < row->arity; i++)
        if (!rs_plain_word(row, i, args[i], &word[i]))
            return raw_door(row, args, count);
    return rs_answer(rs_issue_words(row, word));
}

static inline __attribute__((always_inline)) PyObject *
checked_hot(const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    struct rs_call call;
    if (rs_prepare(&call, row, args, count) < 0)
        return NULL;
    long answer = rs_issue(&call, row);
    rs_finish(&call);
    if (RS_UNLIKELY(rs_failed(answer)))
        return rs_os_error(row, args, count, answer);
    if (row->returns == RS_NONE)
        Py_RETURN_NONE;
    if (row->returns == RS_NEWFD && (!row->fd_if || row->fd_if(call.word)))
        return rs_fd_fresh((int)answer);
    return rs_answer(answer);
}

static PyObject *checked_door(const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    return checked_hot(row, args, count);
}

#include "doors.inc"

/* ---- any number ---- */

/* A call that the table does not know: numbers, addresses, writable memory of unknown direction. */
static const struct rs_row unknown_row = {
    .name = "syscall", .signature = "syscall(number, a, b, c, d, e, f)", .arity = 6, .returns = RS_INT, .flags = RS_BLOCKS,
    .arg = {{.name = "a", .kind = RS_ANY}, {.name = "b", .kind = RS_ANY}, {.name = "c", .kind = RS_ANY},
            {.name = "d", .kind = RS_ANY}, {.name = "e", .kind = RS_ANY}, {.name = "f", .kind = RS_ANY}},
};

static PyObject *unknown(long number, PyObject *const *args, Py_ssize_t count)
{
    struct rs_row row = unknown_row;
    if (count > 6)
        return PyErr_Format(PyExc_TypeError, "a system call takes at most 6 arguments, got %zd", count);
    row.number = 0;
    row.arity = (uint8_t)count;
    struct rs_call call;
    if (rs_prepare(&call, &row, args, count) < 0)
        return NULL;
    PyThreadState *state = PyEval_SaveThread();
    long answer = rs_syscall(number, (unsigned)count, call.word);
    PyEval_RestoreThread(state);
    rs_finish(&call);
    return rs_answer(answer);
}

static const struct rs_row number_row = {
    .name = "syscall", .signature = "syscall(number, *args)", .arity = 1,
    .arg = {{.name = "number", .kind = RS_NUMBER, .bits = 64, .is_signed = 1}},
};

static PyObject *any_syscall(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    struct rs_call call;
    if (count < 1)
        return PyErr_Format(PyExc_TypeError, "syscall(number, *args) takes a number and up to 6 arguments");
    if (rs_prepare(&call, &number_row, args, 1) < 0)
        return NULL;
    long number = call.word[0];
    if (number != (int)number || number < 0) /* the kernel looks at 32 bits only: 2**32 would be read(2) */
        return PyErr_Format(PyExc_OverflowError, "syscall(): number %S is outside 0..2**31-1", args[0]);
    if (number & 0x40000000) { /* the x32 alias of a refused call would not be recognised */
        rs_complain("RefusedCallError", "syscall(): number %S belongs to the x32 ABI; use the number without bit 30", args[0]);
        return NULL;
    }
    const struct rs_row *row = rs_row(number);
    return row ? raw_door(row, args + 1, count - 1) : unknown(number, args + 1, count - 1);
}

/* ---- the raw_ functions: each one the naked instruction ---- */

static PyObject *top_getpid(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return raw_hot(&row_getpid, a, n); }
static PyObject *top_getppid(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return raw_hot(&row_getppid, a, n); }
static PyObject *top_gettid(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return raw_hot(&row_gettid, a, n); }
static PyObject *top_close(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return raw_hot(&row_close, a, n); }
static PyObject *top_kill(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return raw_hot(&row_kill, a, n); }
static PyObject *top_exit(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return raw_hot(&row_exit_group, a, n); }

/* read and write whose count is the length of the buffer. */
static inline __attribute__((always_inline)) PyObject *whole(const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    struct rs_call call;
    call.row = row;
    call.pins = 0;
    call.copies = 0;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "raw_%s(fd, %s) takes 2 arguments, got %zd", row->name,
                            row->number == SYS_read ? "buffer" : "data", count);
    if (rs_convert_fast(&call, row, 0, args[0]) < 0)
        return NULL;
    if (rs_convert_fast(&call, row, 1, args[1]) < 0) {
        rs_finish(&call);
        return NULL;
    }
    if (call.length[1] == RS_UNMEASURED) {
        rs_wrong_type(row, 1, "a buffer, whose length is the count", args[1]);
        rs_finish(&call);
        return NULL;
    }
    call.word[2] = (long)call.length[1];
    long answer = rs_issue(&call, row);
    rs_finish(&call);
    return rs_answer(answer);
}

static PyObject *top_read(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return whole(&row_read, a, n); }
static PyObject *top_write(PyObject *m, PyObject *const *a, Py_ssize_t n) { (void)m; return whole(&row_write, a, n); }

static PyObject *top_fork(PyObject *m, PyObject *const *a, Py_ssize_t n)
{
    (void)m;
    if (n > 1)
        return PyErr_Format(PyExc_TypeError, "raw_fork(program=None) takes at most 1 argument, got %zd", n);
    return n == 1 && a[0] != Py_None ? rs_fork_program(a[0]) : raw_hot(&row_fork, a, 0);
}

static PyMethodDef top_functions[] = {
    RS_METHOD("syscall", any_syscall,
              "syscall($module, number, /, *args)\n--\n\nThe kernel's answer to any system call: a value, or -errno.\n\n"
              "`number` is an int from 0 to 2**31-1.  Where the table knows it, all that its row says is checked, as in\n"
              "rawsys.raw.NAME; any other number takes up to six ints, writable buffers or None.\n\n"
              "Raises OverflowError for a number the kernel would cut, TypeError for a wrong count or kind,\n"
              "RefusedCallError for a call that cannot return here.\n\n"
              "Safety: an int is passed as an address unchecked.  `syscalls(2)`"),
    RS_METHOD("raw_getpid", top_getpid, "raw_getpid($module, /)\n--\n\n`getpid(2)`: this process's number, by the naked instruction."),
    RS_METHOD("raw_getppid", top_getppid, "raw_getppid($module, /)\n--\n\n`getppid(2)`: the parent's number, 0 when it is in another PID namespace."),
    RS_METHOD("raw_gettid", top_gettid, "raw_gettid($module, /)\n--\n\n`gettid(2)`: this thread's number in the kernel."),
    RS_METHOD("raw_write", top_write,
              "raw_write($module, fd, data, /)\n--\n\n`write(2)`: write a buffer; its length is the count.\n\n"
              "Gives the number of bytes taken (it may be short), or -errno.  EINTR is reported, not retried."),
    RS_METHOD("raw_read", top_read,
              "raw_read($module, fd, buffer, /)\n--\n\n`read(2)`: read into a writable buffer; its length is the count.\n\n"
              "Gives the number of bytes that came, 0 at the end of the file, or -errno."),
    RS_METHOD("raw_close", top_close,
              "raw_close($module, fd, /)\n--\n\n`close(2)`: 0 or -errno; an owner that is passed is released.\n\n"
              "Safety: closing a number that somebody else owns makes that owner's number a stranger's."),
    RS_METHOD("raw_kill", top_kill,
              "raw_kill($module, pid, signal, /)\n--\n\n`kill(2)`: send a signal; 0 or -errno.  0 and negative pids mean groups.\n\n"
              "Safety: a number whose process is gone may be somebody else's by now."),
    RS_METHOD("raw_exit", top_exit,
              "raw_exit($module, status, /)\n--\n\n`exit_group(2)`: end the process at once with `status & 0xff`.\n\n"
              "No atexit function, no flush, no finally block runs."),
    RS_METHOD("raw_fork", top_fork,
              "raw_fork($module, program=None, /)\n--\n\n`fork(2)`: the naked instruction; 0 in the child, its pid or -errno in the parent.\n\n"
              "With a Program the child runs its steps in C and exits with 0, or 127 when a step failed: sound always.\n\n"
              "Safety: without a Program sound only while no other thread lives.  The child may make raw calls and then exec or raw_exit:\n"
              "libc's cached thread id is stale there, locks that other threads held stay held, and none of Python's\n"
              "fork hooks have run."),
    {NULL, NULL, 0, NULL},
};

int rs_install_raw(PyObject *module) { return PyModule_AddFunctions(module, raw_functions); }
int rs_install_checked(PyObject *module) { return PyModule_AddFunctions(module, checked_functions); }
int rs_install_top(PyObject *module) { return PyModule_AddFunctions(module, top_functions); }
