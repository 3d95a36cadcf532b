/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every function of winscard.h through its uses and misuses, one line a call.
 *
 * differential PART...: what it prints depends on the library it is run with
 * and on the daemon alone. A line that begins with @ asks the test for a
 * change of readers, cards or daemon; the program goes on after a line on
 * stdin.
 */
#include "report.h"

#define READER0 "pcsc-tests 00 00"
#define READER1 "pcsc-tests 01 00"
#define PNP "\\\\?PnP?\\Notification"

#define ATTR_WRITABLE 0x0007A0F0
#define CTL_ECHO SCARD_CTL_CODE(1)

static SCARDCONTEXT context, other_context;
static SCARDHANDLE card, other_card;
static DWORD protocol, length, atr_length, state;
static char name[300];
static BYTE atr[64];
static BYTE value[600];
static BYTE response[66000];
static BYTE command[66000];
static SCARD_IO_REQUEST receive_pci;

static void forget(void)
{
    protocol = length = atr_length = state = UNTOUCHED;
    memset(name, UNTOUCHED_BYTE, sizeof name);
    memset(atr, UNTOUCHED_BYTE, sizeof atr);
    memset(value, UNTOUCHED_BYTE, sizeof value);
    memset(response, UNTOUCHED_BYTE, sizeof response);
    receive_pci.dwProtocol = receive_pci.cbPciLength = UNTOUCHED;
}

/* ---- Each function with all its outputs ---- */

#define ESTABLISH(context) \
    (context = UNTOUCHED, CALL(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context)), HANDLE(context))

#define CONNECT(context, reader, share, protocols, card) \
    (forget(), card = UNTOUCHED, CALL(SCardConnect(context, reader, share, protocols, &card, &protocol)), \
     HANDLE(card), NUMBER(protocol))

#define RECONNECT(card, share, protocols, initialization) \
    (forget(), CALL(SCardReconnect(card, share, protocols, initialization, &protocol)), NUMBER(protocol))

#define STATUS(card, name_room, atr_room) \
    (forget(), length = name_room, atr_length = atr_room, \
     CALL(SCardStatus(card, name, &length, &state, &protocol, atr, &atr_length)), bytes("name", name, 18), \
     NUMBER(length), NUMBER(state), NUMBER(protocol), BYTES(atr), NUMBER(atr_length), \
     printf(" for rooms 0x%lX 0x%lX", (unsigned long)name_room, (unsigned long)atr_room))

#define TRANSMIT_WITH(card, send_pci, receive_pci, sent, room) \
    (length = room, CALL(SCardTransmit(card, send_pci, command, sent, receive_pci, response, &length)), \
     NUMBER(length), BYTES(response), printf(" for room 0x%lX", (unsigned long)(room)))

#define TRANSMIT(card, send_pci, sent, room) \
    (forget(), TRANSMIT_WITH(card, send_pci, &receive_pci, sent, room), NUMBER(receive_pci.dwProtocol), \
     NUMBER(receive_pci.cbPciLength))

#define CONTROL(card, code, sent, room) \
    (forget(), CALL(SCardControl(card, code, command, sent, response, room, &length)), NUMBER(length), \
     BYTES(response))

#define GET_ATTRIBUTE(card, id, room) \
    (forget(), length = room, CALL(SCardGetAttrib(card, id, value, &length)), NUMBER(length), BYTES(value), \
     printf(" for room 0x%lX", (unsigned long)room))

static SCARD_READERSTATE readers[20];

static void watch(int index, const char *reader, DWORD current)
{
    SCARD_READERSTATE *entry = &readers[index];
    memset(entry, UNTOUCHED_BYTE, sizeof *entry);
    entry->szReader = reader;
    entry->dwCurrentState = current;
    entry->dwEventState = entry->cbAtr = UNTOUCHED;
}

static void watched(int count)
{
    int i;
    for (i = 0; i < count; i++) {
        printf(" [");
        number("current", readers[i].dwCurrentState);
        number("event", readers[i].dwEventState);
        number("cbAtr", readers[i].cbAtr);
        bytes("atr", readers[i].rgbAtr, sizeof readers[i].rgbAtr);
        printf(" ]");
    }
}

#define CHANGE(context, timeout, count) \
    (CALL(SCardGetStatusChange(context, timeout, readers, count)), watched(count))

