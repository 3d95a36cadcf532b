/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * fork PROCESSES CHILDREN: a process with threads in their first calls forks
 * children, which make their own first calls.
 *
 * Starts so many processes one after another. In each, two threads make their
 * first calls while the main thread forks so many children. Each child
 * establishes a context, lists the readers and releases the context. A child
 * that has not ended after 30 s is killed by its alarm.
 *
 * Prints how many children ended, how many failed and how many hung.
 *
 * fork: a child uses the context of its parent after it has established one of
 * its own. Prints the codes of the calls, and whether the two are one handle.
 */
#include <winscard.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 2 };

struct counts {
    long ended, failed, hung;
};

static atomic_int is_over;
static pthread_barrier_t start;

static int use(void)
{
    SCARDCONTEXT context;
    DWORD length = 0;
    LONG code = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
    if (code)
        return 1;
    code = SCardListReaders(context, NULL, NULL, &length);
    if (code && code != SCARD_E_NO_READERS_AVAILABLE)
        return 2;
    return SCardReleaseContext(context) ? 3 : 0;
}

static void *work(void *nothing)
{
    pthread_barrier_wait(&start);
    do
        use();
    while (!is_over);
    return nothing;
}

static void count(struct counts *counts, int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        counts->hung++;
    else if (status != 0)
        counts->failed++;
    else
        counts->ended++;
}

/* A process whose library has not been used yet. */
static void parent(struct counts *counts, int children)
{
    pthread_t threads[THREADS];
    pid_t pids[64];
    int i, status;

    pthread_barrier_init(&start, NULL, THREADS + 1);
    for (i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, NULL))
            _exit(4);
    pthread_barrier_wait(&start);
    for (i = 0; i < children; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            _exit(5);
        if (pids[i] == 0) {
            alarm(120);
            _exit(use());
        }
    }
    for (i = 0; i < children; i++) {
        waitpid(pids[i], &status, 0);
        count(counts, status);
    }
    is_over = 1;
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}

static void print(const char *name, LONG code)
{
    printf("%s %08lX\n", name, (unsigned long)code & 0xFFFFFFFF);
}

static int inherit(void)
{
    SCARDCONTEXT inherited, own;
    int status = -1;
    pid_t pid;

    print("establish", SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &inherited));
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        print("establish", SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &own));
        printf("%s handle\n", own == inherited ? "the same" : "another");
        print("the parent's is valid", SCardIsValidContext(inherited));
        print("cancel the parent's", SCardCancel(inherited));
        print("release the parent's", SCardReleaseContext(inherited));
        print("the own one is valid", SCardIsValidContext(own));
        return 0;
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return 3;
    print("it is valid", SCardIsValidContext(inherited));
    print("release", SCardReleaseContext(inherited));
    return 0;
}

int main(int number, char **arguments)
{
    int processes = number == 3 ? atoi(arguments[1]) : 0, i, status;
    int children = number == 3 ? atoi(arguments[2]) : 0;
    struct counts *counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (number == 1)
        return inherit();
    if (processes < 1 || children < 1 || children > 64 || counts == MAP_FAILED)
        return 2;
    for (i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid == 0)
            parent(counts, children);
        if (waitpid(pid, &status, 0) != pid || status != 0)
            return 3;
    }
    printf("%ld ended, %ld failed, %ld hung\n", counts->ended, counts->failed, counts->hung);
    return 0;
}
