/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A program in C with its virtual card and its tests: see docs/testing.md. The card connects to the reader of
 * PCSCLITE_SIMULATED=vpcd:35963.
 *
 *     cc test_door.c $(pkg-config --cflags --libs libpcsclite) -pthread -o test_door
 */
#include <winscard.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The program under test: opens a door for a badge and its PIN. The name of the badge's holder goes to `name`.
 * Returns what the card or PC/SC says: 0x9000 if the door opens. */
static unsigned long open_door(const char *pin, char name[256])
{
    static const BYTE select[] = {0x00, 0xA4, 0x04, 0x00, 6, 0xF0, 'B', 'A', 'D', 'G', 'E'};
    static const BYTE read[] = {0x00, 0xB0, 0x00, 0x00, 0x00};
    BYTE verify[5 + 16] = {0x00, 0x20, 0x00, 0x81, (BYTE)strlen(pin)};
    memcpy(verify + 5, pin, verify[4]);
    const struct {
        const BYTE *bytes;
        DWORD length;
    } commands[] = {{select, sizeof select}, {verify, 5 + verify[4]}, {read, sizeof read}};

    SCARDCONTEXT context;
    SCARDHANDLE card;
    char reader[MAX_READERNAME + 1];
    DWORD length = sizeof reader, protocol;
    unsigned long status = 0x9000;
    LONG result = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
    if (result != SCARD_S_SUCCESS)
        return (unsigned long)result;
    result = SCardListReaders(context, NULL, reader, &length);
    if (result == SCARD_S_SUCCESS)
        result = SCardConnect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, &card, &protocol);
    if (result == SCARD_S_SUCCESS) {
        for (int i = 0; i < 3 && result == SCARD_S_SUCCESS && status == 0x9000; i++) {
            BYTE response[258];
            DWORD received = sizeof response;
            result = SCardTransmit(card, SCARD_PCI_T1, commands[i].bytes, commands[i].length, NULL, response, &received);
            if (result != SCARD_S_SUCCESS || received < 2)
                continue;
            status = (unsigned long)response[received - 2] << 8 | response[received - 1];
            memcpy(name, response, received - 2);
            name[received - 2] = '\0';
        }
        SCardDisconnect(card, SCARD_RESET_CARD);
    }
    SCardReleaseContext(context);
    return result == SCARD_S_SUCCESS ? status : (unsigned long)result & 0xFFFFFFFF;
}

/* The card that the program expects. Each context of the program opens the port anew, so it is inserted again and
 * again. */
static int tries = 3;
/* The instruction of the command by which the card is pulled out. */
static volatile int removed_by = -1;

static size_t answer(const BYTE *command, size_t length, BYTE *response)
{
    static const BYTE ok[] = {0x90, 0x00}, unknown[] = {0x6D, 0x00};
    switch (command[1]) {
    case 0x20:
        if (length == 9 && memcmp(command + 5, "1234", 4) == 0)
            break;
        response[0] = 0x63;
        response[1] = (BYTE)(0xC0 | --tries);
        return 2;
    case 0xB0:
        memcpy(response, "Ada Lovelace\x90", 14);
        return 14;
    case 0xA4:
        break;
    default:
        memcpy(response, unknown, 2);
        return 2;
    }
    memcpy(response, ok, 2);
    return 2;
}

static int receive(int stream, BYTE *bytes, size_t length)
{
    return recv(stream, bytes, length, MSG_WAITALL) == (ssize_t)length;
}

static void *be_a_card(void *unused)
{
    /* T=1 at 372/1 (ISO/IEC 7816-3, clause 8). */
    static const BYTE atr[] = {0x3B, 0x80, 0x01, 0x81};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(35963)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (;;) {
        BYTE message[0x10000], response[2 + 258];
        int stream = socket(AF_INET, SOCK_STREAM, 0);
        while (connect(stream, (struct sockaddr *)&address, sizeof address) != 0) {
            close(stream);
            usleep(2000);
            stream = socket(AF_INET, SOCK_STREAM, 0);
        }
        while (receive(stream, message, 2)) {
            size_t length = (size_t)message[0] << 8 | message[1], answered = 0;
            if (!receive(stream, message, length) || (length > 1 && message[1] == removed_by))
                break;
            if (length == 1 && message[0] != 4)
                continue; /* power off, power on and reset have no answer */
            if (length == 1)
                memcpy(response + 2, atr, answered = sizeof atr);
            else
                answered = answer(message, length, response + 2);
            response[0] = (BYTE)(answered >> 8);
            response[1] = (BYTE)answered;
            send(stream, response, 2 + answered, MSG_NOSIGNAL);
        }
        close(stream);
    }
    return unused;
}

static void check(const char *what, unsigned long expected, unsigned long found)
{
    if (expected != found) {
        fprintf(stderr, "%s: %04lX, not %04lX\n", what, found, expected);
        exit(EXIT_FAILURE);
    }
}

int main(void)
{
    pthread_t card;
    char name[256] = "";

    if (pthread_create(&card, NULL, be_a_card, NULL) != 0)
        return EXIT_FAILURE;
    check("a badge and its PIN", 0x9000, open_door("1234", name));
    if (strcmp(name, "Ada Lovelace") != 0) {
        fprintf(stderr, "the name is %s\n", name);
        return EXIT_FAILURE;
    }
    check("a wrong PIN", 0x63C2, open_door("0000", name));
    check("a second wrong PIN", 0x63C1, open_door("1111", name));
    removed_by = 0x20;
    check("a badge that is removed in the middle of a command", SCARD_E_NOT_TRANSACTED & 0xFFFFFFFF, open_door("1234", name));
    puts("4 tests passed");
    return EXIT_SUCCESS;
}