/* What a reader is like now. */
static void look_at(const char *reader)
{
    watch(0, reader, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
}

static DWORD apdu(const char *hex)
{
    DWORD count = 0;
    unsigned byte;
    while (sscanf(hex + 2 * count, "%2x", &byte) == 1)
        command[count++] = byte;
    return count;
}

/* An extended echo APDU with `size` bytes of data. */
static DWORD echo(DWORD size)
{
    DWORD i;
    apdu("80EC000000");
    command[5] = size >> 8;
    command[6] = size & 0xFF;
    for (i = 0; i < size; i++)
        command[7 + i] = i * 7;
    return 7 + size;
}

static void open_card(void)
{
    ESTABLISH(context);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
}

/* ---- Parts ---- */

static void part_globals(void)
{
    LONG code;
    announce("g_rgSCardT0Pci"), NUMBER(g_rgSCardT0Pci.dwProtocol), NUMBER(g_rgSCardT0Pci.cbPciLength);
    announce("g_rgSCardT1Pci"), NUMBER(g_rgSCardT1Pci.dwProtocol), NUMBER(g_rgSCardT1Pci.cbPciLength);
    announce("g_rgSCardRawPci"), NUMBER(g_rgSCardRawPci.dwProtocol), NUMBER(g_rgSCardRawPci.cbPciLength);
    for (code = 0x80100000; code < 0x80100100; code++) {
        announce("pcsc_stringify_error"), printf("(0x%lX) = %s", (unsigned long)code, pcsc_stringify_error(code));
    }
    announce("pcsc_stringify_error(0)"), printf(" = %s", pcsc_stringify_error(0));
    announce("pcsc_stringify_error(1)"), printf(" = %s", pcsc_stringify_error(1));
    announce("pcsc_stringify_error(-1)"), printf(" = %s", pcsc_stringify_error(-1));
    announce("pcsc_stringify_error, sign extended");
    printf(" = %s", pcsc_stringify_error((LONG)(int)0x8010000A));
    announce("pcsc_stringify_error, high bits");
    printf(" = %s", pcsc_stringify_error(0x1234567880100001));
}

/* Every function that takes a handle, with one that names nothing. */
static void each_function(LONG bad)
{
    const SCARDCONTEXT bad_context = bad;
    const SCARDHANDLE bad_card = bad;
    char *list = name;
    forget();
    CALL(SCardIsValidContext(bad_context));
    CALL(SCardReleaseContext(bad_context));
    CALL(SCardCancel(bad_context));
    CALL(SCardFreeMemory(bad_context, NULL));
    length = sizeof name;
    CALL(SCardListReaders(bad_context, NULL, list, &length)), NUMBER(length), BYTES(name);
    length = SCARD_AUTOALLOCATE;
    CALL(SCardListReaders(bad_context, NULL, (LPSTR)&list, &length)), NUMBER(length), pointer("list", list, name);
    length = sizeof name;
    CALL(SCardListReaderGroups(bad_context, name, &length)), NUMBER(length), BYTES(name);
    CONNECT(bad_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    watch(0, READER0, SCARD_STATE_UNAWARE);
    CHANGE(bad_context, 0, 1);
    watch(0, READER0, SCARD_STATE_IGNORE);
    CHANGE(bad_context, 0, 1);
    CHANGE(bad_context, 0, 0);
    RECONNECT(bad_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    CALL(SCardDisconnect(bad_card, SCARD_LEAVE_CARD));
    CALL(SCardBeginTransaction(bad_card));
    CALL(SCardEndTransaction(bad_card, SCARD_LEAVE_CARD));
    STATUS(bad_card, sizeof name, sizeof atr);
    TRANSMIT(bad_card, SCARD_PCI_T1, 4, sizeof response);
    TRANSMIT(bad_card, SCARD_PCI_T1, 70000, sizeof response);
    CONTROL(bad_card, CTL_ECHO, 4, sizeof response);
    CONTROL(bad_card, CTL_ECHO, 70000, sizeof response);
    GET_ATTRIBUTE(bad_card, SCARD_ATTR_ATR_STRING, 264);
    GET_ATTRIBUTE(bad_card, SCARD_ATTR_ATR_STRING, 600);
    length = UNTOUCHED;
    CALL(SCardGetAttrib(bad_card, SCARD_ATTR_ATR_STRING, NULL, &length)), NUMBER(length);
    CALL(SCardSetAttrib(bad_card, ATTR_WRITABLE, command, 4));
    CALL(SCardSetAttrib(bad_card, ATTR_WRITABLE, command, 600));
    CALL(SCardSetAttrib(bad_card, ATTR_WRITABLE, NULL, 0));
}

static LONG tried_handle;

static void try_handle(void)
{
    each_function(tried_handle);
}

/* Before any context: in the stock library some of these read a list that is not there yet. */
static void part_uninitialized(void)
{
    in_child(try_handle);
    tried_handle = 12345;
    in_child(try_handle);
}

static void without_context_pointer(void)
{
    CALL(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, NULL));
}

static void part_contexts(void)
{
    static const DWORD scopes[] = { SCARD_SCOPE_USER, SCARD_SCOPE_TERMINAL, SCARD_SCOPE_SYSTEM,
                                    SCARD_SCOPE_GLOBAL, 4, 0xFFFFFFFF, (DWORD)-1 };
    size_t i;
    in_child(without_context_pointer);
    for (i = 0; i < sizeof scopes / sizeof *scopes; i++) {
        context = UNTOUCHED;
        CALL(SCardEstablishContext(scopes[i], "reserved", "reserved", &context));
        HANDLE(context), printf(" for scope 0x%lX", (unsigned long)scopes[i]);
        if (context)
            CALL(SCardReleaseContext(context));
    }
    ESTABLISH(context);
    ESTABLISH(other_context);
    announce("two contexts"), printf(" %s", context == other_context ? "alike" : "differ");
    CALL(SCardIsValidContext(context));
    CALL(SCardFreeMemory(context, NULL));
    CALL(SCardFreeMemory(context, malloc(10)));
    CALL(SCardCancel(context));
    CALL(SCardReleaseContext(context));
    CALL(SCardReleaseContext(context));
    CALL(SCardIsValidContext(context));
    CALL(SCardCancel(context));
    CALL(SCardFreeMemory(context, NULL));
    CALL(SCardIsValidContext(other_context));
    CALL(SCardReleaseContext(other_context));
}

static void part_handles(void)
{
    static const LONG bad[] = { 0, -1, 1, 0x7FFFFFFF, 0xDEADBEEF, 0x100000000 };
    SCARDHANDLE kept;
    size_t i;
    ask("insert 0 T1");
    open_card();
    ESTABLISH(other_context);
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        say("a number that is no handle");
        kept = card;
        each_function(bad[i]);
        card = kept;
    }
    say("a card's handle for a context's");
    CALL(SCardIsValidContext(card));
    CALL(SCardCancel(card));
    CALL(SCardReleaseContext(card));
    say("a context's handle for a card's");
    CALL(SCardBeginTransaction(context));
    STATUS(context, sizeof name, sizeof atr);
    CALL(SCardDisconnect(context, SCARD_LEAVE_CARD));
    say("the high half of a handle");
    CALL(SCardBeginTransaction(card | 0x100000000));
    CALL(SCardIsValidContext(context | 0x100000000));
    say("a disconnected card");
    STATUS(card, sizeof name, sizeof atr);
    kept = card;
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    each_function(kept);
    say("a card of a released context");
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardReleaseContext(context));
    kept = card;
    each_function(kept);
    say("a released context");
    each_function(context);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    CALL(SCardReleaseContext(other_context));
}

static void groups_without_length(void)
{
    ESTABLISH(context);
    CALL(SCardListReaderGroups(context, name, NULL));
}

static void part_lists(void)
{
    static const DWORD rooms[] = { 0, 1, 17, 22, 23, 34, 35, 36, 300, 0xFFFFFFFF };
    char *list;
    size_t i;
    in_child(groups_without_length);
    ESTABLISH(context);
    for (i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        forget(), length = rooms[i];
        CALL(SCardListReaders(context, NULL, name, &length)), NUMBER(length), BYTES(name);
        printf(" for room 0x%lX", (unsigned long)rooms[i]);
        forget(), length = rooms[i];
        CALL(SCardListReaderGroups(context, name, &length)), NUMBER(length), BYTES(name);
        printf(" for room 0x%lX", (unsigned long)rooms[i]);
    }
    forget();
    CALL(SCardListReaders(context, NULL, NULL, NULL));
    CALL(SCardListReaders(context, NULL, name, NULL)), BYTES(name);
    CALL(SCardListReaders(context, NULL, NULL, &length)), NUMBER(length);
    length = SCARD_AUTOALLOCATE;
    CALL(SCardListReaders(context, NULL, NULL, &length)), NUMBER(length);
    list = name, length = SCARD_AUTOALLOCATE;
    CALL(SCardListReaders(context, NULL, (LPSTR)&list, &length)), NUMBER(length);
    pointer("list", list, name), bytes("list", list, length);
    CALL(SCardFreeMemory(context, list));
    length = sizeof name;
    CALL(SCardListReaders(context, "SCard$DefaultReaders\0", name, &length)), NUMBER(length), BYTES(name);
    forget(), length = sizeof name;
    CALL(SCardListReaders(context, "No such group\0", name, &length)), NUMBER(length), BYTES(name);

    forget();
    CALL(SCardListReaderGroups(context, NULL, &length)), NUMBER(length);
    length = SCARD_AUTOALLOCATE;
    CALL(SCardListReaderGroups(context, NULL, &length)), NUMBER(length);
    list = name, length = SCARD_AUTOALLOCATE;
    CALL(SCardListReaderGroups(context, (LPSTR)&list, &length)), NUMBER(length);
    pointer("list", list, name), bytes("list", list, length);
    CALL(SCardFreeMemory(context, list));
    CALL(SCardReleaseContext(context));
}

