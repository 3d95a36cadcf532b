/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The calls of the PC/SC API (part 5) as libpcsclite.so.1 exports them.
 *
 * Every call returns SCARD_S_SUCCESS or another of the results in pcsclite.h.
 * A length that comes with an out buffer is in and out: room before, use after.
 * With a NULL buffer the call writes the length alone; with SCARD_AUTOALLOCATE as
 * the length, the buffer argument is the address of a pointer that receives memory
 * for SCardFreeMemory.
 */
#ifndef __winscard_h__
#define __winscard_h__

#include "pcsclite.h"

#ifndef PCSC_API
#define PCSC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Contexts: one connection with the service ---- */

PCSC_API LONG SCardEstablishContext(DWORD dwScope, LPCVOID pvReserved1, LPCVOID pvReserved2,
                                    LPSCARDCONTEXT phContext);

/* Ends the context and every card handle made from it. */
PCSC_API LONG SCardReleaseContext(SCARDCONTEXT hContext);

PCSC_API LONG SCardIsValidContext(SCARDCONTEXT hContext);

/* Ends every SCardGetStatusChange that waits in the context. May be called from any
 * thread, and from a signal handler. */
PCSC_API LONG SCardCancel(SCARDCONTEXT hContext);

PCSC_API LONG SCardFreeMemory(SCARDCONTEXT hContext, LPCVOID pvMem);

/* ---- Readers ---- */

/* Each name ends with a NUL, and another NUL ends the list. */
PCSC_API LONG SCardListReaders(SCARDCONTEXT hContext, LPCSTR mszGroups, LPSTR mszReaders,
                               LPDWORD pcchReaders);

PCSC_API LONG SCardListReaderGroups(SCARDCONTEXT hContext, LPSTR mszGroups, LPDWORD pcchGroups);

/* Waits until the state of a reader differs from its dwCurrentState. dwTimeout is in
 * milliseconds: 0 does not wait, INFINITE does not time out. */
PCSC_API LONG SCardGetStatusChange(SCARDCONTEXT hContext, DWORD dwTimeout,
                                   SCARD_READERSTATE *rgReaderStates, DWORD cReaders);

/* ---- Cards ---- */

PCSC_API LONG SCardConnect(SCARDCONTEXT hContext, LPCSTR szReader, DWORD dwShareMode,
                           DWORD dwPreferredProtocols, LPSCARDHANDLE phCard,
                           LPDWORD pdwActiveProtocol);

PCSC_API LONG SCardReconnect(SCARDHANDLE hCard, DWORD dwShareMode, DWORD dwPreferredProtocols,
                             DWORD dwInitialization, LPDWORD pdwActiveProtocol);

PCSC_API LONG SCardDisconnect(SCARDHANDLE hCard, DWORD dwDisposition);

/* No other handle can use the card between these two calls. */
PCSC_API LONG SCardBeginTransaction(SCARDHANDLE hCard);
PCSC_API LONG SCardEndTransaction(SCARDHANDLE hCard, DWORD dwDisposition);

/* Every out argument may be NULL. */
PCSC_API LONG SCardStatus(SCARDHANDLE hCard, LPSTR mszReaderName, LPDWORD pcchReaderLen,
                          LPDWORD pdwState, LPDWORD pdwProtocol, LPBYTE pbAtr,
                          LPDWORD pcbAtrLen);

/* Sends a command APDU to the card and receives its response, with the status word. */
PCSC_API LONG SCardTransmit(SCARDHANDLE hCard, const SCARD_IO_REQUEST *pioSendPci,
                            LPCBYTE pbSendBuffer, DWORD cbSendLength,
                            SCARD_IO_REQUEST *pioRecvPci, LPBYTE pbRecvBuffer,
                            LPDWORD pcbRecvLength);

/* ---- The reader behind a card handle: codes and tags are in reader.h ---- */

PCSC_API LONG SCardControl(SCARDHANDLE hCard, DWORD dwControlCode, LPCVOID pbSendBuffer,
                           DWORD cbSendLength, LPVOID pbRecvBuffer, DWORD cbRecvLength,
                           LPDWORD lpBytesReturned);

PCSC_API LONG SCardGetAttrib(SCARDHANDLE hCard, DWORD dwAttrId, LPBYTE pbAttr,
                             LPDWORD pcbAttrLen);

PCSC_API LONG SCardSetAttrib(SCARDHANDLE hCard, DWORD dwAttrId, LPCBYTE pbAttr,
                             DWORD cbAttrLen);

#ifdef __cplusplus
}
#endif

#endif
