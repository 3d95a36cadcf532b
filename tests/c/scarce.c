/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * scarce: waits in a process that may open no further descriptor after it has
 * established its context. Prints the code of a wait that times out, and of
 * one that another thread cancels.
 */
#define _GNU_SOURCE
#include <winscard.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static SCARDCONTEXT context;

static LONG wait_for(DWORD milliseconds)
{
    SCARD_READERSTATE state;
    memset(&state, 0, sizeof state);
    state.szReader = "\\\\?PnP?\\Notification";
    return SCardGetStatusChange(context, milliseconds, &state, 1);
}

static void *wait_long(void *code)
{
    *(LONG *)code = wait_for(INFINITE);
    return NULL;
}

int main(void)
{
    struct rlimit limit;
    pthread_t thread;
    LONG waited, cancelled;

    alarm(300);
    if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context))
        return 2;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = dup(0);
    close((int)limit.rlim_cur);
    if (setrlimit(RLIMIT_NOFILE, &limit) || dup(0) >= 0)
        return 3;
    waited = wait_for(120);
    if (pthread_create(&thread, NULL, wait_long, &cancelled))
        return 4;
    /* A cancel before the wait would be lost, as in PC/SC Lite. */
    do
        SCardCancel(context);
    while (pthread_tryjoin_np(thread, NULL) && !usleep(1000));
    printf("%08lX %08lX\n", (unsigned long)waited & 0xFFFFFFFF, (unsigned long)cancelled & 0xFFFFFFFF);
    return SCardReleaseContext(context) != 0;
}
