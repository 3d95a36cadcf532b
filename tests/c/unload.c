/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * unload LIBRARY LOADS ROUNDS: loads a libpcsclite so many times, uses the first
 * reader in so many contexts each time, and unloads it. Prints the threads, the
 * descriptors, the mappings and the resident size in kB after a tenth of the loads
 * (or, with one load, of the rounds), and at the end.
 */
#include <winscard.h>

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static int entries(const char *path)
{
    DIR *folder = opendir(path);
    int count = -2;
    if (!folder)
        exit(3);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static int mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    int count = 0, c;
    if (!file)
        exit(3);
    while ((c = getc(file)) != EOF)
        count += c == '\n';
    fclose(file);
    return count;
}

static long resident(void)
{
    long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2)
        exit(3);
    fclose(file);
    return pages * 4;
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

static void report(void)
{
    int threads = settled_threads(), descriptors = entries("/proc/self/fd") - 1;
    printf("%d %d %d %ld\n", threads, descriptors, mappings(), resident());
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

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    long loads = atol(arguments[2]), rounds = atol(arguments[3]);
    for (long load = 0; load < loads; load++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            printf("%s\n", dlerror());
            return 1;
        }
        for (long round = 0; round < rounds; round++) {
            use(library);
            if (loads == 1 && round == rounds / 10)
                report();
        }
        if (dlclose(library) != 0)
            return 1;
        if (loads > 1 && load == loads / 10)
            report();
    }
    report();
    return 0;
}
