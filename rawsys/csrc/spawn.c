/* The parent's side of a spawn: the frames are laid out here, the child runs on a stack of its own, and the calling
 * thread sleeps in clone until the child has called exec or is gone.  Its other threads go on: the GIL is released.
 */
#define RS_CLONE_STUBS
#include "syscall.h"

#include "child.h"
#include "run.h"
#include "spawn.h"

#define SYS_mmap 9
#define SYS_munmap 11
#define SYS_rt_sigprocmask 14
#define SIG_SETMASK 2
#define SIGCHLD 17
#define CLONE_VM 0x100UL
#define CLONE_PIDFD 0x1000UL
#define CLONE_VFORK 0x4000UL
#define CLONE_NEWTIME 0x80UL
#define CLONE_CLEAR_SIGHAND 0x100000000UL
#define CLONE_INTO_CGROUP 0x200000000UL
#define NAMESPACES 0x7e020080UL /* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME */
#define STACK 16384             /* rs_run needs some hundred bytes of it */
#define PAGE 4096

struct arguments { /* struct clone_args of Linux 5.7 */
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
_Static_assert(sizeof(struct arguments) == 88, "CLONE_ARGS_SIZE_VER2");

struct spawn {
    struct rs_program_object *part[RS_PARTS];
    struct rs_bound bound[RS_PARTS];
    struct rs_child child;
    struct rs_report report;
    uint64_t flags;
    int cgroup, pidfd;
};

/* ---- clone ---- */

/* A kernel or filter without clone3: what only clone3 can give is -ENOSYS. */
static long old_clone(struct spawn *s, const struct arguments *a)
{
    if (s->flags & CLONE_NEWTIME || a->flags & CLONE_INTO_CGROUP)
        return -38;
    s->child.reset_handlers = 1;
    unsigned long flags = (a->flags & 0xffffff00UL) | SIGCHLD;
    return rs_clone_call(flags, (char *)a->stack + a->stack_size, &s->pidfd, rs_child_main, &s->child);
}

static long clone_once(struct spawn *s, const struct arguments *a)
{
    long pid = rs_clone3_call(a, sizeof *a, rs_child_main, &s->child);
    int plain = !(a->flags & (NAMESPACES | CLONE_INTO_CGROUP));
    return pid == -38 || (pid == -1 && plain) ? old_clone(s, a) : pid;
}

/* A process that has unshared its time namespace cannot share its memory with a child (EINVAL on some kernels): the
 * child gets a copy, and tells through a shared page. */
static long clone_copied(struct spawn *s, struct arguments *a)
{
    long page = rs_syscall6(SYS_mmap, 0, PAGE, 3, 0x21, -1, 0); /* PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS */
    if (rs_failed(page))
        return page;
    a->flags &= ~CLONE_VM;
    s->child.report = (struct rs_report *)page;
    long pid = clone_once(s, a);
    s->report = *s->child.report;
    rs_syscall2(SYS_munmap, page, PAGE);
    return pid;
}

/* All signals are blocked, libc's 32 and 33 too: a handler must not run in the child, whose memory is ours.  The stack
 * lies in this frame, which lives until the child has left it: only a fatal signal ends our sleep earlier, and then
 * the memory goes with the last process that has it. */
static __attribute__((noinline)) long start(struct spawn *s)
{
    _Alignas(16) char stack[STACK];
    uint64_t all = ~0UL, before;
    struct arguments a = {
        .flags = s->flags | CLONE_PIDFD | CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND | (s->cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)&s->pidfd, .exit_signal = SIGCHLD, .stack = (uint64_t)stack, .stack_size = sizeof stack,
        .cgroup = s->cgroup >= 0 ? (uint64_t)s->cgroup : 0,
    };
    rs_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&before, 8);
    long pid = clone_once(s, &a);
    if (pid == -22 && !(s->flags & CLONE_NEWTIME))
        pid = clone_copied(s, &a);
    rs_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, 8);
    return pid;
}

/* ---- parts ---- */

static void end(struct spawn *s)
{
    while (s->child.parts) {
        unsigned i = --s->child.parts;
        rs_run_end(s->part[i], &s->bound[i]);
        PyMem_Free(s->bound[i].block);
    }
}

