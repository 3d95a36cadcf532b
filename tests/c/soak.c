/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * soak ROUNDS: so many rounds of establish, connect, transmit, disconnect and
 * release, with wrong calls in between. Prints the number of descriptors and
 * the resident size in kB after a tenth of the rounds, and at the end.
 */
#include "process.h"

#include <winscard.h>

#include <stdio.h>
#include <stdlib.h>

static int descriptors(void)
{
    return entries("/proc/self/fd") - 1;
}

#define CHECK(call)                                                     \
    do {                                                                \
        LONG code_ = (call);                                            \
        if (code_ != SCARD_S_SUCCESS) {                                 \
            printf("%s: %s\n", #call, pcsc_stringify_error(code_));     \
            exit(1);                                                    \
        }                                                               \
    } while (0)

int main(int count, char **arguments)
{
    static const BYTE hello[4] = {0x80, 0xC0, 0, 0};
    long rounds = count == 2 ? atol(arguments[1]) : 0, i;

    for (i = 0; i < rounds; i++) {
        SCARDCONTEXT context;
        SCARDHANDLE card;
        DWORD protocol, length = SCARD_AUTOALLOCATE, room = 300;
        LPSTR names;
        BYTE answer[300];
        CHECK(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context));
        CHECK(SCardListReaders(context, NULL, (LPSTR)&names, &length));
        CHECK(SCardConnect(context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol));
        CHECK(SCardTransmit(card, SCARD_PCI_T1, hello, sizeof hello, NULL, answer, &room));
        SCardTransmit(card + 1, SCARD_PCI_T1, hello, sizeof hello, NULL, answer, &room);
        SCardConnect(context, "nobody", SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card + (i < 0), &protocol);
        CHECK(SCardFreeMemory(context, names));
        if (i % 2)
            CHECK(SCardReleaseContext(context));
        else {
            CHECK(SCardReleaseContext(context));
            if (SCardReleaseContext(context) != SCARD_E_INVALID_HANDLE ||
                SCardDisconnect(card, SCARD_LEAVE_CARD) != SCARD_E_INVALID_HANDLE)
                return 2;
        }
        if (i == rounds / 10)
            printf("%d %ld\n", descriptors(), resident());
    }
    printf("%d %ld\n", descriptors(), resident());
    return 0;
}
