/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Handles, structures and constants of the PC/SC API; the calls themselves are in
 * winscard.h. Values and layouts are those of pcsc-lite's libpcsclite.so.1.
 */
#ifndef __pcsclite_h__
#define __pcsclite_h__

#include "wintypes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The release of pcsc-lite whose API these headers offer. */
#define PCSCLITE_VERSION_NUMBER "2.5.1"

/* ---- Limits ---- */

#define MAX_ATR_SIZE 33     /* bytes in an ATR, ISO 7816-3 clause 8.2.1, with TS */
#ifndef SCARD_ATR_LENGTH
#define SCARD_ATR_LENGTH MAX_ATR_SIZE
#endif
#define MAX_READERNAME 128  /* bytes in a reader's name, with its NUL */

/* Readers (each slot is one) of a pcscd with the usual settings. Daemons may be
 * built for more, and this library then lists more: do not size arrays by it. */
#define PCSCLITE_MAX_READERS_CONTEXTS 16

#define MAX_BUFFER_SIZE 264 /* room for a short APDU or its answer */
/* Room for an extended APDU or answer: header, Lc, 64 KiB of data, Le, status word. */
#define MAX_BUFFER_SIZE_EXTENDED (4 + 3 + (1 << 16) + 3 + 2)

/* ---- Handles ---- */

typedef LONG SCARDCONTEXT; /* from SCardEstablishContext */
typedef SCARDCONTEXT *PSCARDCONTEXT;
typedef SCARDCONTEXT *LPSCARDCONTEXT;

typedef LONG SCARDHANDLE;  /* from SCardConnect */
typedef SCARDHANDLE *PSCARDHANDLE;
typedef SCARDHANDLE *LPSCARDHANDLE;

/* ---- Structures ---- */

/* One reader in a call of SCardGetStatusChange. */
typedef struct {
    const char *szReader;      /* in: the reader's name, or "\\?PnP?\Notification" */
    void *pvUserData;          /* for the caller; not used here */
    DWORD dwCurrentState;      /* in: SCARD_STATE_ bits as the caller last saw them */
    DWORD dwEventState;        /* out: the bits now; event counter in the upper 16 */
    DWORD cbAtr;               /* out: length of the ATR, 0 without a card */
    unsigned char rgbAtr[MAX_ATR_SIZE]; /* out */
} SCARD_READERSTATE, *LPSCARD_READERSTATE;

/* Protocol control information, for SCardTransmit. */
typedef struct {
    unsigned long dwProtocol;  /* one of SCARD_PROTOCOL_ */
    unsigned long cbPciLength; /* sizeof(SCARD_IO_REQUEST) */
} SCARD_IO_REQUEST, *PSCARD_IO_REQUEST, *LPSCARD_IO_REQUEST;

typedef const SCARD_IO_REQUEST *LPCSCARD_IO_REQUEST;

extern const SCARD_IO_REQUEST g_rgSCardT0Pci;
extern const SCARD_IO_REQUEST g_rgSCardT1Pci;
extern const SCARD_IO_REQUEST g_rgSCardRawPci;

#define SCARD_PCI_T0 (&g_rgSCardT0Pci)
#define SCARD_PCI_T1 (&g_rgSCardT1Pci)
#define SCARD_PCI_RAW (&g_rgSCardRawPci)

/* ---- Arguments ---- */

/* dwScope of SCardEstablishContext; all scopes are alike here. */
#define SCARD_SCOPE_USER 0x0000
#define SCARD_SCOPE_TERMINAL 0x0001
#define SCARD_SCOPE_SYSTEM 0x0002
#define SCARD_SCOPE_GLOBAL 0x0003

/* dwShareMode of SCardConnect and SCardReconnect. */
#define SCARD_SHARE_EXCLUSIVE 0x0001 /* nobody else may connect */
#define SCARD_SHARE_SHARED 0x0002
#define SCARD_SHARE_DIRECT 0x0003    /* the reader itself, with or without a card */