/* `values` are for the parameters of the first part, which places the descriptors of this spawn. */
static int begin(struct spawn *s, PyObject *parts, PyObject *const *values, Py_ssize_t given)
{
    Py_ssize_t count = PyTuple_Check(parts) ? PyTuple_Size(parts) : 0;
    if (count < 1 || count > RS_PARTS)
        return PyErr_Format(PyExc_TypeError, "one to %d Programs are needed, in a tuple", RS_PARTS), -1;
    s->child = (struct rs_child){.report = &s->report};
    s->report = (struct rs_report){0};
    for (; s->child.parts < count; given = 0) {
        unsigned i = s->child.parts;
        PyObject *object = PyTuple_GetItem(parts, i);
        struct rs_program_object *program = s->part[i] = (struct rs_program_object *)object;
        if (!PyObject_TypeCheck(object, rs_program_type) || (program->parameters && !given))
            PyErr_Format(PyExc_TypeError, "a Program without parameters is needed, not %R", object);
        else if (program->parameters != given)
            PyErr_Format(PyExc_TypeError, "%R has %u parameters, and there are %zd values", object, program->parameters, given);
        else if (rs_run_begin(program, given ? values : NULL, &s->bound[i]) == 0) {
            s->child.program[i] = program->program;
            s->child.frame[i] = &s->bound[i].frame;
            s->child.parts++;
            continue;
        }
        end(s);
        return -1;
    }
    return 0;
}

/* ---- built-ins ---- */

/* spawn(owner, parts, flags, cgroup, *values) -> (pid or -errno, owner of the pidfd or None, part, step, errno) */
static PyObject *spawn(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    struct spawn s;
    if (count < 4 || !PyType_Check(args[0]) || !PyType_IsSubtype((PyTypeObject *)args[0], rs_handle_type))
        return PyErr_Format(PyExc_TypeError, "spawn(owner, parts, flags, cgroup, /, *values)");
    s.pidfd = -1;
    s.flags = PyLong_AsUnsignedLong(args[2]);
    s.cgroup = (int)PyLong_AsLong(args[3]);
    if (PyErr_Occurred() || begin(&s, args[1], args + 4, count - 4) < 0)
        return NULL;
    PyThreadState *state = PyEval_SaveThread();
    long pid = start(&s);
    PyEval_RestoreThread(state);
    end(&s);
    PyObject *owner = NULL;
    if (pid > 0 && !(owner = rs_handle_fresh((PyTypeObject *)args[0], s.pidfd)))
        return NULL;
    if (!owner)
        Py_INCREF(owner = Py_None);
    return Py_BuildValue("lNIIi", pid, owner, (unsigned)s.report.part, (unsigned)s.report.step, (int)s.report.error);
}

/* become(parts, *values) -> (part, step, errno); comes back only on failure */
static PyObject *become(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    struct spawn s;
    if (count < 1)
        return PyErr_Format(PyExc_TypeError, "become(parts, /, *values)");
    if (begin(&s, args[0], args + 1, count - 1) < 0)
        return NULL;
    PyThreadState *state = PyEval_SaveThread();
    rs_child_run(&s.child);
    PyEval_RestoreThread(state);
    end(&s);
    return Py_BuildValue("IIi", (unsigned)s.report.part, (unsigned)s.report.step, (int)s.report.error);
}

static PyMethodDef functions[] = {
    RS_METHOD("spawn", spawn,
              "spawn($module, owner, parts, flags, cgroup, /, *values)\n--\n\n`clone3(2)`: a child that runs the Programs, on a stack of its own.\n\n"
              "`values` are those of the first Program's parameters, in order.\n\n"
              "Gives (pid or -errno, owner(pidfd) or None, part, step, errno of the step that failed)."),
    RS_METHOD("become", become,
              "become($module, parts, /, *values)\n--\n\nRun the Programs, which end in exec, in this process.\n\n"
              "Gives (part, step, errno) of the step that failed."),
    {NULL, NULL, 0, NULL},
};

int rs_spawn_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