static void part_no_readers(void)
{
    char *list = name;
    ESTABLISH(context);
    forget(), length = sizeof name;
    CALL(SCardListReaders(context, NULL, name, &length)), NUMBER(length), BYTES(name);
    forget();
    CALL(SCardListReaders(context, NULL, NULL, &length)), NUMBER(length);
    length = SCARD_AUTOALLOCATE;
    CALL(SCardListReaders(context, NULL, (LPSTR)&list, &length)), NUMBER(length), pointer("list", list, name);
    forget(), length = sizeof name;
    CALL(SCardListReaderGroups(context, name, &length)), NUMBER(length), BYTES(name);
    CONNECT(context, READER0, SCARD_SHARE_DIRECT, 0, card);
    look_at(READER0);
    watch(0, PNP, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
    watch(0, PNP, SCARD_STATE_UNAWARE);
    CHANGE(context, 50, 1);
    CALL(SCardReleaseContext(context));
}

static void part_connect(void)
{
    static const char *const names[] = { "", "pcsc-tests", "pcsc-tests 00 0", "PCSC-TESTS 00 00", "\xFF\xFE\x80",
                                         "pcsc-tests 00 00\xC3", " pcsc-tests 00 00", PNP };
    static const DWORD shares[] = { 0, SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_SHARED, SCARD_SHARE_DIRECT, 4, 0xFFFF,
                                    0x100000002 };
    static const DWORD protocols[] = { 0, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_RAW, SCARD_PROTOCOL_T15, 7, 0x10, 0x80000000, 0xFFFFFFFF,
                                       0x100000002 };
    static const char *const cards[] = { "insert 0 T0", "insert 0 T1", "insert 0 T0_T1", "insert 0 CONTACTLESS",
                                         "remove 0" };
    static const int long_names[] = { 126, 127, 128, 129, 255, 299 };
    size_t i, j, k;
    ESTABLISH(context);
    CALL(SCardConnect(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, NULL, &protocol)), NUMBER(protocol);
    card = UNTOUCHED;
    CALL(SCardConnect(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, NULL)), HANDLE(card);
    CALL(SCardConnect(context, NULL, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, NULL, NULL));
    CONNECT(context, NULL, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CONNECT(0, NULL, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    ask("insert 0 T1");
    for (i = 0; i < sizeof names / sizeof *names; i++)
        CONNECT(context, names[i], SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card), printf(" for %zu", i);
    for (i = 0; i < sizeof long_names / sizeof *long_names; i++) {
        static char long_name[300];
        memset(long_name, 0, sizeof long_name);
        memset(long_name, 'x', long_names[i]);
        CONNECT(context, long_name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
        printf(" for length %d", long_names[i]);
    }
    for (i = 0; i < sizeof cards / sizeof *cards; i++) {
        /* Not a card for another, which no daemon could see. */
        ask("remove 0");
        ask(cards[i]);
        for (j = 0; j < sizeof shares / sizeof *shares; j++)
            for (k = 0; k < sizeof protocols / sizeof *protocols; k++) {
                CONNECT(context, READER0, shares[j], protocols[k], card);
                printf(" for %zu %zu", j, k);
                if (card) {
                    STATUS(card, sizeof name, sizeof atr);
                    /* Cold, so that each has the card as fresh as the first. */
                    CALL(SCardDisconnect(card, SCARD_UNPOWER_CARD));
                }
            }
    }
    CALL(SCardReleaseContext(context));
}

static void part_reconnect(void)
{
    static const DWORD shares[] = { SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_SHARED, SCARD_SHARE_DIRECT, 0, 5 };
    static const DWORD protocols[] = { 0, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_RAW, 0x40 };
    size_t i, j;
    DWORD k;
    ask("insert 0 T0_T1");
    open_card();
    CALL(SCardReconnect(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, NULL));
    for (i = 0; i < sizeof shares / sizeof *shares; i++)
        for (j = 0; j < sizeof protocols / sizeof *protocols; j++)
            for (k = 0; k <= 4; k++) {
                RECONNECT(card, shares[i], protocols[j], k), printf(" for %zu %zu %lu", i, j, (unsigned long)k);
                STATUS(card, sizeof name, sizeof atr);
            }
    ask("remove 0");
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_RESET_CARD);
    RECONNECT(card, SCARD_SHARE_DIRECT, 0, SCARD_LEAVE_CARD);
    STATUS(card, sizeof name, sizeof atr);
    ask_for_unused("insert 0 T0");
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_LEAVE_CARD);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    used_in_time();
    STATUS(card, sizeof name, sizeof atr);
    for (k = 5; k-- > 0;) {
        CALL(SCardDisconnect(card, 100 * k)), printf(" for %lu", 100 * (unsigned long)k);
    }
    CALL(SCardReleaseContext(context));
}

static void part_status(void)
{
    static const DWORD name_rooms[] = { 0, 1, 16, 17, 18, 300 };
    static const DWORD atr_rooms[] = { 0, 1, 7, 8, 9, 33, 64, 0x10000 };
    char *allocated;
    BYTE *allocated_atr;
    size_t i, j;
    ask("insert 0 T1");
    open_card();
    for (i = 0; i < sizeof name_rooms / sizeof *name_rooms; i++)
        for (j = 0; j < sizeof atr_rooms / sizeof *atr_rooms; j++)
            STATUS(card, name_rooms[i], atr_rooms[j]);
    say("room that the name leaves over");
    forget(), length = sizeof name;
    CALL(SCardStatus(card, name, &length, NULL, NULL, NULL, NULL)), BYTES(name);
    CALL(SCardStatus(card, NULL, NULL, NULL, NULL, NULL, NULL));
    forget();
    CALL(SCardStatus(card, NULL, &length, NULL, NULL, NULL, &atr_length)), NUMBER(length), NUMBER(atr_length);
    forget();
    CALL(SCardStatus(card, name, NULL, &state, NULL, NULL, NULL)), NUMBER(state), BYTES(name);
    forget();
    CALL(SCardStatus(card, NULL, NULL, NULL, &protocol, atr, NULL)), NUMBER(protocol), BYTES(atr);
    forget(), allocated = name, allocated_atr = atr, length = atr_length = SCARD_AUTOALLOCATE;
    CALL(SCardStatus(card, (LPSTR)&allocated, &length, &state, &protocol, (LPBYTE)&allocated_atr, &atr_length));
    NUMBER(length), NUMBER(atr_length), pointer("name", allocated, name), pointer("atr", allocated_atr, atr);
    bytes("name", allocated, length), bytes("atr", allocated_atr, atr_length);
    CALL(SCardFreeMemory(context, allocated));
    CALL(SCardFreeMemory(context, allocated_atr));
    forget(), length = SCARD_AUTOALLOCATE;
    CALL(SCardStatus(card, NULL, &length, &state, &protocol, atr, &atr_length));
    NUMBER(length), NUMBER(state), NUMBER(protocol), BYTES(atr), NUMBER(atr_length);
    forget(), length = sizeof name, atr_length = SCARD_AUTOALLOCATE;
    CALL(SCardStatus(card, name, &length, &state, &protocol, NULL, &atr_length));
    NUMBER(length), NUMBER(state), NUMBER(protocol), NUMBER(atr_length), bytes("name", name, 18);
    forget(), allocated_atr = atr, length = 3, atr_length = SCARD_AUTOALLOCATE;
    CALL(SCardStatus(card, name, &length, &state, &protocol, (LPBYTE)&allocated_atr, &atr_length));
    NUMBER(length), NUMBER(atr_length), BYTES(name), pointer("atr", allocated_atr, atr);
    CALL(SCardFreeMemory(context, allocated_atr));
    CONNECT(context, READER1, SCARD_SHARE_DIRECT, 0, other_card);
    STATUS(other_card, sizeof name, sizeof atr);
    forget(), allocated_atr = atr, atr_length = SCARD_AUTOALLOCATE;
    CALL(SCardStatus(other_card, NULL, NULL, NULL, NULL, (LPBYTE)&allocated_atr, &atr_length));
    NUMBER(atr_length), pointer("atr", allocated_atr, atr);
    CALL(SCardFreeMemory(context, allocated_atr));
    CALL(SCardReleaseContext(context));
}

static void too_much_room(void)
{
    open_card();
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 65549);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 65548);
}

static void endless_room(void)
{
    open_card();
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 0xFFFFFFFF);
    CALL(SCardIsValidContext(context));
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 65548);
}

