/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Uses the test's winscard.dll as a Windows program does. Compiled with Windows' own headers, it fails to
 * compile where a number that pcsc-client has for Windows is another one in Windows.
 */
#include <windows.h>

#include <winscard.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define SAME(expected, number) \
    _Static_assert((unsigned)(number) == (unsigned)(expected), #number)

SAME(4, sizeof(DWORD));
SAME(4, sizeof(LONG));
SAME(sizeof(void *), sizeof(SCARDCONTEXT));
SAME(sizeof(void *), sizeof(SCARDHANDLE));
SAME(8, sizeof(SCARD_IO_REQUEST));
SAME(64, sizeof(SCARD_READERSTATEA));
SAME(16, offsetof(SCARD_READERSTATEA, dwCurrentState));
SAME(24, offsetof(SCARD_READERSTATEA, cbAtr));
SAME(28, offsetof(SCARD_READERSTATEA, rgbAtr));
SAME(0x8010001F, SCARD_E_UNEXPECTED);
SAME(0x80100022, SCARD_E_UNSUPPORTED_FEATURE);
SAME(0x00010000, SCARD_PROTOCOL_RAW);
SAME(0, SCARD_UNKNOWN);
SAME(1, SCARD_ABSENT);
SAME(2, SCARD_PRESENT);
SAME(3, SCARD_SWALLOWED);
SAME(4, SCARD_POWERED);
SAME(5, SCARD_NEGOTIABLE);
SAME(6, SCARD_SPECIFIC);
SAME(0x00313520, SCARD_CTL_CODE(3400));
SAME(1, ERROR_INVALID_FUNCTION);
SAME(6, ERROR_INVALID_HANDLE);
SAME(22, ERROR_BAD_COMMAND);
SAME(50, ERROR_NOT_SUPPORTED);
SAME(87, ERROR_INVALID_PARAMETER);
SAME(122, ERROR_INSUFFICIENT_BUFFER);

static void print(const char *name, LONG result)
{
    printf("%s %08lX\n", name, (unsigned long)result & 0xFFFFFFFF);
}

int main(void)
{
    SCARDCONTEXT context;
    SCARDHANDLE card;
    SCARD_READERSTATEA state = {0};
    DWORD length, protocol, name_length, card_state;
    char names[256], name[256];
    BYTE buffer[264];

    print("establish", SCardEstablishContext(SCARD_SCOPE_USER, NULL, NULL, &context));
    printf("a handle of 64 bits: %d\n", context > 0xFFFFFFFFu);
    length = sizeof names;
    print("list", SCardListReadersA(context, NULL, names, &length));
    state.szReader = names;
    print("state", SCardGetStatusChangeA(context, 0, &state, 1));
    printf("%lX, ATR of %lu bytes\n", state.dwEventState & 0xFFFF, state.cbAtr);
    print("connect", SCardConnectA(context, names, SCARD_SHARE_SHARED, SCARD_PROTOCOL_Tx, &card, &protocol));
    name_length = sizeof name;
    length = sizeof buffer;
    print("status", SCardStatusA(card, name, &name_length, &card_state, &protocol, buffer, &length));
    printf("state %lu, the reader's name is the same: %d\n", card_state, !strcmp(name, names));
    length = sizeof buffer;
    print("transmit", SCardTransmit(card, protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1,
                                    (const BYTE *)"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01",
                                    15, NULL, buffer, &length));
    printf("%lu bytes: %02X%02X\n", length, buffer[0], buffer[1]);
    print("features", SCardControl(card, SCARD_CTL_CODE(3400), NULL, 0, buffer, sizeof buffer, &length));
    print("another function", SCardControl(card, SCARD_CTL_CODE(9), NULL, 0, buffer, sizeof buffer, &length));
    print("disconnect", SCardDisconnect(card, SCARD_LEAVE_CARD));
    print("disconnect again", SCardDisconnect(card, SCARD_LEAVE_CARD));
    print("release", SCardReleaseContext(context));
    return 0;
}
