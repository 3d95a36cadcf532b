/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One line on stdout for each call: the call as the program has it, its return
 * code, and all that it wrote. Never a pointer, a handle or a time.
 */
#ifndef REPORT_H
#define REPORT_H

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <winscard.h>
#include <reader.h>

/* What an output holds that no call has written to. */
#define UNTOUCHED 0x5A5A5A5AUL
#define UNTOUCHED_BYTE 0xA5

static int line_is_open;

static void end_line(void)
{
    if (line_is_open)
        putchar('\n');
    line_is_open = 0;
    fflush(stdout);
}

/* Before the call, so that a crash in it has a name. */
static void announce(const char *call)
{
    end_line();
    fputs(call, stdout);
    line_is_open = 1;
    fflush(stdout);
}

static const char *code_name(LONG code)
{
    static const struct {
        LONG code;
        const char *name;
    } names[] = {
#define NAME(code) { code, #code }
        NAME(SCARD_S_SUCCESS), NAME(SCARD_F_INTERNAL_ERROR), NAME(SCARD_E_CANCELLED),
        NAME(SCARD_E_INVALID_HANDLE), NAME(SCARD_E_INVALID_PARAMETER), NAME(SCARD_E_INVALID_TARGET),
        NAME(SCARD_E_NO_MEMORY), NAME(SCARD_F_WAITED_TOO_LONG), NAME(SCARD_E_INSUFFICIENT_BUFFER),
        NAME(SCARD_E_UNKNOWN_READER), NAME(SCARD_E_TIMEOUT), NAME(SCARD_E_SHARING_VIOLATION),
        NAME(SCARD_E_NO_SMARTCARD), NAME(SCARD_E_UNKNOWN_CARD), NAME(SCARD_E_CANT_DISPOSE),
        NAME(SCARD_E_PROTO_MISMATCH), NAME(SCARD_E_NOT_READY), NAME(SCARD_E_INVALID_VALUE),
        NAME(SCARD_F_COMM_ERROR), NAME(SCARD_F_UNKNOWN_ERROR), NAME(SCARD_E_NOT_TRANSACTED),
        NAME(SCARD_E_READER_UNAVAILABLE), NAME(SCARD_E_PCI_TOO_SMALL), NAME(SCARD_E_NO_SERVICE),
        NAME(SCARD_E_SERVICE_STOPPED), NAME(SCARD_E_UNSUPPORTED_FEATURE),
        NAME(SCARD_E_NO_READERS_AVAILABLE), NAME(SCARD_W_UNSUPPORTED_CARD),
        NAME(SCARD_W_UNRESPONSIVE_CARD), NAME(SCARD_W_UNPOWERED_CARD), NAME(SCARD_W_RESET_CARD),
        NAME(SCARD_W_REMOVED_CARD), NAME(SCARD_W_SECURITY_VIOLATION),
#undef NAME
    };
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            return names[i].name;
    return NULL;
}

static LONG answered(LONG code)
{
    const char *name = code_name(code);
    if (name)
        printf(" = %s", name);
    else
        printf(" = 0x%lX", (unsigned long)code);
    fflush(stdout);
    return code;
}

#define CALL(call) (announce(#call), answered(call))

static void number(const char *name, DWORD value)
{
    if (value == UNTOUCHED)
        printf(" %s untouched", name);
    else
        printf(" %s=0x%lX", name, (unsigned long)value);
}
#define NUMBER(variable) number(#variable, variable)

static void handle(const char *name, LONG value)
{
    if (value == (LONG)UNTOUCHED)
        printf(" %s untouched", name);
    else
        printf(" %s %s", name, value ? "set" : "0");
}
#define HANDLE(variable) handle(#variable, variable)

static void pointer(const char *name, const void *value, const void *before)
{
    printf(" %s %s", name, value == before ? "untouched" : value ? "set" : "NULL");
}

/* The bytes of a buffer up to the last one that was written to; of many, their hash (FNV-1a). */
static void bytes(const char *name, const void *buffer, size_t size)
{
    const unsigned char *byte = buffer;
    uint64_t hash = 0xCBF29CE484222325;
    size_t i;
    while (size > 0 && byte[size - 1] == UNTOUCHED_BYTE)
        size--;
    if (size == 0) {
        printf(" %s untouched", name);
        return;
    }
    printf(" %s[%zu]=", name, size);
    for (i = 0; i < size; i++) {
        hash = (hash ^ byte[i]) * 0x100000001B3;
        if (size > 64)
            continue;
        if (byte[i] > ' ' && byte[i] < 0x7F && byte[i] != '\\')
            putchar(byte[i]);
        else
            printf("\\%02X", byte[i]);
    }
    if (size > 64)
        printf("#%016llX", (unsigned long long)hash);
}
#define BYTES(array) bytes(#array, array, sizeof array)

/* A line of its own. */
static void say(const char *text)
{
    announce(text);
    end_line();
}

/* Asks the test to do something, and waits until it is done. */
static void ask(const char *order)
{
    char done[16];
    end_line();
    printf("@%s\n", order);
    fflush(stdout);
    if (!fgets(done, sizeof done, stdin))
        exit(3);
}

/*
 * The time that a card keeps its power while nothing uses it: 5 s after it was
 * put in, pcscd takes it away. A program that runs late prints a wish, and is
 * run again.
 */
static struct timespec unused_since;

static void ask_for_unused(const char *order)
{
    clock_gettime(CLOCK_MONOTONIC, &unused_since);
    ask(order);
}

/* The card is in use from here on. */
static void used_in_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - unused_since.tv_sec >= 4)
        ask("late");
}

/* Runs a body that may kill or hang its process in a process of its own. */
static void in_child(void (*body)(void))
{
    int status = 0;
    pid_t child;
    end_line();
    child = fork();
    if (child < 0)
        exit(4);
    if (child == 0) {
        struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(120);
        body();
        end_line();
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s killed by %s\n", "", WTERMSIG(status) == SIGALRM ? "its alarm" : strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        printf("%s exit status %d\n", "", WEXITSTATUS(status));
    fflush(stdout);
}

/* A call in a thread of its own. */
struct background {
    pthread_t thread;
    LONG (*body)(void *);
    void *argument;
    LONG code;
    atomic_int is_done;
};

static void *background_main(void *argument)
{
    struct background *background = argument;
    background->code = background->body(background->argument);
    background->is_done = 1;
    return NULL;
}

static void start(struct background *background, LONG (*body)(void *), void *argument)
{
    background->body = body;
    background->argument = argument;
    background->is_done = 0;
    if (pthread_create(&background->thread, NULL, background_main, background) != 0)
        exit(5);
}

static int is_done_within(struct background *background, int ms)
{
    struct timespec one_ms = { 0, 1000000 }, begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        nanosleep(&one_ms, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (!background->is_done &&
             (now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
    return background->is_done;
}

/*
 * Tells whether the call is waiting for something still to come. What it is to
 * do says how long it is given: a wait that is not to end is looked at for a
 * moment, and an answer may be late on a busy machine.
 */
enum outcome { WAITS = 300, ANSWERS = 60000 };

static void look(const char *name, struct background *background, enum outcome outcome)
{
    announce(name);
    if (!is_done_within(background, outcome))
        printf(" waits");
    else
        answered(background->code);
}

static void join(const char *name, struct background *background)
{
    announce(name);
    pthread_join(background->thread, NULL);
    answered(background->code);
}

#endif