static void part_transmit(void)
{
    static const DWORD rooms[] = { 0, 1, 2, 13, 14, 15, 264, 65538, 65548 };
    static const DWORD sizes[] = { 1, 2, 250, 254, 255, 256, 257, 1000, 4096, 32767, 65000, 65535 };
    static const DWORD pci_protocols[] = { 0, 1, 2, 3, 4, 8, 0xFFFFFFFF };
    static const DWORD pci_lengths[] = { 0, 1, 8, 15, 16, 17, 1000 };
    SCARD_IO_REQUEST pci;
    size_t i, j;
    ask("insert 0 T1");
    in_child(too_much_room);
    in_child(endless_room);
    open_card();
    /* A card that has lost its power meanwhile, as nothing used it, has forgotten their commands. */
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_RESET_CARD);
    forget(), length = sizeof response;
    CALL(SCardTransmit(card, NULL, command, 4, NULL, response, &length)), NUMBER(length), BYTES(response);
    CALL(SCardTransmit(card, SCARD_PCI_T1, NULL, 4, NULL, response, &length)), NUMBER(length), BYTES(response);
    CALL(SCardTransmit(card, SCARD_PCI_T1, NULL, 0, NULL, response, &length)), NUMBER(length), BYTES(response);
    CALL(SCardTransmit(card, SCARD_PCI_T1, command, 4, NULL, NULL, &length)), NUMBER(length);
    CALL(SCardTransmit(card, SCARD_PCI_T1, command, 4, NULL, response, NULL)), BYTES(response);
    CALL(SCardTransmit(0, NULL, command, 4, NULL, response, &length)), NUMBER(length);
    CALL(SCardTransmit(0, SCARD_PCI_T1, command, 4, NULL, response, NULL));
    for (i = 0; i < sizeof rooms / sizeof *rooms; i++)
        TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), rooms[i]);
    for (i = 0; i <= 5; i++)
        TRANSMIT(card, SCARD_PCI_T1, (apdu("00000000"), i), 300), printf(" for %zu sent", i);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00A404000AA00000006203010C0601"), 300);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00A4040003A00000"), 300);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80C00000"), 300);
    for (i = 0; i < sizeof pci_protocols / sizeof *pci_protocols; i++)
        for (j = 0; j < sizeof pci_lengths / sizeof *pci_lengths; j++) {
            pci.dwProtocol = pci_protocols[i];
            pci.cbPciLength = pci_lengths[j];
            TRANSMIT(card, &pci, apdu("00000000"), 300), printf(" for %zu %zu", i, j);
        }
    for (i = 0; i < sizeof pci_protocols / sizeof *pci_protocols; i++) {
        forget(), apdu("00000000");
        receive_pci.dwProtocol = pci_protocols[i];
        receive_pci.cbPciLength = pci_lengths[i];
        TRANSMIT_WITH(card, SCARD_PCI_T1, &receive_pci, 4, 300);
        NUMBER(receive_pci.dwProtocol), NUMBER(receive_pci.cbPciLength);
    }
    forget(), apdu("00000000");
    TRANSMIT_WITH(card, SCARD_PCI_T1, NULL, 4, 300);
    TRANSMIT(card, SCARD_PCI_T0, apdu("00000000"), 300);
    TRANSMIT(card, SCARD_PCI_RAW, apdu("00000000"), 300);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        TRANSMIT(card, SCARD_PCI_T1, echo(sizes[i]), 65548), printf(" for %lu", (unsigned long)sizes[i]);
        TRANSMIT(card, SCARD_PCI_T1, echo(sizes[i]), sizes[i] + 1), printf(" for %lu", (unsigned long)sizes[i]);
        TRANSMIT(card, SCARD_PCI_T1, echo(sizes[i]), sizes[i] + 2), printf(" for %lu", (unsigned long)sizes[i]);
    }
    TRANSMIT(card, SCARD_PCI_T1, apdu("80E20000"), 65548);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80E20100"), 65548);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80E20200"), 65548);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80E20200"), 65547);
    TRANSMIT(card, SCARD_PCI_T1, 65548, 65548);
    TRANSMIT(card, SCARD_PCI_T1, 65549, 65548);
    TRANSMIT(card, SCARD_PCI_T1, (DWORD)-1, 65548);
    TRANSMIT(card, SCARD_PCI_T1, 0x100000004, 65548);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80C00000"), 300);
    ask("fail 0 on");
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    ask("fail 0 off");
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    say("a direct connection");
    CONNECT(context, READER1, SCARD_SHARE_DIRECT, 0, other_card);
    TRANSMIT(other_card, SCARD_PCI_RAW, apdu("00000000"), 300);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("00000000"), 300);
    ask_for_unused("insert 1 T0_T1");
    TRANSMIT(other_card, SCARD_PCI_RAW, apdu("00000000"), 300);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("00000000"), 300);
    RECONNECT(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0, SCARD_LEAVE_CARD);
    used_in_time();
    TRANSMIT(other_card, SCARD_PCI_T0, apdu("00000000"), 300);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("00000000"), 300);
    CALL(SCardReleaseContext(context));
}

static void control_without_input(void)
{
    open_card(), forget();
    CALL(SCardControl(card, CTL_ECHO, NULL, 4, response, sizeof response, &length)), NUMBER(length), BYTES(response);
    CONTROL(card, CTL_ECHO, apdu("01020304"), 100);
}

static void control_without_output(void)
{
    open_card(), forget();
    CALL(SCardControl(card, CTL_ECHO, command, apdu("01020304"), NULL, 300, &length)), NUMBER(length);
    CONTROL(card, CTL_ECHO, apdu("01020304"), 100);
}

static void control_with_too_much_room(void)
{
    open_card();
    CONTROL(card, CTL_ECHO, apdu("01020304"), 65549);
    CONTROL(card, CTL_ECHO, apdu("01020304"), 100);
}

static void part_control(void)
{
    static const DWORD codes[] = { 0, 1, CTL_ECHO, CM_IOCTL_GET_FEATURE_REQUEST, SCARD_CTL_CODE(2), 0xFFFFFFFF,
                                   0x142000001, (DWORD)-1 };
    static const DWORD rooms[] = { 0, 1, 3, 4, 5, 264, 65548 };
    static const DWORD sizes[] = { 0, 1, 255, 256, 264, 265, 1000, 65535, 65548, 65549, 70000, (DWORD)-1 };
    size_t i;
    ask("insert 0 T1");
    in_child(control_without_input);
    in_child(control_without_output);
    in_child(control_with_too_much_room);
    open_card();
    for (i = 0; i < sizeof codes / sizeof *codes; i++)
        CONTROL(card, codes[i], apdu("01020304"), 300), printf(" for %zu", i);
    for (i = 0; i < sizeof rooms / sizeof *rooms; i++)
        CONTROL(card, CTL_ECHO, apdu("01020304"), rooms[i]), printf(" for room %lu", (unsigned long)rooms[i]);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CONTROL(card, CTL_ECHO, (echo(65535), sizes[i]), 65548), printf(" for size %lu", (unsigned long)sizes[i]);
    forget(), apdu("01020304");
    CALL(SCardControl(card, CTL_ECHO, command, 4, response, 300, NULL)), BYTES(response);
    forget();
    CALL(SCardControl(card, CTL_ECHO, NULL, 0, response, 300, &length)), NUMBER(length), BYTES(response);
    CALL(SCardControl(card, CTL_ECHO, NULL, 0, NULL, 0, &length)), NUMBER(length);
    CALL(SCardControl(card, CTL_ECHO, NULL, 0, NULL, 0, NULL));
    CALL(SCardControl(card, CTL_ECHO, command, 4, NULL, 0, &length)), NUMBER(length);
    say("a direct connection to an empty reader");
    CONNECT(context, READER1, SCARD_SHARE_DIRECT, 0, other_card);
    CONTROL(other_card, CTL_ECHO, apdu("01020304"), 300);
    CONTROL(other_card, CM_IOCTL_GET_FEATURE_REQUEST, 0, 300);
    ask("remove 0");
    CONTROL(card, CTL_ECHO, apdu("01020304"), 300);
    CALL(SCardReleaseContext(context));
}

