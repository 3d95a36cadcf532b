/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * standard: calls in a program whose standard streams are closed, as those of
 * some daemons are. Prints the codes, and how many of the numbers 0 to 2 name
 * a file while there is a context that has waited.
 */
#define _GNU_SOURCE
#include <winscard.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    SCARDCONTEXT context;
    SCARD_READERSTATE state;
    LONG established, waited, released;
    int fd, taken = 0, output = fcntl(1, F_DUPFD, 10);

    for (fd = 0; fd < 3; fd++)
        close(fd);
    established = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
    memset(&state, 0, sizeof state);
    state.szReader = "\\\\?PnP?\\Notification";
    waited = SCardGetStatusChange(context, 10, &state, 1);
    for (fd = 0; fd < 3; fd++)
        taken += fcntl(fd, F_GETFD) >= 0;
    released = SCardReleaseContext(context);
    dprintf(output, "%08lX %08lX %08lX, %d taken\n", (unsigned long)established & 0xFFFFFFFF,
            (unsigned long)waited & 0xFFFFFFFF, (unsigned long)released & 0xFFFFFFFF, taken);
    return 0;
}
