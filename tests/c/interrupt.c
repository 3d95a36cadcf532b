/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What interrupts a call: signals whose handler calls SCardCancel, and
 * pthread_cancel.
 *
 * interrupt storm SIGNALS: makes every call over and over, until so many
 * signals have been sent, each after a short pause; their handler cancels the
 * context in use. interrupt cancel: cancels threads in and before calls.
 *
 * Uses the first reader, which has a card. Prints what is wrong, and exits
 * with 0 if nothing is.
 */
#include <winscard.h>

#include <reader.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static SCARDCONTEXT context, other_context;
static SCARDHANDLE card, other_card;
static DWORD protocol;
static char reader[256];
static atomic_int wrong;

static const BYTE command[] = {0x80, 0xC0, 0, 0};

#define EXPECT(call, expected)                                                      \
    do {                                                                            \
        LONG code_ = (call);                                                        \
        if (code_ != (LONG)(expected) && wrong++ < 20)                              \
            printf("line %d: %s: %s\n", __LINE__, #call, pcsc_stringify_error(code_)); \
    } while (0)

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition) && wrong++ < 20)                                           \
            printf("line %d: not so: %s\n", __LINE__, #condition);                  \
    } while (0)

static void open_card(SCARDCONTEXT *context, SCARDHANDLE *card)
{
    SCARD_READERSTATE state = {.szReader = reader};
    DWORD length = sizeof reader;
    EXPECT(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, context), SCARD_S_SUCCESS);
    EXPECT(SCardListReaders(*context, NULL, reader, &length), SCARD_S_SUCCESS);
    EXPECT(SCardGetStatusChange(*context, 10000, &state, 1), SCARD_S_SUCCESS);
    EXPECT(SCardConnect(*context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, card, &protocol),
           SCARD_S_SUCCESS);
    if (wrong)
        exit(3);
}

static LONG transmit(SCARDHANDLE card)
{
    BYTE response[300];
    DWORD length = sizeof response;
    return SCardTransmit(card, protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1, command,
                         sizeof command, NULL, response, &length);
}

/* A wait that only something from outside ends. */
static LONG wait_forever(SCARDCONTEXT context)
{
    SCARD_READERSTATE state = {.szReader = reader};
    LONG code = SCardGetStatusChange(context, 0, &state, 1);
    while (code == SCARD_S_SUCCESS) {
        state.dwCurrentState = state.dwEventState & ~SCARD_STATE_CHANGED;
        code = SCardGetStatusChange(context, INFINITE, &state, 1);
    }
    return code;
}