static void attributes_of(SCARDHANDLE card)
{
    static const DWORD ids[] = { SCARD_ATTR_VENDOR_NAME, SCARD_ATTR_VENDOR_IFD_TYPE, SCARD_ATTR_VENDOR_IFD_VERSION,
                                 SCARD_ATTR_VENDOR_IFD_SERIAL_NO, SCARD_ATTR_CHANNEL_ID, SCARD_ATTR_MAXINPUT,
                                 SCARD_ATTR_CURRENT_PROTOCOL_TYPE, SCARD_ATTR_ICC_PRESENCE,
                                 SCARD_ATTR_ICC_INTERFACE_STATUS, SCARD_ATTR_ATR_STRING, ATTR_WRITABLE,
                                 SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, SCARD_ATTR_DEVICE_FRIENDLY_NAME_W,
                                 SCARD_ATTR_DEVICE_SYSTEM_NAME_A, SCARD_ATTR_DEVICE_UNIT, SCARD_ATTR_CURRENT_F,
                                 SCARD_ATTR_EXTENDED_BWT, 0, 0xFFFFFFFF, (DWORD)-1, 0x100000000 };
    size_t i;
    for (i = 0; i < sizeof ids / sizeof *ids; i++) {
        GET_ATTRIBUTE(card, ids[i], 264), printf(" id 0x%lX", (unsigned long)ids[i]);
        forget();
        CALL(SCardGetAttrib(card, ids[i], NULL, &length)), NUMBER(length);
        CALL(SCardSetAttrib(card, ids[i], command, 2));
    }
}

static void part_attributes(void)
{
    static const DWORD rooms[] = { 0, 1, 7, 8, 9, 33, 264, 265, 600, 0xFFFFFFFF };
    static const DWORD sizes[] = { 1, 2, 4, 100, 263, 264, 265, 600, 0xFFFFFFFF, (DWORD)-1, 0x100000001 };
    BYTE *allocated;
    size_t i;
    ask("insert 0 T1");
    open_card();
    attributes_of(card);
    for (i = 0; i < sizeof rooms / sizeof *rooms; i++)
        GET_ATTRIBUTE(card, SCARD_ATTR_ATR_STRING, rooms[i]);
    forget();
    CALL(SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, value, NULL)), BYTES(value);
    CALL(SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, NULL, NULL));
    CALL(SCardGetAttrib(0, SCARD_ATTR_ATR_STRING, NULL, NULL));
    length = 0;
    CALL(SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, NULL, &length)), NUMBER(length);
    length = SCARD_AUTOALLOCATE;
    CALL(SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, NULL, &length)), NUMBER(length);
    allocated = value, length = SCARD_AUTOALLOCATE;
    CALL(SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, (LPBYTE)&allocated, &length)), NUMBER(length);
    pointer("allocated", allocated, value), bytes("allocated", allocated, length);
    CALL(SCardFreeMemory(context, allocated));
    say("memory for an attribute that is not there");
    allocated = value, length = SCARD_AUTOALLOCATE;
    CALL(SCardGetAttrib(card, SCARD_ATTR_CURRENT_F, (LPBYTE)&allocated, &length)), NUMBER(length);
    pointer("allocated", allocated, value);
    allocated = value, length = SCARD_AUTOALLOCATE;
    CALL(SCardGetAttrib(0, SCARD_ATTR_ATR_STRING, (LPBYTE)&allocated, &length)), NUMBER(length);
    pointer("allocated", allocated, value);
    say("set and get back");
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        echo(65535);
        CALL(SCardSetAttrib(card, ATTR_WRITABLE, command, sizes[i])), printf(" size 0x%lX", (unsigned long)sizes[i]);
        GET_ATTRIBUTE(card, ATTR_WRITABLE, 264);
    }
    CALL(SCardSetAttrib(card, ATTR_WRITABLE, command, 0));
    CALL(SCardSetAttrib(card, ATTR_WRITABLE, NULL, 4));
    CALL(SCardSetAttrib(card, ATTR_WRITABLE, NULL, 0));
    CALL(SCardSetAttrib(0, ATTR_WRITABLE, NULL, 0));
    say("a direct connection to an empty reader");
    CONNECT(context, READER1, SCARD_SHARE_DIRECT, 0, other_card);
    attributes_of(other_card);
    CALL(SCardReleaseContext(context));
}

