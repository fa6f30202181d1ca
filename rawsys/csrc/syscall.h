/* The naked system call of x86-64, and nothing else: the word asm stands in this file alone.
 * (Its other end, the way back out of a signal handler, is at the bottom, for the one file that asks for it.)
 *
 *   register  before the call        after it
 *   rax       number                 answer: a value, or -errno in -4095..-1
 *   rdi rsi rdx r10 r8 r9            arguments 1 to 6; unchanged
 *   rcx       -                      the return address (sysret keeps it there)
 *   r11       -                      the flags (sysret keeps them there)
 *
 * The fourth argument travels in r10, not in rcx as in the C calling convention, for that reason.
 * "memory": the kernel reads and writes what the arguments point to, which the compiler cannot see.
 */
#ifndef RAWSYS_SYSCALL_H
#define RAWSYS_SYSCALL_H

#if !defined(__linux__) || !defined(__x86_64__) || defined(__ILP32__)
#error "rawsys needs Linux on x86-64"
#endif

#define RS_CLOBBERS "rcx", "r11", "memory"

static inline long rs_syscall0(long number)
{
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number) : RS_CLOBBERS);
    return answer;
}

static inline long rs_syscall1(long number, long a)
{
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a) : RS_CLOBBERS);
    return answer;
}

static inline long rs_syscall2(long number, long a, long b)
{
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b) : RS_CLOBBERS);
    return answer;
}

static inline long rs_syscall3(long number, long a, long b, long c)
{
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c) : RS_CLOBBERS);
    return answer;
}

static inline long rs_syscall4(long number, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : RS_CLOBBERS);
    return answer;
}

static inline long rs_syscall5(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : RS_CLOBBERS);
    return answer;
}

static inline long rs_syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : RS_CLOBBERS);
    return answer;
}

/* Dispatch on the arity: a batch of small calls that always loads six registers takes 1.17 to 1.34 times as long. */
static inline long rs_syscall(long number, unsigned arity, const long w[6])
{
    switch (arity) {
    case 0: return rs_syscall0(number);
    case 1: return rs_syscall1(number, w[0]);
    case 2: return rs_syscall2(number, w[0], w[1]);
    case 3: return rs_syscall3(number, w[0], w[1], w[2]);
    case 4: return rs_syscall4(number, w[0], w[1], w[2], w[3]);
    case 5: return rs_syscall5(number, w[0], w[1], w[2], w[3], w[4]);
    default: return rs_syscall6(number, w[0], w[1], w[2], w[3], w[4], w[5]);
    }
}

/* A child that begins on a stack of its own cannot return through our frame: it calls `child(word)`, which never
 * returns, and the answer comes back in the parent alone.  The stubs lie in the one file that defines RS_CLONE_STUBS
 * (spawn.c) and are no inline functions, so that the compiler cannot move a frame of the parent's into the child's path.
 *
 *   rs_clone3_call   rdi arguments, rsi their size, rdx child, rcx word
 *   rs_clone_call    rdi flags, rsi top of the stack, rdx where the pidfd goes, rcx child, r8 word
 *
 * The kernel leaves all registers but rax, rcx and r11 as they were, in the child too.  Undefined rip and a zero rbp
 * are the end of the stack for debuggers. */
long rs_clone3_call(const void *arguments, unsigned long size, void (*child)(void *), void *word);
long rs_clone_call(unsigned long flags, void *stack_top, int *pidfd, void (*child)(void *), void *word);

#ifdef RS_CLONE_STUBS
__asm__(".pushsection .text.rs_clone,\"ax\",@progbits\n"
        ".hidden rs_clone3_call\n.globl rs_clone3_call\n.type rs_clone3_call,@function\n"
        "rs_clone3_call:\n\t.cfi_startproc\n"
        "\tmov %rcx, %r8\n\tmov $435, %eax\n\tsyscall\n\ttest %rax, %rax\n\tjz 1f\n\tret\n"
        "1:\t.cfi_undefined rip\n\txor %ebp, %ebp\n\tmov %r8, %rdi\n\tcall *%rdx\n\thlt\n"
        "\t.cfi_endproc\n.size rs_clone3_call, . - rs_clone3_call\n"
        ".hidden rs_clone_call\n.globl rs_clone_call\n.type rs_clone_call,@function\n"
        "rs_clone_call:\n\t.cfi_startproc\n"
        "\tmov %rcx, %r9\n\tsub $16, %rsi\n\tmov %r8, (%rsi)\n\txor %r10d, %r10d\n\txor %r8d, %r8d\n"
        "\tmov $56, %eax\n\tsyscall\n\ttest %rax, %rax\n\tjz 1f\n\tret\n"
        "1:\t.cfi_undefined rip\n\txor %ebp, %ebp\n\tmov (%rsp), %rdi\n\tcall *%r9\n\thlt\n"
        "\t.cfi_endproc\n.size rs_clone_call, . - rs_clone_call\n"
        ".popsection\n");
#endif

/* -4095..-1 is an error, everything else a value (an address may have the top bit set). */
static inline int rs_failed(long answer)
{
    return (unsigned long)answer > -4096UL;
}

#ifdef RS_DEFINE_RESTORER
/* Where a signal handler returns to.  The kernel has no way back of its own on x86-64: without SA_RESTORER and
 * this the handler's `ret` is a fault.
 *
 * Unwinders (gdb, libgcc, perf) know such a frame in two ways, and both hold here.  By its bytes: exactly
 * `mov $15, %rax; syscall`, the nine that libc's own has.  By its CFI: a signal frame ('S') whose registers stand in the
 * ucontext that %rsp points at.  The nop comes first because an unwinder looks a return address up one byte early.
 * A section of its own, so that no compiler's function is laid over the same CFI.
 *
 * rs_restore_reg: DW_CFA_expression (0x10) for DWARF register `r`: DW_OP_breg7 (0x77) `at`, as two bytes of SLEB128.
 */
#define RS_RESTORE_REG(r, at) \
    ".cfi_escape 0x10, " #r ", 3, 0x77, (" #at " & 0x7f) | 0x80, " #at " >> 7\n"

__asm__(".pushsection .text.rawsys_restorer, \"ax\", @progbits\n"
        ".p2align 4\n"
        ".cfi_startproc simple\n"
        ".cfi_signal_frame\n"
        ".cfi_escape 0x0f, 4, 0x77, 0xa0, 0x01, 0x06\n" /* CFA: the interrupted %rsp, at ucontext + 160 */
        RS_RESTORE_REG(8, 40) RS_RESTORE_REG(9, 48) RS_RESTORE_REG(10, 56) RS_RESTORE_REG(11, 64)
        RS_RESTORE_REG(12, 72) RS_RESTORE_REG(13, 80) RS_RESTORE_REG(14, 88) RS_RESTORE_REG(15, 96)
        RS_RESTORE_REG(5, 104) RS_RESTORE_REG(4, 112) RS_RESTORE_REG(6, 120) RS_RESTORE_REG(3, 128)
        RS_RESTORE_REG(1, 136) RS_RESTORE_REG(0, 144) RS_RESTORE_REG(2, 152) RS_RESTORE_REG(7, 160)
        RS_RESTORE_REG(16, 168)
        "nop\n"
        ".globl rs_restore_rt\n"
        ".hidden rs_restore_rt\n"
        ".type rs_restore_rt, @function\n"
        "rs_restore_rt:\n"
        "movq $15, %rax\n"
        "syscall\n"
        ".cfi_endproc\n"
        ".size rs_restore_rt, . - rs_restore_rt\n"
        ".popsection\n");
#endif

#endif
