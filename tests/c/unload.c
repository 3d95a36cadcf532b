/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * unload LIBRARY LOADS ROUNDS [thread]: loads a libpcsclite LOADS times, uses the
 * first reader in ROUNDS contexts each time, and unloads it. With "thread", each load's
 * contexts are used in a thread of their own that has ended before the library is
 * unloaded, else in the main thread. Prints the threads, the descriptors, the
 * mappings, the resident size in kB and the mappings of the library itself after a
 * tenth of the loads (or, with one load, of the rounds), and at the end.
 */
#include "process.h"

#include <winscard.h>

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those whose line ends with this text; all for an empty one. */
static int mappings(const char *end)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[PATH_MAX + 100];
    int count = 0;
    if (!file)
        exit(3);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        size_t length = strlen(line), wanted = strlen(end);
        count += length >= wanted && strcmp(line + length - wanted, end) == 0;
    }
    fclose(file);
    return count;
}

/* A thread that was joined is listed until the kernel has done with it. */
static int settled_threads(void)
{
    const struct timespec a_moment = { 0, 1000000 };
    int threads = entries("/proc/self/task");
    for (int tries = 10000; threads > 1 && tries > 0; tries--) {
        nanosleep(&a_moment, NULL);
        threads = entries("/proc/self/task");
    }
    return threads;
}

static char path[PATH_MAX];

static void report(void)
{
    int threads = settled_threads(), descriptors = entries("/proc/self/fd") - 1;
    printf("%d %d %d %ld %d\n", threads, descriptors, mappings(""), resident(), mappings(path));
}

#define CHECK(call)                                            \
    do {                                                       \
        LONG code_ = (call);                                   \
        if (code_ != SCARD_S_SUCCESS) {                        \
            printf("%s: %08lX\n", #call, (unsigned long)code_); \
            exit(1);                                           \
        }                                                      \
    } while (0)

static void *function(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        printf("no %s\n", name);
        exit(1);
    }
    return found;
}

#define FUNCTION(name) __typeof__(&name) name##_ = function(library, #name)

static void use(void *library)
{
    static const BYTE hello[4] = {0, 0, 0, 0};
    FUNCTION(SCardEstablishContext);
    FUNCTION(SCardListReaders);
    FUNCTION(SCardConnect);
    FUNCTION(SCardTransmit);
    FUNCTION(SCardDisconnect);
    FUNCTION(SCardReleaseContext);
    const SCARD_IO_REQUEST *t1 = function(library, "g_rgSCardT1Pci");
    SCARDCONTEXT context;
    SCARDHANDLE card;
    char names[300];
    BYTE answer[300];
    DWORD protocol, length = sizeof names, room = sizeof answer;

    CHECK(SCardEstablishContext_(SCARD_SCOPE_SYSTEM, NULL, NULL, &context));
    CHECK(SCardListReaders_(context, NULL, names, &length));
    CHECK(SCardConnect_(context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, &card, &protocol));
    CHECK(SCardTransmit_(card, t1, hello, sizeof hello, NULL, answer, &room));
    CHECK(SCardDisconnect_(card, SCARD_RESET_CARD));
    CHECK(SCardReleaseContext_(context));
}

static long loads, rounds;

static void *all_rounds(void *library)
{
    for (long round = 0; round < rounds; round++) {
        use(library);
        if (loads == 1 && round == rounds / 10)
            report();
    }
    return NULL;
}

int main(int count, char **arguments)
{
    int in_thread = count == 5 && strcmp(arguments[4], "thread") == 0;
    if ((count != 4 && !in_thread) || !realpath(arguments[1], path))
        return 2;
    loads = atol(arguments[2]);
    rounds = atol(arguments[3]);
    for (long load = 0; load < loads; load++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            printf("%s\n", dlerror());
            return 1;
        }
        pthread_t thread;
        if (!in_thread)
            all_rounds(library);
        else if (pthread_create(&thread, NULL, all_rounds, library) != 0 || pthread_join(thread, NULL) != 0)
            return 1;
        if (dlclose(library) != 0)
            return 1;
        if (loads > 1 && load == loads / 10)
            report();
    }
    report();
    return 0;
}