static void part_change(void)
{
    static const DWORD currents[] = {
        SCARD_STATE_UNAWARE, SCARD_STATE_IGNORE, SCARD_STATE_CHANGED, SCARD_STATE_UNKNOWN, SCARD_STATE_UNAVAILABLE,
        SCARD_STATE_EMPTY, SCARD_STATE_PRESENT, SCARD_STATE_ATRMATCH, SCARD_STATE_EXCLUSIVE, SCARD_STATE_INUSE,
        SCARD_STATE_MUTE, SCARD_STATE_UNPOWERED, SCARD_STATE_PRESENT | SCARD_STATE_INUSE,
        SCARD_STATE_PRESENT | SCARD_STATE_EXCLUSIVE, SCARD_STATE_PRESENT | SCARD_STATE_MUTE, 0x00010010, 0x00010020,
        0x00020020, 0x00020120, 0x000200A0, 0xFFFF0020, 0x80000000, 0x100000000, (DWORD)-1 };
    static const char *const situations[] = { "remove 0", "insert 0 T1", "connected", "exclusive", "mute" };
    size_t i, j;
    int k;
    ESTABLISH(context);
    CALL(SCardGetStatusChange(context, 0, NULL, 0));
    CALL(SCardGetStatusChange(context, INFINITE, NULL, 0));
    CALL(SCardGetStatusChange(context, 0, NULL, 1));
    CALL(SCardGetStatusChange(0, 0, NULL, 1));
    watch(0, NULL, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
    watch(0, NULL, SCARD_STATE_IGNORE);
    CHANGE(context, 0, 1);
    watch(0, NULL, SCARD_STATE_UNAWARE);
    CHANGE(0, 0, 1);
    watch(0, READER0, SCARD_STATE_UNAWARE), watch(1, NULL, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_UNAWARE), watch(1, "no such reader", SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_UNAWARE), watch(1, "no such reader", SCARD_STATE_IGNORE);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_UNAWARE), watch(1, "no such reader", SCARD_STATE_UNKNOWN);
    CHANGE(context, 0, 2);
    watch(0, "", SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
    watch(0, "\xFF\xFE", SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
    memset(value, 'x', sizeof value), value[sizeof value - 1] = 0;
    watch(0, (char *)value, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
    watch(0, "PCSC-tests 00 00", SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);

    say("several readers");
    ask("insert 1 T0");
    watch(0, READER0, SCARD_STATE_UNAWARE), watch(1, READER1, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_EMPTY), watch(1, READER1, SCARD_STATE_EMPTY);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_EMPTY), watch(1, READER1, SCARD_STATE_PRESENT);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_EMPTY), watch(1, READER0, SCARD_STATE_PRESENT);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_IGNORE), watch(1, READER1, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_UNAWARE), watch(1, PNP, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    watch(0, READER0, SCARD_STATE_EMPTY), watch(1, PNP, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    CHANGE(context, 60, 2);
    watch(0, "\\\\?pnp?\\NOTIFICATION", SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 1);
    watch(0, PNP, SCARD_STATE_IGNORE);
    CHANGE(context, 0, 1);
    watch(0, PNP, 0x00070000);
    CHANGE(context, 60, 1);

    for (k = 14; k <= 18; k++) {
        for (i = 0; i < 20; i++)
            watch(i, READER0, SCARD_STATE_EMPTY);
        CHANGE(context, 0, k), printf(" for %d", k);
    }

    ask("remove 1");
    for (i = 0; i < sizeof situations / sizeof *situations; i++) {
        if (strchr(situations[i], ' '))
            ask(situations[i]);
        else
            say(situations[i]);
        if (strcmp(situations[i], "connected") == 0)
            CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
        if (strcmp(situations[i], "exclusive") == 0) {
            CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
            CONNECT(context, READER0, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, card);
        }
        if (strcmp(situations[i], "mute") == 0) {
            CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
            ask("mute 0 on");
            ask("remove 0");
            ask("insert 0 T1");
        }
        for (j = 0; j < sizeof currents / sizeof *currents; j++) {
            watch(0, READER0, currents[j]);
            CHANGE(context, 0, 1);
            watch(0, READER0, currents[j]);
            CHANGE(context, 10, 1);
        }
    }
    ask("mute 0 off");

    say("a time that is over");
    look_at(READER0);
    readers[0].dwCurrentState = readers[0].dwEventState;
    CHANGE(context, (DWORD)-2, 1);
    /* Not LONG_MIN: the stock library subtracts the milliseconds that have passed, and would wait for ever. */
    CHANGE(context, (DWORD)-1000000000, 1);

    say("until told");
    look_at(READER0);
    readers[0].dwCurrentState = readers[0].dwEventState;
    ask("remove 0");
    CHANGE(context, INFINITE, 1);
    readers[0].dwCurrentState = readers[0].dwEventState;
    ask("insert 0 T0_T1");
    CHANGE(context, (DWORD)-1, 1);
    readers[0].dwCurrentState = readers[0].dwEventState;
    CHANGE(context, 100, 1);
    CALL(SCardReleaseContext(context));
}

static LONG wait_for_change(void *argument)
{
    return SCardGetStatusChange(context, *(DWORD *)argument, readers, 1);
}

static LONG wait_for_reader1(void *argument)
{
    return SCardGetStatusChange(other_context, *(DWORD *)argument, readers + 1, 1);
}

static void watch_as_it_is(void)
{
    look_at(READER0);
    readers[0].dwCurrentState = readers[0].dwEventState;
}

/* The stock library drops a cancel that comes before the wait has begun: again until it is heard, which the next cancel is told. */
static void cancel_until_done(struct background *wait)
{
    LONG code = SCardCancel(context);
    if (code != SCARD_S_SUCCESS)
        say("SCardCancel failed");
    while (!is_done_within(wait, 5) && code == SCARD_S_SUCCESS)
        code = SCardCancel(context);
}

static void part_cancel(void)
{
    static DWORD forever = INFINITE, half_a_minute = 30000;
    struct background wait;
    int i;
    ESTABLISH(context);
    ESTABLISH(other_context);
    for (i = 0; i < 3; i++) {
        watch_as_it_is();
        start(&wait, wait_for_change, i == 1 ? &half_a_minute : &forever);
        cancel_until_done(&wait);
        join("SCardGetStatusChange", &wait), watched(1);
    }
    say("a cancel that nobody waits for is forgotten");
    watch_as_it_is();
    CALL(SCardCancel(context));
    CHANGE(context, 50, 1);
    watch(0, PNP, SCARD_STATE_UNAWARE);
    start(&wait, wait_for_change, &forever);
    cancel_until_done(&wait);
    join("SCardGetStatusChange of readers", &wait), watched(1);

    say("one context's cancel is not another's");
    watch_as_it_is();
    watch(1, READER1, SCARD_STATE_EMPTY);
    start(&wait, wait_for_reader1, &forever);
    look("SCardGetStatusChange", &wait, WAITS);
    CALL(SCardCancel(context));
    look("SCardGetStatusChange", &wait, WAITS);
    ask("insert 1 T1");
    join("SCardGetStatusChange", &wait);

    say("a change ends a wait");
    watch_as_it_is();
    start(&wait, wait_for_change, &forever);
    look("SCardGetStatusChange", &wait, WAITS);
    ask("insert 0 T0");
    join("SCardGetStatusChange", &wait), printf(" event=0x%lX", (unsigned long)readers[0].dwEventState & 0xFFFF);
    CALL(SCardReleaseContext(context));
    CALL(SCardReleaseContext(other_context));
}

static void release_during_wait(void)
{
    static DWORD forever = INFINITE;
    struct background wait;
    ESTABLISH(context);
    watch_as_it_is();
    start(&wait, wait_for_change, &forever);
    look("SCardGetStatusChange", &wait, WAITS);
    /* The stock library hangs here. */
    if (getenv("DIFFERENTIAL_HANGS") != NULL)
        alarm(10);
    CALL(SCardReleaseContext(context));
    join("SCardGetStatusChange", &wait);
}

static LONG slow_transmit(void *argument)
{
    /* Eight seconds: it must go on when it has been looked at. */
    static const BYTE slow[] = { 0x80, 0xDE, 0x1F, 0x40 };
    static BYTE answer[2];
    DWORD room = sizeof answer;
    return SCardTransmit(*(SCARDHANDLE *)argument, SCARD_PCI_T1, slow, sizeof slow, NULL, answer, &room);
}

static void release_during_transmit(void)
{
    struct background exchange;
    open_card();
    start(&exchange, slow_transmit, &card);
    look("SCardTransmit", &exchange, WAITS);
    CALL(SCardReleaseContext(context));
    join("SCardTransmit", &exchange);
    CALL(SCardIsValidContext(context));
}

static void part_release(void)
{
    ask("insert 0 T1");
    in_child(release_during_transmit);
    in_child(release_during_wait);
}

static void part_sharing(void)
{
    ask("insert 0 T0_T1");
    ESTABLISH(context);
    ESTABLISH(other_context);
    say("exclusive keeps others out");
    CONNECT(context, READER0, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, card);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    CONNECT(other_context, READER0, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, other_card);
    CONNECT(other_context, READER0, SCARD_SHARE_DIRECT, SCARD_PROTOCOL_ANY, other_card);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    /* With pcscd the card is still held: nobody else could connect. */
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    say("shared keeps exclusive out");
    CONNECT(other_context, READER0, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, other_card);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0, other_card);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    look_at(READER0);
    say("a handle is of use to its context only");
    CALL(SCardReleaseContext(context));
    STATUS(other_card, sizeof name, sizeof atr);
    ESTABLISH(context);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    say("a reset is told to the other once");
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_RESET_CARD);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80C00000"), 300);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("80C00000"), 300);
    STATUS(other_card, sizeof name, sizeof atr);
    CALL(SCardBeginTransaction(other_card));
    CALL(SCardEndTransaction(other_card, SCARD_LEAVE_CARD));
    CONTROL(other_card, CTL_ECHO, apdu("0102"), 300);
    GET_ATTRIBUTE(other_card, SCARD_ATTR_ATR_STRING, 264);
    RECONNECT(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("80C00000"), 300);
    STATUS(other_card, sizeof name, sizeof atr);
    say("so is one by a disconnection");
    CALL(SCardDisconnect(card, SCARD_RESET_CARD));
    STATUS(other_card, sizeof name, sizeof atr);
    RECONNECT(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardDisconnect(card, SCARD_UNPOWER_CARD));
    STATUS(other_card, sizeof name, sizeof atr);
    RECONNECT(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_RESET_CARD);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardDisconnect(card, SCARD_EJECT_CARD));
    STATUS(other_card, sizeof name, sizeof atr);
    RECONNECT(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    say("a connection lost with its context");
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardReleaseContext(context));
    STATUS(other_card, sizeof name, sizeof atr);
    RECONNECT(other_card, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    CALL(SCardReleaseContext(other_context));
}

static LONG begin_other(void *unused)
{
    (void)unused;
    return SCardBeginTransaction(other_card);
}

static LONG transmit_other(void *unused)
{
    static const BYTE hello[4];
    static BYTE answer[300];
    DWORD room = sizeof answer;
    (void)unused;
    return SCardTransmit(other_card, SCARD_PCI_T1, hello, sizeof hello, NULL, answer, &room);
}

static LONG status_other(void *unused)
{
    (void)unused;
    return SCardStatus(other_card, NULL, NULL, NULL, NULL, NULL, NULL);
}

static LONG reconnect_other(void *unused)
{
    DWORD active;
    (void)unused;
    return SCardReconnect(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active);
}

static LONG connect_other(void *argument)
{
    DWORD active;
    return SCardConnect(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, argument, &active);
}

static LONG control_other(void *unused)
{
    (void)unused;
    return SCardControl(other_card, CTL_ECHO, NULL, 0, NULL, 0, NULL);
}

static LONG attribute_other(void *unused)
{
    DWORD room = 0;
    (void)unused;
    return SCardGetAttrib(other_card, SCARD_ATTR_ATR_STRING, NULL, &room);
}

