/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The interface between pcscd and a driver of readers, an IFD handler: version 3.0, or
 * 2.0 where IFDHANDLERv2 is defined first. The driver exports these functions, and
 * pcscd calls them.
 *
 * A Lun names a slot: the reader in the upper 16 bits, its slot in the lower 16. pcscd
 * chooses it when it opens the reader.
 */
#ifndef _ifd_handler_h_
#define _ifd_handler_h_

#include "pcsclite.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One of the IFD_ results below. */
#ifndef RESPONSECODE_DEFINED_IN_WINTYPES_H
typedef long RESPONSECODE;
#endif

/* ---- Structures ---- */

/* Protocol control information: the protocol is 0 for T=0 and 1 for T=1. */
typedef struct _SCARD_IO_HEADER {
    DWORD Protocol;
    DWORD Length; /* not used */
} SCARD_IO_HEADER, *PSCARD_IO_HEADER;

/* What a driver may keep of a reader. Each field stands for a tag of PC/SC part 3,
 * clause 3.1.4; no call takes or returns these three structures. */
typedef struct _DEVICE_CAPABILITIES {
    LPSTR Vendor_Name;         /* 0x0100 */
    LPSTR IFD_Type;            /* 0x0101 */
    DWORD IFD_Version;         /* 0x0102 */
    LPSTR IFD_Serial;          /* 0x0103 */
    DWORD IFD_Channel_ID;      /* 0x0110 */
    DWORD Asynch_Supported;    /* 0x0120 */
    DWORD Default_Clock;       /* 0x0121 */
    DWORD Max_Clock;           /* 0x0122 */
    DWORD Default_Data_Rate;   /* 0x0123 */
    DWORD Max_Data_Rate;       /* 0x0124 */
    DWORD Max_IFSD;            /* 0x0125 */
    DWORD Synch_Supported;     /* 0x0126 */
    DWORD Power_Mgmt;          /* 0x0131 */
    DWORD Card_Auth_Devices;   /* 0x0140 */
    DWORD User_Auth_Device;    /* 0x0142 */
    DWORD Mechanics_Supported; /* 0x0150 */
    DWORD Vendor_Features;     /* 0x0180 to 0x01F0 */
} DEVICE_CAPABILITIES, *PDEVICE_CAPABILITIES;

typedef struct _ICC_STATE {
    UCHAR ICC_Presence;         /* 0x0300 */
    UCHAR ICC_Interface_Status; /* 0x0301 */
    UCHAR ATR[MAX_ATR_SIZE];    /* 0x0303 */
    UCHAR ICC_Type;             /* 0x0304 */
} ICC_STATE, *PICC_STATE;

typedef struct _PROTOCOL_OPTIONS {
    DWORD Protocol_Type; /* 0x0201 */
    DWORD Current_Clock; /* 0x0202 */
    DWORD Current_F;     /* 0x0203 */
    DWORD Current_D;     /* 0x0204 */
    DWORD Current_N;     /* 0x0205 */
    DWORD Current_W;     /* 0x0206 */
    DWORD Current_IFSC;  /* 0x0207 */
    DWORD Current_IFSD;  /* 0x0208 */
    DWORD Current_BWT;   /* 0x0209 */
    DWORD Current_CWT;   /* 0x020A */
    DWORD Current_EBC;   /* 0x020B */
} PROTOCOL_OPTIONS, *PPROTOCOL_OPTIONS;

/* ---- Tags of IFDHGetCapabilities and IFDHSetCapabilities, beside SCARD_ATTR_ ---- */

#define TAG_IFD_ATR 0x0303                  /* the card's ATR; every driver answers it */
#define TAG_IFD_SLOTNUM 0x0180              /* not used */
/* One byte each: a number, or 0 for no and 1 for yes. */
#define TAG_IFD_SLOT_THREAD_SAFE 0x0FAC     /* slots of one reader may be used at once */
#define TAG_IFD_THREAD_SAFE 0x0FAD          /* readers may be used at once */
#define TAG_IFD_SLOTS_NUMBER 0x0FAE         /* slots of this reader */
#define TAG_IFD_SIMULTANEOUS_ACCESS 0x0FAF  /* readers that the driver can have open */
#define TAG_IFD_POLLING_THREAD_KILLABLE 0x0FB1 /* pthread_cancel may end the wait */
/* A function's address each. */
#define TAG_IFD_POLLING_THREAD 0x0FB0       /* not used */
#define TAG_IFD_STOP_POLLING_THREAD 0x0FB2  /* RESPONSECODE stop(DWORD Lun): ends the wait */
/* RESPONSECODE wait(DWORD Lun, int timeout): returns when the card may have changed, or
 * after so many milliseconds. */