/* Protocols: a set when preferred, a single one when active. */
#define SCARD_PROTOCOL_UNDEFINED 0x0000
#define SCARD_PROTOCOL_UNSET SCARD_PROTOCOL_UNDEFINED
#define SCARD_PROTOCOL_T0 0x0001
#define SCARD_PROTOCOL_T1 0x0002
#define SCARD_PROTOCOL_RAW 0x0004
#define SCARD_PROTOCOL_T15 0x0008
#define SCARD_PROTOCOL_ANY (SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)

/* What happens to the card: dwDisposition and dwInitialization. */
#define SCARD_LEAVE_CARD 0x0000
#define SCARD_RESET_CARD 0x0001   /* warm reset */
#define SCARD_UNPOWER_CARD 0x0002 /* power off; at reconnect a cold reset */
#define SCARD_EJECT_CARD 0x0003

/* dwTimeout of SCardGetStatusChange, in milliseconds: do not time out. */
#ifndef INFINITE
#define INFINITE 0xFFFFFFFF
#endif

/* As a buffer's length: the library allocates, the caller calls SCardFreeMemory. */
#define SCARD_AUTOALLOCATE (DWORD)(-1)

/* ---- States ---- */

/* Bits that SCardStatus writes to *pdwState; it too counts events in the upper 16. */
#define SCARD_UNKNOWN 0x0001
#define SCARD_ABSENT 0x0002
#define SCARD_PRESENT 0x0004
#define SCARD_SWALLOWED 0x0008  /* present, not powered */
#define SCARD_POWERED 0x0010
#define SCARD_NEGOTIABLE 0x0020 /* reset, protocol not yet chosen */
#define SCARD_SPECIFIC 0x0040   /* protocol chosen */

/* Bits of SCARD_READERSTATE. */
#define SCARD_STATE_UNAWARE 0x0000     /* in: nothing known, report at once */
#define SCARD_STATE_IGNORE 0x0001      /* in: leave this entry out */
#define SCARD_STATE_CHANGED 0x0002     /* out: differs from dwCurrentState */
#define SCARD_STATE_UNKNOWN 0x0004     /* no reader of that name */
#define SCARD_STATE_UNAVAILABLE 0x0008 /* the reader does not answer */
#define SCARD_STATE_EMPTY 0x0010
#define SCARD_STATE_PRESENT 0x0020
#define SCARD_STATE_ATRMATCH 0x0040    /* Windows only */
#define SCARD_STATE_EXCLUSIVE 0x0080   /* someone holds it exclusively */
#define SCARD_STATE_INUSE 0x0100       /* someone is connected */
#define SCARD_STATE_MUTE 0x0200        /* the card did not answer to reset */
#define SCARD_STATE_UNPOWERED 0x0400

/* ---- Results ---- */

#define SCARD_S_SUCCESS ((LONG)0x00000000)

/* Arguments and handles. */
#define SCARD_E_INVALID_HANDLE ((LONG)0x80100003)
#define SCARD_E_INVALID_PARAMETER ((LONG)0x80100004)
#define SCARD_E_INVALID_VALUE ((LONG)0x80100011)
#define SCARD_E_INSUFFICIENT_BUFFER ((LONG)0x80100008) /* the length needed was written back */
#define SCARD_E_PCI_TOO_SMALL ((LONG)0x80100019)
#define SCARD_E_NO_MEMORY ((LONG)0x80100006)

/* Readers and their sharing. */
#define SCARD_E_UNKNOWN_READER ((LONG)0x80100009)
#define SCARD_E_NO_READERS_AVAILABLE ((LONG)0x8010002E)
#define SCARD_E_READER_UNAVAILABLE ((LONG)0x80100017)
#define SCARD_E_READER_UNSUPPORTED ((LONG)0x8010001A)
#define SCARD_E_DUPLICATE_READER ((LONG)0x8010001B)
#define SCARD_E_SHARING_VIOLATION ((LONG)0x8010000B)
#define SCARD_E_NOT_TRANSACTED ((LONG)0x80100016)
#define SCARD_E_CANT_DISPOSE ((LONG)0x8010000E)