static LONG end_other(void *unused)
{
    (void)unused;
    return SCardEndTransaction(other_card, SCARD_LEAVE_CARD);
}

static void part_transactions(void)
{
    SCARDHANDLE third;
    const enum outcome may_block = getenv("PCSCLITE_NO_BLOCKING") ? ANSWERS : WAITS;
    const struct {
        const char *name;
        LONG (*call)(void *);
        void *argument;
        enum outcome outcome;
    } calls[] = { { "SCardBeginTransaction", begin_other, NULL, WAITS },
                  { "SCardTransmit", transmit_other, NULL, may_block },
                  { "SCardStatus", status_other, NULL, may_block },
                  { "SCardReconnect", reconnect_other, NULL, may_block },
                  { "SCardConnect", connect_other, &third, WAITS },
                  { "SCardControl", control_other, NULL, ANSWERS },
                  { "SCardGetAttrib", attribute_other, NULL, ANSWERS },
                  { "SCardEndTransaction", end_other, NULL, ANSWERS } };
    struct background call;
    size_t i;
    ask("insert 0 T1");
    open_card();
    ESTABLISH(other_context);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    say("alone");
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    CALL(SCardBeginTransaction(card));
    CALL(SCardBeginTransaction(card));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    CALL(SCardBeginTransaction(card));
    CALL(SCardEndTransaction(card, 77));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    for (i = 0; i < sizeof calls / sizeof *calls; i++) {
        say("one holds the card, the other asks for it");
        CALL(SCardBeginTransaction(card));
        start(&call, calls[i].call, calls[i].argument);
        look(calls[i].name, &call, calls[i].outcome);
        TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
        CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
        join(calls[i].name, &call);
        if (calls[i].call == begin_other)
            CALL(SCardEndTransaction(other_card, SCARD_LEAVE_CARD));
        if (calls[i].call == connect_other && call.code == SCARD_S_SUCCESS)
            CALL(SCardDisconnect(third, SCARD_LEAVE_CARD));
    }
    say("a reset at the end");
    CALL(SCardBeginTransaction(card));
    CALL(SCardEndTransaction(card, SCARD_RESET_CARD));
    STATUS(card, sizeof name, sizeof atr);
    STATUS(other_card, sizeof name, sizeof atr);
    RECONNECT(other_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    say("a holder that disconnects");
    CALL(SCardBeginTransaction(card));
    start(&call, begin_other, NULL);
    look("SCardBeginTransaction", &call, WAITS);
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    join("SCardBeginTransaction", &call);
    CALL(SCardEndTransaction(other_card, SCARD_LEAVE_CARD));
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    say("a holder whose context is released");
    CALL(SCardBeginTransaction(card));
    start(&call, begin_other, NULL);
    look("SCardBeginTransaction", &call, WAITS);
    CALL(SCardReleaseContext(context));
    join("SCardBeginTransaction", &call);
    CALL(SCardEndTransaction(other_card, SCARD_LEAVE_CARD));
    say("a card that is removed meanwhile");
    ESTABLISH(context);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardBeginTransaction(card));
    ask("remove 0");
    CALL(SCardBeginTransaction(other_card));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    CALL(SCardReleaseContext(context));
    CALL(SCardReleaseContext(other_context));
}

static void part_cards(void)
{
    ask("insert 0 T1");
    open_card();
    say("removed");
    ask("remove 0");
    STATUS(card, sizeof name, sizeof atr);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    CONTROL(card, CTL_ECHO, apdu("0102"), 300);
    CALL(SCardBeginTransaction(card));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    GET_ATTRIBUTE(card, SCARD_ATTR_ATR_STRING, 264);
    CALL(SCardSetAttrib(card, ATTR_WRITABLE, command, 2));
    look_at(READER0);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    say("another card");
    ask_for_unused("insert 0 T0");
    STATUS(card, sizeof name, sizeof atr);
    look_at(READER0);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    used_in_time();
    TRANSMIT(card, SCARD_PCI_T0, apdu("00000000"), 300);
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    say("mute");
    ask("mute 0 on");
    ask("remove 0");
    ask("insert 0 T1");
    look_at(READER0);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CONNECT(context, READER0, SCARD_SHARE_DIRECT, 0, card);
    STATUS(card, sizeof name, sizeof atr);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_RESET_CARD);
    ask("mute 0 off");
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_RESET_CARD);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    ask("mute 0 on");
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_UNPOWER_CARD);
    STATUS(card, sizeof name, sizeof atr);
    CALL(SCardDisconnect(card, SCARD_RESET_CARD));
    ask("mute 0 off");
    ask("remove 0");
    ask("insert 0 T1");
    say("a failing exchange");
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    ask("fail 0 on");
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    STATUS(card, sizeof name, sizeof atr);
    ask("fail 0 off");
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    say("a reader that is gone");
    ask("unplug 0");
    look_at(READER0);
    STATUS(card, sizeof name, sizeof atr);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    CONTROL(card, CTL_ECHO, apdu("0102"), 300);
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    CONNECT(context, READER0, SCARD_SHARE_DIRECT, 0, other_card);
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    ask("plug 0");
    look_at(READER0);
    ask("insert 0 T1");
    CONNECT(context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    CALL(SCardReleaseContext(context));
}

static void use_parents_handles(void)
{
    CALL(SCardIsValidContext(context));
    length = UNTOUCHED;
    CALL(SCardListReaders(context, NULL, NULL, &length)), NUMBER(length);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80C00000"), 300);
    STATUS(card, sizeof name, sizeof atr);
    CALL(SCardCancel(context));
    say("the child's own");
    ESTABLISH(other_context);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("00000000"), 300);
    CALL(SCardReleaseContext(other_context));
}

static void leave_parents_handles_alone(void)
{
    ESTABLISH(other_context);
    CONNECT(other_context, READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, other_card);
    TRANSMIT(other_card, SCARD_PCI_T1, apdu("00000000"), 300);
    CALL(SCardReleaseContext(other_context));
}

static void release_parents_context(void)
{
    CALL(SCardReleaseContext(context));
}

static void part_fork(void)
{
    ask("insert 0 T1");
    open_card();
    in_child(leave_parents_handles_alone);
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    say("a child with its parent's handles");
    in_child(use_parents_handles);
    say("the parent again");
    TRANSMIT(card, SCARD_PCI_T1, apdu("80C00000"), 300);
    in_child(release_parents_context);
    TRANSMIT(card, SCARD_PCI_T1, apdu("80C00000"), 300);
    CALL(SCardReleaseContext(context));
}

static LONG endless_transmit(void *unused)
{
    static const BYTE slow[] = { 0x80, 0xDE, 0xFF, 0xFF };
    static BYTE answer[2];
    DWORD room = sizeof answer;
    (void)unused;
    return SCardTransmit(card, SCARD_PCI_T1, slow, sizeof slow, NULL, answer, &room);
}

