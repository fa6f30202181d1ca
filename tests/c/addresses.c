/* Prints where its own things lie, a name and an address a line, and waits until its input ends. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int initialised = 42;
char zeroes[1 << 20];
const char constant[8192] = "x";

int main(void)
{
    int local = 0;
    void *small = malloc(64), *large = malloc(1 << 20);
    printf("stack %p\nheap %p\nanon %p\ndata %p\nbss %p\ntext %p\nrodata %p\n.\n", (void *)&local, small, large, (void *)&initialised,
           (void *)&zeroes[1 << 19], (void *)main, (void *)constant);
    fflush(stdout);
    while (read(0, &local, 1) > 0)
        ;
    return 0;
}
