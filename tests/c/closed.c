/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * closed files|sockets FILE: what a library does whose descriptors the program
 * closes, as daemons do with closefrom(3).
 *
 * Establishes two contexts. One has waited and is idle, so that the library
 * has all the descriptors that it will have; the other is in a wait of another
 * thread. Then goes to the root directory, closes all descriptors from 3 on,
 * and opens FILE, or sockets, for every number up to 64. Cancels both contexts, makes calls, and releases
 * both. With sockets it makes no calls in between: these would be sent there,
 * as PC/SC Lite does.
 *
 * Prints the codes of the calls, how many of the program's descriptors are
 * still open, how many were read from or written to, and how many bytes the
 * sockets got. A call that hangs ends the program by its alarm.
 */
#define _GNU_SOURCE
#include <winscard.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST = 3, END = 64 };

static const char nowhere[] = "\\\\?PnP?\\Notification";

static LONG wait_for(SCARDCONTEXT context, DWORD milliseconds)
{
    SCARD_READERSTATE state;
    memset(&state, 0, sizeof state);
    state.szReader = nowhere;
    return SCardGetStatusChange(context, milliseconds, &state, 1);
}

static void *wait_long(void *context)
{
    wait_for(*(SCARDCONTEXT *)context, INFINITE);
    return NULL;
}

static void call(const char *name, LONG code)
{
    printf("%s %08lX\n", name, (unsigned long)code & 0xFFFFFFFF);
    fflush(stdout);
}

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

int main(int count, char **arguments)
{
    SCARDCONTEXT context, waiting;
    SCARDHANDLE card;
    DWORD protocol;
    pthread_t thread;
    int fd, open_files = 0, moved = 0, received = 0, others[END];
    int has_files = count == 3 && !strcmp(arguments[1], "files");

    if (count != 3)
        return 2;
    alarm(300);
    if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) ||
        SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &waiting))
        return 3;
    call("wait", wait_for(context, 10));
    wait_for(waiting, 10);
    if (pthread_create(&thread, NULL, wait_long, &waiting))
        return 4;
    usleep(200000);

    if (chdir("/"))
        return 7;
    for (fd = FIRST; fd < END; fd++)
        close(fd);
    memset(others, -1, sizeof others);
    for (fd = FIRST; fd < END; fd++) {
        int pair[2];
        if (has_files) {
            if (open(arguments[2], O_RDWR) != fd)
                return 5;
        } else if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pair[0] != fd)
            return 6;
        else {
            /* The other end has a number that the library never had. */
            others[fd] = fcntl(pair[1], F_DUPFD, 200);
            close(pair[1]);
        }
    }

    call("cancel", SCardCancel(waiting));
    call("cancel", SCardCancel(context));
    if (has_files) {
        call("connect", SCardConnect(context, "nobody", SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol));
        call("wait", wait_for(context, 10));
    }
    call("release", SCardReleaseContext(context));
    call("release", SCardReleaseContext(waiting));

    for (fd = FIRST; fd < END; fd++) {
        char bytes[64];
        open_files += is_open(fd);
        if (others[fd] >= 0) {
            ssize_t got = recv(others[fd], bytes, sizeof bytes, MSG_DONTWAIT);
            received += got > 0 ? got : 0;
        } else
            moved += lseek(fd, 0, SEEK_CUR) != 0;
    }
    printf("%d of %d open, %d moved, sockets got %d\n", open_files, END - FIRST, moved, received);
    fflush(stdout);
    /* The thread may be in its wait still. */
    _exit(0);
}
