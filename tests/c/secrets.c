/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * secrets: sends commands with a secret to a card, and looks for copies of it
 * in the memory of this process.
 *
 * The commands are a short and a long one, a PIN block for the reader, and the
 * value of an attribute. The secret is nowhere in the program as it is: it is made of a mask, and compared
 * by the mask. Prints a line for each copy, with the mapping that it is in, and
 * how many bytes were searched.
 */
#define _GNU_SOURCE
#include <winscard.h>
#include <reader.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 16, MASK = 0x5A, LONG_SIZE = 600 };

static const BYTE masked[SIZE] = {0x11, 0x8C, 0x42, 0xE7, 0x19, 0xF3, 0x6B, 0xD0,
                                  0x37, 0xA5, 0x2E, 0x94, 0x78, 0xCB, 0x05, 0xBF};

static void put_secret(BYTE *place)
{
    int i;
    for (i = 0; i < SIZE; i++)
        place[i] = masked[i] ^ MASK;
}

static int is_secret(const volatile BYTE *place)
{
    int i;
    for (i = 0; i < SIZE; i++)
        if (place[i] != (BYTE)(masked[i] ^ MASK))
            return 0;
    return 1;
}

static long search(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char *line = NULL;
    size_t room = 0, searched = 0;
    int found = 0;
    while (maps && getline(&line, &room, maps) > 0) {
        uintptr_t begin, end, at;
        char rights[5];
        int name = 0;
        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &begin, &end, rights, &name) < 3 || strncmp(rights, "rw", 2) ||
            strstr(line, "[vvar"))
            continue;
        for (at = begin; at + SIZE <= end; at++)
            if (is_secret((BYTE *)at)) {
                printf("a copy in %s at %lx of %lx-%lx\n", line[name] ? strtok(line + name, "\n") : "a mapping", at, begin, end);
                found++;
            }
        searched += end - begin;
    }
    fprintf(stderr, "searched %zu bytes\n", searched);
    return searched > 100000 ? found : -1;
}

static SCARDHANDLE card;
static DWORD protocol;

static void transmit(BYTE *command, DWORD length)
{
    BYTE answer[LONG_SIZE + 100];
    DWORD room = sizeof answer;
    LONG code = SCardTransmit(card, protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1, command, length, NULL,
                              answer, &room);
    if (code)
        printf("transmit %08lX\n", (unsigned long)code & 0xFFFFFFFF);
    explicit_bzero(answer, sizeof answer);
    explicit_bzero(command, length);
}

static void verify(void)
{
    /* VERIFY of ISO 7816-4 with the secret as the PIN. */
    BYTE command[5 + SIZE] = {0x00, 0x20, 0x00, 0x80, SIZE};
    put_secret(command + 5);
    transmit(command, sizeof command);
}

static void store(void)
{
    BYTE command[7 + LONG_SIZE] = {0x00, 0xD6, 0x00, 0x00, 0x00, LONG_SIZE >> 8, LONG_SIZE & 0xFF};
    put_secret(command + 7 + LONG_SIZE - SIZE);
    transmit(command, sizeof command);
}

static void control(void)
{
    BYTE data[10 + SIZE] = {0x6F}, answer[300];
    DWORD got = 0;
    put_secret(data + 10);
    /* It may be refused. */
    SCardControl(card, SCARD_CTL_CODE(1), data, sizeof data, answer, sizeof answer, &got);
    explicit_bzero(data, sizeof data);
    explicit_bzero(answer, sizeof answer);
}

static void set_attribute(void)
{
    BYTE value[SIZE];
    put_secret(value);
    /* It may be refused. */
    SCardSetAttrib(card, SCARD_ATTR_SUPRESS_T1_IFS_REQUEST, value, sizeof value);
    explicit_bzero(value, sizeof value);
}

int main(int count, char **arguments)
{
    SCARDCONTEXT context;
    char names[2048];
    DWORD length = sizeof names;
    LONG code = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
    if (!code)
        code = SCardListReaders(context, NULL, names, &length);
    if (!code)
        code = SCardConnect(context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol);
    if (code) {
        printf("%08lX\n", (unsigned long)code & 0xFFFFFFFF);
        return 2;
    }
    verify();
    if (count < 2 || strcmp(arguments[1], "short"))
        store();
    control();
    set_attribute();
    if (count > 2) {
        /* A copy that is to be found. */
        BYTE *copy = malloc(SIZE);
        put_secret(copy);
    }
    code = search();
    printf("%ld found\n", (long)code);
    return 0;
}