static void part_restart(void)
{
    static DWORD forever = INFINITE;
    SCARDCONTEXT dead[3];
    SCARDHANDLE dead_card;
    struct background call;
    ask("insert 0 T1");
    open_card();
    dead[0] = context, dead_card = card;
    ESTABLISH(other_context);
    dead[1] = other_context;
    ESTABLISH(dead[2]);
    ask("kill");
    ESTABLISH(context);
    CALL(SCardIsValidContext(dead[0]));
    TRANSMIT(dead_card, SCARD_PCI_T1, apdu("00000000"), 300);
    TRANSMIT(dead_card, SCARD_PCI_T1, apdu("00000000"), 300);
    STATUS(dead_card, sizeof name, sizeof atr);
    CALL(SCardDisconnect(dead_card, SCARD_LEAVE_CARD));
    CALL(SCardBeginTransaction(dead_card));
    CALL(SCardEndTransaction(dead_card, SCARD_LEAVE_CARD));
    RECONNECT(dead_card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    CONTROL(dead_card, CTL_ECHO, 4, 300);
    GET_ATTRIBUTE(dead_card, SCARD_ATTR_ATR_STRING, 264);
    CALL(SCardSetAttrib(dead_card, ATTR_WRITABLE, command, 4));
    length = UNTOUCHED;
    CALL(SCardListReaders(dead[0], NULL, NULL, &length)), NUMBER(length);
    CONNECT(dead[0], READER0, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    watch(0, READER0, SCARD_STATE_UNAWARE);
    CHANGE(dead[0], 0, 1);
    CALL(SCardCancel(dead[0]));
    forget();
    CALL(SCardListReaderGroups(dead[0], NULL, &length)), NUMBER(length);
    CALL(SCardReleaseContext(dead[0]));
    CALL(SCardReleaseContext(dead[0]));
    watch(0, READER0, SCARD_STATE_UNAWARE);
    CHANGE(dead[1], 1000, 1);
    CALL(SCardReleaseContext(dead[2]));
    ask("restart");
    CALL(SCardIsValidContext(dead[1]));
    length = UNTOUCHED;
    CALL(SCardListReaders(dead[1], NULL, NULL, &length)), NUMBER(length);
    CALL(SCardReleaseContext(dead[1]));
    ask("insert 0 T1");
    open_card();
    TRANSMIT(card, SCARD_PCI_T1, apdu("00000000"), 300);
    say("in the middle of an exchange");
    start(&call, endless_transmit, NULL);
    look("SCardTransmit", &call, WAITS);
    ask("kill");
    join("SCardTransmit", &call);
    CALL(SCardReleaseContext(context));
    ask("restart");
    say("in the middle of a wait");
    ESTABLISH(context);
    watch_as_it_is();
    start(&call, wait_for_change, &forever);
    look("SCardGetStatusChange", &call, WAITS);
    ask("kill");
    join("SCardGetStatusChange", &call);
    CALL(SCardReleaseContext(context));
}

static void part_no_daemon(void)
{
    int i;
    in_child(without_context_pointer);
    for (i = 0; i < 3; i++)
        ESTABLISH(context);
    in_child(try_handle);
}

struct client {
    SCARDCONTEXT context;
    const char *reader;
};

static LONG client(void *argument)
{
    static const BYTE hello[4];
    struct client *own = argument;
    SCARDHANDLE connection;
    BYTE answer[300];
    DWORD active, room;
    LONG code = 0;
    int i;
    for (i = 0; i < 20 && code == 0; i++) {
        code = SCardConnect(own->context, own->reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &connection, &active);
        if (code != 0)
            break;
        room = sizeof answer;
        code = SCardTransmit(connection, SCARD_PCI_T1, hello, sizeof hello, NULL, answer, &room);
        if (code == 0 && (room != 14 || memcmp(answer, "Hello world!\x90", 14) != 0))
            code = SCARD_F_INTERNAL_ERROR;
        if (code == 0)
            code = SCardDisconnect(connection, SCARD_LEAVE_CARD);
    }
    return code;
}

/* 16 threads at once. Their contexts come before them and end after them: stock may crash where a thread releases
 * one while others look for theirs. */
static void part_threads(void)
{
    struct background threads[16];
    struct client clients[16];
    size_t i;
    ask("insert 0 T1");
    ask("insert 1 T1");
    for (i = 0; i < 16; i++) {
        clients[i].reader = i % 2 ? READER1 : READER0;
        ESTABLISH(clients[i].context);
    }
    for (i = 0; i < 16; i++)
        start(&threads[i], client, &clients[i]);
    for (i = 0; i < 16; i++)
        join("20 rounds", &threads[i]);
    for (i = 0; i < 16; i++)
        CALL(SCardReleaseContext(clients[i].context));
}

/* One call of each kind, whatever the others gave: a daemon of the test's answers what a real one does not. */
static void part_answers(void)
{
    static char reader[300];
    static const DWORD pci_protocols[] = { 0, 1, 2, 7, 0xFFFFFFFF, 0x100000001 };
    BYTE *allocated = value;
    size_t i;
    ESTABLISH(context);
    length = sizeof reader;
    CALL(SCardListReaders(context, NULL, reader, &length)), NUMBER(length);
    CONNECT(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card);
    for (i = 0; i < sizeof pci_protocols / sizeof *pci_protocols; i++) {
        forget(), apdu("00000000");
        receive_pci.dwProtocol = pci_protocols[i];
        receive_pci.cbPciLength = 10 + i;
        TRANSMIT_WITH(card, SCARD_PCI_T1, &receive_pci, 4, 300);
        NUMBER(receive_pci.dwProtocol), NUMBER(receive_pci.cbPciLength);
    }
    forget(), apdu("00000000");
    TRANSMIT_WITH(card, SCARD_PCI_T1, NULL, 4, 300);
    RECONNECT(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD);
    CALL(SCardBeginTransaction(card));
    STATUS(card, sizeof name, sizeof atr);
    CONTROL(card, CTL_ECHO, apdu("01020304"), 300);
    CALL(SCardControl(card, CTL_ECHO, command, 4, response, 300, NULL)), BYTES(response);
    GET_ATTRIBUTE(card, SCARD_ATTR_ATR_STRING, 264);
    GET_ATTRIBUTE(card, SCARD_ATTR_ATR_STRING, 3);
    forget();
    CALL(SCardGetAttrib(card, SCARD_ATTR_VENDOR_NAME, NULL, &length)), NUMBER(length);
    length = SCARD_AUTOALLOCATE;
    CALL(SCardGetAttrib(card, SCARD_ATTR_CHANNEL_ID, (LPBYTE)&allocated, &length)), NUMBER(length);
    CALL(SCardSetAttrib(card, ATTR_WRITABLE, command, 4));
    CALL(SCardEndTransaction(card, SCARD_LEAVE_CARD));
    watch(0, reader, SCARD_STATE_UNAWARE), watch(1, PNP, SCARD_STATE_UNAWARE);
    CHANGE(context, 0, 2);
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    CALL(SCardDisconnect(card, SCARD_LEAVE_CARD));
    CALL(SCardReleaseContext(context));
    CALL(SCardReleaseContext(context));
}

#include "random_calls.h"

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*part)(void);
    } parts[] = { { "globals", part_globals },
                  { "uninitialized", part_uninitialized },
                  { "contexts", part_contexts },
                  { "handles", part_handles },
                  { "lists", part_lists },
                  { "no_readers", part_no_readers },
                  { "connect", part_connect },
                  { "reconnect", part_reconnect },
                  { "status", part_status },
                  { "transmit", part_transmit },
                  { "control", part_control },
                  { "attributes", part_attributes },
                  { "change", part_change },
                  { "cancel", part_cancel },
                  { "release", part_release },
                  { "sharing", part_sharing },
                  { "transactions", part_transactions },
                  { "cards", part_cards },
                  { "fork", part_fork },
                  { "restart", part_restart },
                  { "no_daemon", part_no_daemon },
                  { "threads", part_threads },
                  { "answers", part_answers },
                  { "random", part_random } };
    SCARDCONTEXT kept;
    size_t i;
    /*
     * Readers that this process manages itself are there as long as a context
     * is, and count their events from the first look at them.
     */
    if (getenv("DIFFERENTIAL_KEEPS_READERS") != NULL) {
        SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &kept);
        watch(0, READER0, SCARD_STATE_UNAWARE);
        watch(1, READER1, SCARD_STATE_UNAWARE);
        SCardGetStatusChange(kept, 0, readers, 2);
    }
    for (i = 0; i < sizeof parts / sizeof *parts; i++)
        if (count == 2 && strcmp(parts[i].name, arguments[1]) == 0) {
            parts[i].part();
            end_line();
            return 0;
        }
    fprintf(stderr, "usage: differential PART\n");
    return 2;
}