#define TAG_IFD_POLLING_THREAD_WITH_TIMEOUT 0x0FB3
/* Set by pcscd: the device is gone. */
#define TAG_IFD_DEVICE_REMOVED 0x0FB4

/* ---- Arguments ---- */

#define IFD_HVERSION_1_0 0x00010000
#define IFD_HVERSION_2_0 0x00020000
#define IFD_HVERSION_3_0 0x00030000

/* Action of IFDHPowerICC. */
#define IFD_POWER_UP 500
#define IFD_POWER_DOWN 501
#define IFD_RESET 502 /* warm; cold if the card has no power */

/* Flags of IFDHSetProtocolParameters: which bytes of the PPS are given (ISO 7816-3
 * clause 9.2). */
#define IFD_NEGOTIATE_PTS1 1
#define IFD_NEGOTIATE_PTS2 2
#define IFD_NEGOTIATE_PTS3 4

/* ---- Results ---- */

#define IFD_SUCCESS 0
#define IFD_ERROR_TAG 600
#define IFD_ERROR_SET_FAILURE 601
#define IFD_ERROR_VALUE_READ_ONLY 602
#define IFD_ERROR_PTS_FAILURE 605
#define IFD_ERROR_NOT_SUPPORTED 606
#define IFD_PROTOCOL_NOT_SUPPORTED 607
#define IFD_ERROR_POWER_ACTION 608     /* the card does not answer to reset */
#define IFD_ERROR_SWALLOW 609
#define IFD_ERROR_EJECT 610
#define IFD_ERROR_CONFISCATE 611
#define IFD_COMMUNICATION_ERROR 612
#define IFD_RESPONSE_TIMEOUT 613       /* the card does not answer in time */
#define IFD_NOT_SUPPORTED 614
#define IFD_ICC_PRESENT 615
#define IFD_ICC_NOT_PRESENT 616
#define IFD_NO_SUCH_DEVICE 617         /* the reader is gone: pcscd takes it off its list */
#define IFD_ERROR_INSUFFICIENT_BUFFER 618

/* ---- What a driver exports ---- */

#ifndef IFDHANDLERv2

/* Opens the reader of that name: the DEVICENAME of a reader.conf file, or
 * "usb:VID/PID:..." with two numbers of four hexadecimal digits for a USB device. What
 * follows them tells equal devices apart; a driver ignores what it does not know. */
RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName);

/* Behind SCardControl. RxLength is the room in RxBuffer, *pdwBytesReturned what is used. */
RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, PUCHAR TxBuffer, DWORD TxLength,
                         PUCHAR RxBuffer, DWORD RxLength, LPDWORD pdwBytesReturned);

#else

/* Behind SCardControl. *RxLength is the room in RxBuffer before, and what is used after. */
RESPONSECODE IFDHControl(DWORD Lun, PUCHAR TxBuffer, DWORD TxLength, PUCHAR RxBuffer,
                         PDWORD RxLength);

#endif

/* Opens a reader by the CHANNELID of a reader.conf file without a DEVICENAME. */
RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel);

RESPONSECODE IFDHCloseChannel(DWORD Lun);

/* *Length is the room in Value before, and what is used after. */
RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value);

RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, DWORD Length, PUCHAR Value);

/* Chooses a protocol, SCARD_PROTOCOL_T0 or SCARD_PROTOCOL_T1, and the card's speed. */
RESPONSECODE IFDHSetProtocolParameters(DWORD Lun, DWORD Protocol, UCHAR Flags, UCHAR PTS1,
                                       UCHAR PTS2, UCHAR PTS3);

/* Atr has room for MAX_ATR_SIZE bytes; *AtrLength is 0 where there is no ATR. */
RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength);

/* One command APDU and its answer. *RxLength is the room in RxBuffer before, and what is
 * used after: 0 on errors. */
RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer,
                               DWORD TxLength, PUCHAR RxBuffer, PDWORD RxLength,
                               PSCARD_IO_HEADER RecvPci);

/* IFD_ICC_PRESENT or IFD_SUCCESS with a card, IFD_ICC_NOT_PRESENT without. */
RESPONSECODE IFDHICCPresence(DWORD Lun);

#ifdef __cplusplus
}
#endif

#endif