/* The card. */
#define SCARD_E_NO_SMARTCARD ((LONG)0x8010000C)
#define SCARD_E_UNKNOWN_CARD ((LONG)0x8010000D)
#define SCARD_E_CARD_UNSUPPORTED ((LONG)0x8010001C)
#define SCARD_E_PROTO_MISMATCH ((LONG)0x8010000F)
#define SCARD_E_NOT_READY ((LONG)0x80100010)
#define SCARD_E_INVALID_ATR ((LONG)0x80100015)
#define SCARD_E_COMM_DATA_LOST ((LONG)0x8010002F)
#define SCARD_W_UNSUPPORTED_CARD ((LONG)0x80100065)
#define SCARD_W_UNRESPONSIVE_CARD ((LONG)0x80100066)
#define SCARD_W_UNPOWERED_CARD ((LONG)0x80100067)
#define SCARD_W_RESET_CARD ((LONG)0x80100068)   /* another application reset it: reconnect */
#define SCARD_W_REMOVED_CARD ((LONG)0x80100069)

/* Waits. */
#define SCARD_E_TIMEOUT ((LONG)0x8010000A)
#define SCARD_E_CANCELLED ((LONG)0x80100002)    /* SCardCancel was called */
#define SCARD_E_SYSTEM_CANCELLED ((LONG)0x80100012)

/* The service. */
#define SCARD_E_NO_SERVICE ((LONG)0x8010001D)
#define SCARD_E_SERVICE_STOPPED ((LONG)0x8010001E)
#define SCARD_E_SERVER_TOO_BUSY ((LONG)0x80100031)
#define SCARD_P_SHUTDOWN ((LONG)0x80100018)
#define SCARD_F_INTERNAL_ERROR ((LONG)0x80100001)
#define SCARD_F_WAITED_TOO_LONG ((LONG)0x80100007)
#define SCARD_F_COMM_ERROR ((LONG)0x80100013)
#define SCARD_F_UNKNOWN_ERROR ((LONG)0x80100014)
#define SCARD_E_UNEXPECTED ((LONG)0x8010001F)
/* Windows says 0x80100022; pcsc-lite gave it the number of UNEXPECTED. */
#define SCARD_E_UNSUPPORTED_FEATURE ((LONG)0x8010001F)

/* Card files, PINs and certificates: for layers above this library. */
#define SCARD_E_INVALID_TARGET ((LONG)0x80100005)
#define SCARD_E_ICC_INSTALLATION ((LONG)0x80100020)
#define SCARD_E_ICC_CREATEORDER ((LONG)0x80100021)
#define SCARD_E_DIR_NOT_FOUND ((LONG)0x80100023)
#define SCARD_E_FILE_NOT_FOUND ((LONG)0x80100024)
#define SCARD_E_NO_DIR ((LONG)0x80100025)
#define SCARD_E_NO_FILE ((LONG)0x80100026)
#define SCARD_E_NO_ACCESS ((LONG)0x80100027)
#define SCARD_E_WRITE_TOO_MANY ((LONG)0x80100028)
#define SCARD_E_BAD_SEEK ((LONG)0x80100029)
#define SCARD_E_INVALID_CHV ((LONG)0x8010002A)
#define SCARD_E_UNKNOWN_RES_MSG ((LONG)0x8010002B)
#define SCARD_E_UNKNOWN_RES_MNG SCARD_E_UNKNOWN_RES_MSG /* its name before 2.0 */
#define SCARD_E_NO_SUCH_CERTIFICATE ((LONG)0x8010002C)
#define SCARD_E_CERTIFICATE_UNAVAILABLE ((LONG)0x8010002D)
#define SCARD_E_NO_KEY_CONTAINER ((LONG)0x80100030)
#define SCARD_W_SECURITY_VIOLATION ((LONG)0x8010006A)
#define SCARD_W_WRONG_CHV ((LONG)0x8010006B)
#define SCARD_W_CHV_BLOCKED ((LONG)0x8010006C)
#define SCARD_W_EOF ((LONG)0x8010006D)
#define SCARD_W_CANCELLED_BY_USER ((LONG)0x8010006E)
#define SCARD_W_CARD_NOT_AUTHENTICATED ((LONG)0x8010006F)

/* The English text of a result. Never NULL. The caller must not free it. */
const char *pcsc_stringify_error(const LONG);

#ifdef __cplusplus
}
#endif

#endif
