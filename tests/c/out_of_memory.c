/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * out_of_memory: makes the same calls again and again with no_memory.so, and
 * has each request for memory fail once: alone, and with all that follow.
 *
 * Each run is in a process of its own. Prints the number of requests, and a
 * line for each run that did not end by itself, gave a code that no memory does
 * not explain, or did not work once there was memory again.
 *
 * out_of_memory connections: makes so many connections that one more needs a
 * longer list of them than there is memory for. Prints the codes of that one,
 * of two calls without memory, and of a call and of an exclusive connection
 * once there is memory again.
 */
#define _GNU_SOURCE
#include <winscard.h>
#include <reader.h>

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void (*no_memory_from)(long number, long count);
static long (*no_memory_end)(void);

static const BYTE command[] = {0x80, 0xEC, 0, 0, 4, 1, 2, 3, 4};

/* The code of the first call that fails. */
static LONG scenario(SCARDCONTEXT *context, int *is_established)
{
    SCARDHANDLE card;
    SCARD_READERSTATE states[2];
    DWORD protocol, length = SCARD_AUTOALLOCATE, state, atr = 33, room = 300, size = 264;
    BYTE answer[300], bytes[33];
    char names[2048], name[300];
    LPSTR allocated = NULL;
    LONG code = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, context);
    if (code)
        return code;
    *is_established = 1;
    code = SCardListReaders(*context, NULL, (LPSTR)&allocated, &length);
    if (code)
        return code;
    SCardFreeMemory(*context, allocated);
    length = sizeof names;
    code = SCardListReaders(*context, NULL, names, &length);
    if (code)
        return code;
    memset(states, 0, sizeof states);
    states[0].szReader = names;
    states[1].szReader = "\\\\?PnP?\\Notification";
    code = SCardGetStatusChange(*context, 0, states, 2);
    if (code)
        return code;
    states[0].dwCurrentState = states[0].dwEventState;
    states[1].dwCurrentState = states[1].dwEventState;
    code = SCardGetStatusChange(*context, 10, states, 2);
    if (code != SCARD_E_TIMEOUT)
        return code ? code : SCARD_F_INTERNAL_ERROR;
    code = SCardConnect(*context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol);
    if (code)
        return code;
    length = sizeof name;
    code = SCardBeginTransaction(card);
    if (!code)
        code = SCardStatus(card, name, &length, &state, &protocol, bytes, &atr);
    if (!code)
        code = SCardTransmit(card, protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1, command,
                             sizeof command, NULL, answer, &room);
    if (!code)
        code = SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, answer, &size);
    if (!code)
        code = SCardEndTransaction(card, SCARD_LEAVE_CARD);
    if (!code)
        code = SCardReconnect(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &protocol);
    if (!code)
        code = SCardDisconnect(card, SCARD_LEAVE_CARD);
    return code;
}

struct result {
    long requests;
    LONG failing, later;
};

static struct result *result;

static void once(long number, long count)
{
    SCARDCONTEXT context;
    int is_established = 0, is_again = 0;
    no_memory_from(number, count);
    result->failing = scenario(&context, &is_established);
    if (is_established)
        SCardReleaseContext(context);
    result->requests = no_memory_end();
    result->later = scenario(&context, &is_again);
    _exit(0);
}

/* Codes of calls that had no memory, or lost their daemon for it. */
static int is_explained(LONG code)
{
    return code == SCARD_S_SUCCESS || code == SCARD_E_NO_MEMORY || code == SCARD_E_NO_SERVICE ||
           code == SCARD_E_READER_UNAVAILABLE;
}

static long run(long number, long count)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(300);
        once(number, count);
    }
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("request %ld, %s: killed by signal %d\n", number, count == 1 ? "alone" : "and all that follow",
               WTERMSIG(status));
    else if (!is_explained(result->failing) || result->later)
        printf("request %ld, %s: %08lX, then %08lX\n", number, count == 1 ? "alone" : "and all that follow",
               (unsigned long)result->failing & 0xFFFFFFFF, (unsigned long)result->later & 0xFFFFFFFF);
    return result->requests;
}

/* Without memory for one more handle a connection is ended, and calls are refused until there is some. */
static int connections(void)
{
    enum { FULL = 128 };
    static SCARDHANDLE cards[FULL], last;
    SCARDCONTEXT context;
    DWORD protocol, length;
    LONG connected, first, second, later, alone;
    char names[2048];
    int i;
    length = sizeof names;
    if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) ||
        SCardListReaders(context, NULL, names, &length))
        return 3;
    for (i = 0; i < FULL; i++)
        if (SCardConnect(context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &cards[i], &protocol))
            return 4;
    no_memory_from(1, LONG_MAX / 2);
    connected = SCardConnect(context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &last, &protocol);
    length = sizeof names;
    first = SCardListReaders(context, NULL, names, &length);
    length = sizeof names;
    second = SCardListReaders(context, NULL, names, &length);
    no_memory_end();
    length = sizeof names;
    later = SCardListReaders(context, NULL, names, &length);
    for (i = 0; i < FULL; i++)
        if (SCardDisconnect(cards[i], SCARD_LEAVE_CARD))
            return 5;
    alone = SCardConnect(context, names, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, &last, &protocol);
    printf("%08lX, %08lX %08lX, then %08lX %08lX\n", (unsigned long)connected & 0xFFFFFFFF,
           (unsigned long)first & 0xFFFFFFFF, (unsigned long)second & 0xFFFFFFFF, (unsigned long)later & 0xFFFFFFFF,
           (unsigned long)alone & 0xFFFFFFFF);
    return 0;
}

int main(int count, char **arguments)
{
    long requests, number, refused = 0;
    (void)arguments;
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *(void **)&no_memory_from = dlsym(RTLD_DEFAULT, "no_memory_from");
    *(void **)&no_memory_end = dlsym(RTLD_DEFAULT, "no_memory_end");
    if (result == MAP_FAILED || !no_memory_from || !no_memory_end)
        return 2;
    if (count > 1)
        return connections();
    /* Threads of the library make requests of their own: some more than once. */
    requests = run(LONG_MAX / 2, 1) + 8;
    for (number = 1; number <= requests; number++) {
        run(number, 1);
        refused += result->failing == SCARD_E_NO_MEMORY;
        run(number, LONG_MAX / 2);
        refused += result->failing == SCARD_E_NO_MEMORY;
    }
    printf("%ld requests, %ld refusals\n", requests - 8, refused);
    return 0;
}
