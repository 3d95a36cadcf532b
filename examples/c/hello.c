/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Asks the "Hello world!" applet of the card in each reader for its greeting.
 *
 *     cc hello.c $(pkg-config --cflags --libs libpcsclite) -o hello
 */
#include <winscard.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const BYTE SELECT_APPLET[] = {0x00, 0xA4, 0x04, 0x00, 0x0A, 0xA0, 0x00, 0x00,
                                     0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01};
static const BYTE GREET[] = {0x00, 0x00, 0x00, 0x00};

static int failed(const char *what, LONG result)
{
    if (result == SCARD_S_SUCCESS)
        return 0;
    fprintf(stderr, "%s: %s (0x%08lX)\n", what, pcsc_stringify_error(result),
            (unsigned long)result & 0xFFFFFFFF);
    return 1;
}

/* One command; the answer's data, without the status word, goes to `data`.
 * Gives its length, or -1 after having said what went wrong. */
static long transmit(SCARDHANDLE card, const SCARD_IO_REQUEST *pci, const char *what,
                     const BYTE *command, DWORD length, BYTE data[MAX_BUFFER_SIZE])
{
    DWORD received = MAX_BUFFER_SIZE;

    if (failed(what, SCardTransmit(card, pci, command, length, NULL, data, &received)))
        return -1;
    if (received < 2) {
        fprintf(stderr, "%s: the answer is too short for a status word\n", what);
        return -1;
    }
    received -= 2;
    if (data[received] != 0x90 || data[received + 1] != 0x00) {
        fprintf(stderr, "%s: the card answers %02X %02X\n", what, data[received],
                data[received + 1]);
        return -1;
    }
    return (long)received;
}

/* True if the card in `reader` has greeted. */
static int greet(SCARDCONTEXT context, const char *reader)
{
    SCARDHANDLE card;
    DWORD protocol;
    BYTE data[MAX_BUFFER_SIZE];
    long length;

    printf("%s\n", reader);
    fflush(stdout);
    if (failed("SCardConnect", SCardConnect(context, reader, SCARD_SHARE_SHARED,
                                            SCARD_PROTOCOL_ANY, &card, &protocol)))
        return 0;

    const SCARD_IO_REQUEST *pci = protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1;
    length = transmit(card, pci, "SELECT", SELECT_APPLET, sizeof SELECT_APPLET, data);
    if (length >= 0)
        length = transmit(card, pci, "GREET", GREET, sizeof GREET, data);
    if (length >= 0)
        printf("    %.*s\n", (int)length, (const char *)data);

    failed("SCardDisconnect", SCardDisconnect(card, SCARD_LEAVE_CARD));
    return length >= 0;
}

/* The names of all readers, for free(); NULL after having said why not. */
static char *list_readers(SCARDCONTEXT context)
{
    for (;;) {
        DWORD length = 0;
        LONG result = SCardListReaders(context, NULL, NULL, &length);
        if (failed("SCardListReaders", result))
            return NULL;

        char *names = malloc(length);
        if (names == NULL) {
            perror("malloc");
            return NULL;
        }
        result = SCardListReaders(context, NULL, names, &length);
        if (result == SCARD_S_SUCCESS)
            return names;
        free(names);
        /* A reader has been plugged in between the two calls. */
        if (result == SCARD_E_INSUFFICIENT_BUFFER)
            continue;
        failed("SCardListReaders", result);
        return NULL;
    }
}

int main(void)
{
    SCARDCONTEXT context;
    int greeted = 0;

    if (failed("SCardEstablishContext",
               SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context)))
        return EXIT_FAILURE;

    char *readers = list_readers(context);
    if (readers != NULL)
        for (const char *reader = readers; *reader != '\0'; reader += strlen(reader) + 1)
            greeted += greet(context, reader);
    free(readers);

    if (failed("SCardReleaseContext", SCardReleaseContext(context)))
        return EXIT_FAILURE;
    return greeted > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
