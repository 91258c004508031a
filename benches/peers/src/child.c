/* The program that the benchmarks wait for.
 *
 * `child NS` sleeps until CLOCK_MONOTONIC reads NS, writes the time to standard output, a file,
 * and exits with 3. `child NS BYTES` writes that many bytes instead, which begin with "hi\n".
 *
 * It starts without libc's initialization, because the latency includes the release of its memory.
 * A Rust program, or the benchmarks' own with an option, has more of that: it doubles the median
 * of the baseline. No thread-local storage is set up, so a call that fails, and would set errno,
 * crashes. */
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* At its start, a process finds argc and argv on the stack. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x0, sp\n bl run\n");
#else
#error "needs the entry point for this architecture"
#endif

static long parse(const char *digits) {
    long number = 0;
    while (*digits)
        number = number * 10 + (*digits++ - '0');
    return number;
}

static void write_output(long bytes) {
    static char block[1024 * 1024];
    memcpy(block, "hi\n", 3);
    while (bytes > 0)
        bytes -= syscall(SYS_write, 1, block, bytes < sizeof block ? bytes : sizeof block);
}

void run(void **stack) {
    const char *exit_at = stack[2], *bytes = stack[3];
    long ns = parse(exit_at);
    struct timespec time = {ns / 1000000000, ns % 1000000000};
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, 0);
    if (bytes) {
        write_output(parse(bytes));
    } else {
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
        ns = time.tv_sec * 1000000000 + time.tv_nsec;
        syscall(SYS_pwrite64, 1, &ns, sizeof ns, 0);
    }
    syscall(SYS_exit_group, 3);
}
