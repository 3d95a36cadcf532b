/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The part "random" of differential.c: a sequence of calls that depends on the
 * number in DIFFERENTIAL_SEED alone. It leaves out what would wait for another
 * connection of the same thread, and where pcscd is known to differ from our
 * resource manager.
 *
 * A card that nothing uses loses its power after some seconds, which a busy
 * machine may take. So no output depends on that: each card has one protocol,
 * and is reset before it is used by a connection that did not keep its power.
 */
#define CONTEXTS 3
#define CARDS 6

static SCARDCONTEXT contexts[CONTEXTS];
static struct {
    SCARDHANDLE card;
    int context, reader, held, is_exclusive;
    /* Whether it has kept its card powered. */
    int has_power;
} cards[CARDS];
static uint64_t chance_state;

/* A number below `bound`: always the same for a seed. */
static unsigned chance(unsigned bound)
{
    chance_state = chance_state * 6364136223846793005 + 1442695040888963407;
    return (unsigned)(chance_state >> 33) % bound;
}

#define ONE_OF(array) array[chance(sizeof array / sizeof *array)]

/* Whether another connection than `own` may have the reader for itself: a call that waits for it would not end. */
static int is_held(int reader, int own)
{
    int i;
    for (i = 0; i < CARDS; i++)
        if (i != own && cards[i].card && cards[i].reader == reader && (cards[i].held || cards[i].is_exclusive))
            return 1;
    return 0;
}

static int is_card_in[2];

static int is_shared(int own)
{
    int i;
    for (i = 0; i < CARDS; i++)
        if (i != own && cards[i].card && cards[i].reader == cards[own].reader)
            return 1;
    return 0;
}

static void random_connect(int i)
{
    static const char *const names[] = { READER0, READER1 };
    static const DWORD shares[] = { SCARD_SHARE_SHARED, SCARD_SHARE_SHARED, SCARD_SHARE_SHARED, SCARD_SHARE_SHARED,
                                    SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_DIRECT, SCARD_SHARE_DIRECT, 0, 9 };
    static const DWORD protocols[] = { SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_PROTOCOL_T1,
                                       0, 0x1000, 8 };
    int own = chance(CONTEXTS), reader = chance(2);
    DWORD share = ONE_OF(shares), wanted = ONE_OF(protocols);
    LONG code;
    if (cards[i].card || !contexts[own] || is_held(reader, -1))
        return;
    forget(), card = UNTOUCHED;
    code = CALL(SCardConnect(contexts[own], names[reader], share, wanted, &card, &protocol));
    HANDLE(card);
    /* pcscd gives one also where it refuses to share the reader. */
    if (code != SCARD_E_SHARING_VIOLATION)
        NUMBER(protocol);
    printf(" for card %d context %d reader %d 0x%lX 0x%lX", i, own, reader, (unsigned long)share,
           (unsigned long)wanted);
    cards[i].card = card;
    cards[i].context = own, cards[i].reader = reader, cards[i].held = 0;
    cards[i].is_exclusive = share == SCARD_SHARE_EXCLUSIVE;
    cards[i].has_power = share != SCARD_SHARE_DIRECT;
}

static void random_reconnect(int i)
{
    static const DWORD shares[] = { SCARD_SHARE_SHARED, SCARD_SHARE_SHARED, SCARD_SHARE_SHARED,
                                    SCARD_SHARE_DIRECT, SCARD_SHARE_EXCLUSIVE, 0 };
    static const DWORD protocols[] = { SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY, SCARD_PROTOCOL_ANY,
                                       SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1,
                                       0, 0x1000 };
    DWORD share = ONE_OF(shares), wanted = ONE_OF(protocols), initialization = chance(4);
    LONG code;
    /* pcscd leaves a card locked that such a connection has shared again. */
    if (cards[i].is_exclusive)
        share = SCARD_SHARE_EXCLUSIVE;
    /* pcscd resets the card, and chooses its protocol, before it refuses a connection that is not the only one. */
    else if (share == SCARD_SHARE_EXCLUSIVE && is_shared(i))
        return;
    if (initialization == SCARD_LEAVE_CARD && !cards[i].has_power)
        initialization = SCARD_RESET_CARD;
    forget();
    code = CALL(SCardReconnect(cards[i].card, share, wanted, initialization, &protocol));
    NUMBER(protocol);
    printf(" for card %d 0x%lX 0x%lX %lu", i, (unsigned long)share, (unsigned long)wanted,
           (unsigned long)initialization);
    if (code == SCARD_S_SUCCESS && share == SCARD_SHARE_EXCLUSIVE)
        cards[i].is_exclusive = 1;
    if (code == SCARD_S_SUCCESS)
        cards[i].has_power = share != SCARD_SHARE_DIRECT;
}

static void random_status(int i)
{
    static const DWORD rooms[] = { 0, 1, 5, 8, 17, 18, 33, 64 };
    DWORD name_room = ONE_OF(rooms), atr_room = ONE_OF(rooms);
    STATUS(cards[i].card, name_room, atr_room);
    printf(" for card %d", i);
}

static void random_transmit(int i)
{
    static const char *const apdus[] = { "00000000", "80EC00000401020304", "00A4040003A00000", "80" };
    static const DWORD rooms[] = { 0, 1, 2, 6, 258, 300, 65548 };
    const SCARD_IO_REQUEST *pci = chance(6) == 0 ? SCARD_PCI_RAW : chance(2) ? SCARD_PCI_T0 : SCARD_PCI_T1;
    DWORD sent = (forget(), apdu(ONE_OF(apdus))), room = ONE_OF(rooms);
    if (!cards[i].has_power)
        return;
    TRANSMIT(cards[i].card, pci, sent, room);
    printf(" for card %d protocol %lu", i, (unsigned long)pci->dwProtocol);
}

