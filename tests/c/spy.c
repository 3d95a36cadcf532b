/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * spy [wait|closed]: calls of all kinds, for a record of them. The first reader
 * has a card. With wait it waits for a line of input after its first call. With
 * closed its standard input is closed before, and stays so.
 *
 * One thread makes each call once, and calls that fail. A second one waits for
 * a reader until the first one cancels that. A child process makes two calls.
 * Prints nothing; exits with 0 if the calls give what they should.
 */
#include <winscard.h>

#include <reader.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(call, expected)                                                      \
    do {                                                                            \
        LONG code_ = (call);                                                        \
        if (code_ != (LONG)(expected)) {                                            \
            printf("line %d: %s: %s\n", __LINE__, #call, pcsc_stringify_error(code_)); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

static const BYTE select_hello[] = {0x00, 0xA4, 0x04, 0x00, 0x0A, 0xA0, 0x00, 0x00,
                                    0x00, 0x62, 0x03, 0x01, 0x0C, 0x06, 0x01};
static const BYTE hello[] = {0x00, 0x00, 0x00, 0x00};
static const BYTE verify[] = {0x00, 0x20, 0x00, 0x80, 0x04, '1', '2', '3', '4'};

static SCARDCONTEXT waiting;
static atomic_int is_over;

static void *wait_for_a_reader(void *nothing)
{
    SCARD_READERSTATE state;
    memset(&state, 0, sizeof state);
    state.szReader = "\\\\?PnP?\\Notification";
    EXPECT(SCardGetStatusChange(waiting, INFINITE, &state, 1), SCARD_E_CANCELLED);
    is_over = 1;
    return nothing;
}

static void transmit(SCARDHANDLE card, const BYTE *command, DWORD size)
{
    BYTE response[258];
    DWORD length = sizeof response;
    SCARD_IO_REQUEST received = {SCARD_PROTOCOL_UNDEFINED, sizeof received};
    EXPECT(SCardTransmit(card, SCARD_PCI_T1, command, size, &received, response, &length), SCARD_S_SUCCESS);
}

int main(int count, char **arguments)
{
    SCARDCONTEXT context;
    SCARDHANDLE card;
    char readers[256], groups[64], name[256], *list = NULL;
    BYTE atr[33], answer[64], value[64];
    DWORD length = sizeof readers, name_length = sizeof name, atr_length = sizeof atr, state, protocol;
    SCARD_READERSTATE watched;
    pthread_t thread;
    int status;

    if (count > 1 && strcmp(arguments[1], "closed") == 0)
        close(0);
    EXPECT(SCardIsValidContext(0), SCARD_E_INVALID_HANDLE);
    if (count > 1 && strcmp(arguments[1], "closed") == 0)
        EXPECT(fcntl(0, F_GETFD), -1);
    if (count > 1 && strcmp(arguments[1], "wait") == 0)
        getchar();
    EXPECT(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context), SCARD_S_SUCCESS);
    EXPECT(SCardIsValidContext(context), SCARD_S_SUCCESS);
    length = sizeof groups;
    EXPECT(SCardListReaderGroups(context, groups, &length), SCARD_S_SUCCESS);
    EXPECT(SCardListReaders(context, NULL, NULL, &length), SCARD_S_SUCCESS);
    length = 1;
    EXPECT(SCardListReaders(context, NULL, readers, &length), SCARD_E_INSUFFICIENT_BUFFER);
    length = sizeof readers;
    EXPECT(SCardListReaders(context, NULL, readers, &length), SCARD_S_SUCCESS);
    length = SCARD_AUTOALLOCATE;
    EXPECT(SCardListReaders(context, NULL, (LPSTR)&list, &length), SCARD_S_SUCCESS);
    EXPECT(SCardFreeMemory(context, list), SCARD_S_SUCCESS);

    memset(&watched, 0, sizeof watched);
    watched.szReader = readers;
    EXPECT(SCardGetStatusChange(context, 0, &watched, 1), SCARD_S_SUCCESS);
    watched.dwCurrentState = watched.dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
    EXPECT(SCardGetStatusChange(context, 10, &watched, 1), SCARD_E_TIMEOUT);

    EXPECT(SCardConnect(context, "no \"such\" reader", SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol),
           SCARD_E_UNKNOWN_READER);
    EXPECT(SCardConnect(context, readers, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, &card, &protocol),
           SCARD_S_SUCCESS);
    EXPECT(SCardReconnect(card, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T1, SCARD_RESET_CARD, &protocol),
           SCARD_S_SUCCESS);
    EXPECT(SCardBeginTransaction(card), SCARD_S_SUCCESS);
    EXPECT(SCardStatus(card, name, &name_length, &state, &protocol, atr, &atr_length), SCARD_S_SUCCESS);
    transmit(card, select_hello, sizeof select_hello);
    transmit(card, hello, sizeof hello);
    transmit(card, verify, sizeof verify);
    EXPECT(SCardTransmit(card, NULL, hello, sizeof hello, NULL, answer, &length), SCARD_E_INVALID_PARAMETER);
    EXPECT(SCardControl(card, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, answer, sizeof answer, &length),
           SCARD_S_SUCCESS);
    length = sizeof value;
    EXPECT(SCardGetAttrib(card, SCARD_ATTR_ATR_STRING, value, &length), SCARD_S_SUCCESS);
    EXPECT(SCardSetAttrib(card, SCARD_ATTR_ATR_STRING, value, 2), SCARD_E_UNSUPPORTED_FEATURE);
    EXPECT(SCardEndTransaction(card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
    EXPECT(SCardDisconnect(card, SCARD_UNPOWER_CARD), SCARD_S_SUCCESS);

    EXPECT(SCardEstablishContext(SCARD_SCOPE_USER, NULL, NULL, &waiting), SCARD_S_SUCCESS);
    pthread_create(&thread, NULL, wait_for_a_reader, NULL);
    while (!is_over) {
        EXPECT(SCardCancel(waiting), SCARD_S_SUCCESS);
        usleep(1000);
    }
    pthread_join(thread, NULL);

    if (fork() == 0) {
        EXPECT(SCardIsValidContext(context), SCARD_E_INVALID_HANDLE);
        EXPECT(SCardIsValidContext(0), SCARD_E_INVALID_HANDLE);
        exit(0);
    }
    if (wait(&status) < 0 || status != 0)
        exit(2);
    EXPECT(SCardReleaseContext(waiting), SCARD_S_SUCCESS);
    EXPECT(SCardReleaseContext(context), SCARD_S_SUCCESS);
    return 0;
}