/* Every call once. A cancel ends waits only. */
static void all_calls(void)
{
    SCARD_READERSTATE state = {.szReader = reader};
    SCARDCONTEXT fresh;
    SCARDHANDLE second;
    DWORD length, status, active, atr_length;
    BYTE value[MAX_BUFFER_SIZE];
    char name[300];
    LONG code;

    EXPECT(SCardIsValidContext(context), SCARD_S_SUCCESS);
    length = sizeof name;
    EXPECT(SCardListReaders(context, NULL, name, &length), SCARD_S_SUCCESS);
    code = SCardGetStatusChange(context, 0, &state, 1);
    CHECK(code == SCARD_S_SUCCESS || code == (LONG)SCARD_E_CANCELLED);
    state.dwCurrentState = state.dwEventState & 0xFFFF & ~SCARD_STATE_CHANGED;
    code = SCardGetStatusChange(context, 1, &state, 1);
    CHECK(code == SCARD_S_SUCCESS || code == (LONG)SCARD_E_CANCELLED || code == (LONG)SCARD_E_TIMEOUT);
    EXPECT(SCardConnect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &second, &active),
           SCARD_S_SUCCESS);
    EXPECT(SCardBeginTransaction(second), SCARD_S_SUCCESS);
    EXPECT(transmit(second), SCARD_S_SUCCESS);
    EXPECT(SCardEndTransaction(second, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
    EXPECT(SCardReconnect(second, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active),
           SCARD_S_SUCCESS);
    length = sizeof name, atr_length = sizeof value;
    EXPECT(SCardStatus(second, name, &length, &status, &active, value, &atr_length), SCARD_S_SUCCESS);
    length = sizeof value;
    EXPECT(SCardGetAttrib(second, SCARD_ATTR_ATR_STRING, value, &length), SCARD_S_SUCCESS);
    EXPECT(SCardDisconnect(second, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
    EXPECT(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &fresh), SCARD_S_SUCCESS);
    EXPECT(SCardReleaseContext(fresh), SCARD_S_SUCCESS);
}

/* ---- Signals ---- */

static atomic_long handled;
static atomic_int is_over;
static pthread_t target;

static void on_signal(int number)
{
    /* A value that no system call gives. */
    const int odd = 4711;
    /* Of the interrupted code, which may be about to read it. */
    const int saved = errno;
    (void)number;
    errno = odd;
    EXPECT(SCardCancel(context), SCARD_S_SUCCESS);
    CHECK(errno == odd);
    errno = saved;
    handled++;
}

static void *send_signals(void *count)
{
    for (long i = 0; i < *(long *)count; i++) {
        /* From 0 to 250 us, so that signals come at any place. */
        const struct timespec pause = {0, i * 7919 % 250000};
        pthread_kill(target, SIGUSR1);
        nanosleep(&pause, NULL);
    }
    is_over = 1;
    return NULL;
}

static void storm(long count)
{
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t sender;
    long rounds = 0;
    open_card(&context, &card);
    sigaction(SIGUSR1, &action, NULL);
    target = pthread_self();
    pthread_create(&sender, NULL, send_signals, &count);
    for (; !is_over; rounds++)
        all_calls();
    pthread_join(sender, NULL);
    signal(SIGUSR1, SIG_IGN);
    EXPECT(SCardReleaseContext(context), SCARD_S_SUCCESS);
    printf("%ld of %ld signals handled in %ld rounds\n", (long)handled, count, rounds);
    CHECK(handled > count / 100);
}

/* ---- Thread cancellation ---- */

static sem_t is_here;
static int was_cleaned_up;

static void clean_up(void *unused)
{
    (void)unused;
    was_cleaned_up++;
}

/* A thread that is cancelled in `body`, or has returned from it. */
struct thread {
    void (*body)(void);
    pthread_t thread;
};

static void *run(void *body)
{
    pthread_cleanup_push(clean_up, NULL);
    ((struct thread *)body)->body();
    pthread_cleanup_pop(0);
    return NULL;
}

static void begin(struct thread *thread, void (*body)(void))
{
    thread->body = body;
    was_cleaned_up = 0;
    pthread_create(&thread->thread, NULL, run, thread);
    sem_wait(&is_here);
}

/* True if the cancellation ended it, with its clean-up handler called once. */
static int was_cancelled(struct thread *thread)
{
    void *result;
    pthread_join(thread->thread, &result);
    return result == PTHREAD_CANCELED && was_cleaned_up == 1;
}

static void contexts_are_usable(void)
{
    CHECK(pthread_equal(pthread_self(), target));
    all_calls();
    EXPECT(transmit(card), SCARD_S_SUCCESS);
    EXPECT(transmit(other_card), SCARD_S_SUCCESS);
    EXPECT(SCardBeginTransaction(other_card), SCARD_S_SUCCESS);
    EXPECT(SCardEndTransaction(other_card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
}

static void wait_for_change(void)
{
    sem_post(&is_here);
    wait_forever(context);
    CHECK(!"a cancelled wait returned");
}

static void wait_for_transaction(void)
{
    sem_post(&is_here);
    SCardBeginTransaction(other_card);
    CHECK(!"a cancelled wait returned");
}

static void wait_to_transmit(void)
{
    sem_post(&is_here);
    transmit(other_card);
    CHECK(!"a cancelled wait returned");
}

static atomic_int may_go_on;

/* Waits until the cancellation is pending. */
static void be_cancelled(void)
{
    const struct timespec moment = {0, 100000};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    sem_post(&is_here);
    while (!may_go_on)
        nanosleep(&moment, NULL);
}

static void calls_with_cancellation_pending(void)
{
    SCARDCONTEXT fresh = 0;
    DWORD length = sizeof reader;
    be_cancelled();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    EXPECT(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &fresh), SCARD_S_SUCCESS);
    EXPECT(SCardListReaders(fresh, NULL, reader, &length), SCARD_S_SUCCESS);
    EXPECT(transmit(card), SCARD_S_SUCCESS);
    EXPECT(SCardReleaseContext(fresh), SCARD_S_SUCCESS);
    pthread_testcancel();
    CHECK(!"the cancellation was lost");
}

static void wait_with_cancellation_pending(void)
{
    be_cancelled();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    wait_forever(context);
    CHECK(!"a cancelled wait returned");
}

static void wait_with_cancellation_disabled(void)
{
    SCARD_READERSTATE state = {.szReader = reader};
    be_cancelled();
    EXPECT(SCardGetStatusChange(context, 0, &state, 1), SCARD_S_SUCCESS);
    do {
        state.dwCurrentState = state.dwEventState & ~SCARD_STATE_CHANGED;
    } while (SCardGetStatusChange(context, 30, &state, 1) == SCARD_S_SUCCESS);
    EXPECT(SCardGetStatusChange(context, 1, &state, 1), SCARD_E_TIMEOUT);
}

/* Until it is cancelled, wherever that is. */
static void work(void)
{
    SCARD_READERSTATE state = {.szReader = reader};
    sem_post(&is_here);
    for (;;) {
        LONG code = SCardGetStatusChange(context, 1, &state, 1);
        CHECK(code == SCARD_S_SUCCESS || code == (LONG)SCARD_E_TIMEOUT);
        state.dwCurrentState = state.dwEventState & ~SCARD_STATE_CHANGED;
        EXPECT(transmit(card), SCARD_S_SUCCESS);
        pthread_testcancel();
    }
}

static void cancel_pending(struct thread *thread, void (*body)(void))
{
    may_go_on = 0;
    begin(thread, body);
    pthread_cancel(thread->thread);
    may_go_on = 1;
}

static void cancel(void)
{
    struct thread thread;
    target = pthread_self();
    sem_init(&is_here, 0, 0);
    open_card(&context, &card);
    open_card(&other_context, &other_card);
    contexts_are_usable();

    begin(&thread, wait_for_change);
    pthread_cancel(thread.thread);
    CHECK(was_cancelled(&thread));
    contexts_are_usable();

    EXPECT(SCardBeginTransaction(card), SCARD_S_SUCCESS);
    begin(&thread, wait_for_transaction);
    pthread_cancel(thread.thread);
    CHECK(was_cancelled(&thread));
    begin(&thread, wait_to_transmit);
    pthread_cancel(thread.thread);
    CHECK(was_cancelled(&thread));
    EXPECT(transmit(card), SCARD_S_SUCCESS);
    EXPECT(SCardEndTransaction(card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
    contexts_are_usable();

    cancel_pending(&thread, calls_with_cancellation_pending);
    CHECK(was_cancelled(&thread));
    contexts_are_usable();
    cancel_pending(&thread, wait_with_cancellation_pending);
    CHECK(was_cancelled(&thread));
    contexts_are_usable();
    cancel_pending(&thread, wait_with_cancellation_disabled);
    CHECK(!was_cancelled(&thread));
    contexts_are_usable();

    for (int round = 0; round < 200; round++) {
        const struct timespec pause = {0, round * 7919L % 2000000};
        begin(&thread, work);
        nanosleep(&pause, NULL);
        pthread_cancel(thread.thread);
        CHECK(was_cancelled(&thread));
    }
    contexts_are_usable();
    EXPECT(SCardReleaseContext(context), SCARD_S_SUCCESS);
    EXPECT(SCardReleaseContext(other_context), SCARD_S_SUCCESS);
}

int main(int count, char **arguments)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 3 && !strcmp(arguments[1], "storm"))
        storm(atol(arguments[2]));
    else if (count == 2 && !strcmp(arguments[1], "cancel"))
        cancel();
    else
        return 2;
    return wrong ? 1 : 0;
}