static void random_attribute(int i)
{
    static const DWORD ids[] = { SCARD_ATTR_ATR_STRING, SCARD_ATTR_VENDOR_NAME, SCARD_ATTR_ICC_PRESENCE,
                                 SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, ATTR_WRITABLE, SCARD_ATTR_CURRENT_F };
    static const DWORD rooms[] = { 0, 3, 8, 33, 264, 265 };
    DWORD id = ONE_OF(ids), room = ONE_OF(rooms);
    if (!cards[i].has_power)
        id = SCARD_ATTR_VENDOR_NAME;
    GET_ATTRIBUTE(cards[i].card, id, room);
    printf(" id 0x%lX for card %d", (unsigned long)id, i);
}

static void random_change(void)
{
    static const DWORD currents[] = { SCARD_STATE_UNAWARE, SCARD_STATE_EMPTY, SCARD_STATE_PRESENT,
                                      SCARD_STATE_PRESENT | SCARD_STATE_INUSE, SCARD_STATE_IGNORE,
                                      SCARD_STATE_PRESENT | SCARD_STATE_EXCLUSIVE, SCARD_STATE_UNAVAILABLE };
    int own = chance(CONTEXTS);
    if (!contexts[own])
        return;
    watch(0, READER0, ONE_OF(currents)), watch(1, READER1, ONE_OF(currents));
    CHANGE(contexts[own], 0, 1 + chance(2));
}

static void random_disconnect(int i)
{
    DWORD disposition = chance(5);
    LONG code;
    /* pcscd reports a reset of no card, and gives no power to a card for connections that another has left without. */
    if (!is_card_in[cards[i].reader] || (disposition == SCARD_UNPOWER_CARD && is_shared(i)))
        disposition = SCARD_LEAVE_CARD;
    if (disposition != SCARD_LEAVE_CARD && is_held(cards[i].reader, i))
        return;
    code = CALL(SCardDisconnect(cards[i].card, disposition));
    printf(" for card %d %lu", i, (unsigned long)disposition);
    if (code == SCARD_S_SUCCESS)
        memset(&cards[i], 0, sizeof cards[i]);
}

static void random_transaction(int i)
{
    DWORD disposition = chance(3) ? SCARD_LEAVE_CARD : chance(5);
    if (chance(2)) {
        if (is_held(cards[i].reader, i))
            return;
        if (CALL(SCardBeginTransaction(cards[i].card)) == SCARD_S_SUCCESS)
            cards[i].held++;
    } else {
        if (CALL(SCardEndTransaction(cards[i].card, disposition)) == SCARD_S_SUCCESS && cards[i].held)
            cards[i].held--;
        printf(" for %lu", (unsigned long)disposition);
    }
    printf(" for card %d", i);
}

static void random_context(void)
{
    int own = chance(CONTEXTS), i;
    if (!contexts[own]) {
        ESTABLISH(contexts[own]);
        return;
    }
    for (i = 0; i < CARDS; i++)
        if (cards[i].card && cards[i].context == own && is_held(cards[i].reader, i))
            return;
    if (chance(3))
        return;
    CALL(SCardReleaseContext(contexts[own]));
    printf(" for context %d", own);
    contexts[own] = 0;
    for (i = 0; i < CARDS; i++)
        if (cards[i].context == own)
            memset(&cards[i], 0, sizeof cards[i]);
}

static void random_order(void)
{
    static const char *const orders[] = { "insert %d T0", "insert %d T1", "remove %d",
                                          "fail %d on", "fail %d off", "fail %d off" };
    char order[32];
    int reader = chance(2), i;
    const char *form = ONE_OF(orders);
    if (form[0] == 'i') {
        snprintf(order, sizeof order, "remove %d", reader);
        ask(order);
    }
    snprintf(order, sizeof order, form, reader);
    for (i = 0; i < CARDS && form[0] != 'f'; i++)
        if (cards[i].reader == reader)
            cards[i].has_power = 0;
    is_card_in[reader] = form[0] == 'i' || (form[0] != 'r' && is_card_in[reader]);
    say(order);
    ask(order);
}

static void part_random(void)
{
    const char *seed = getenv("DIFFERENTIAL_SEED");
    int step, i;
    chance_state = seed ? strtoull(seed, NULL, 0) : 1;
    chance(1), chance(1);
    ask("insert 0 T1");
    ask("insert 1 T0");
    is_card_in[0] = is_card_in[1] = 1;
    for (i = 0; i < CONTEXTS; i++)
        ESTABLISH(contexts[i]);
    for (step = 0; step < 150; step++) {
        unsigned kind = chance(20);
        i = chance(CARDS);
        if (kind < 3 || (kind < 17 && !cards[i].card))
            random_connect(i);
        else if (kind < 5)
            random_reconnect(i);
        else if (kind < 7)
            random_disconnect(i);
        else if (kind < 10)
            random_transaction(i);
        else if (kind < 11)
            random_status(i);
        else if (kind < 13)
            random_transmit(i);
        else if (kind < 14)
            random_attribute(i);
        else if (kind < 15)
            CONTROL(cards[i].card, chance(2) ? CTL_ECHO : CM_IOCTL_GET_FEATURE_REQUEST, apdu("010203"), 100),
                printf(" for card %d", i);
        else if (kind < 18)
            random_change();
        else if (kind < 19)
            random_context();
        else if (kind < 20 && chance(2))
            random_order();
    }
    for (i = 0; i < CONTEXTS; i++)
        if (contexts[i])
            CALL(SCardReleaseContext(contexts[i]));
}
