/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A driver of a reader that does not exist: always open, with a card that answers each
 * command with 6D00. As small as an IFD handler for pcscd can be.
 */
#include <debuglog.h>
#include <ifdhandler.h>
#include <reader.h>

#include <string.h>

static const UCHAR atr[] = {0x3B, 0x00};
static const UCHAR answer[] = {0x6D, 0x00};

static RESPONSECODE give(const UCHAR *from, DWORD length, PUCHAR to, PDWORD room)
{
    if (*room < length)
        return IFD_ERROR_INSUFFICIENT_BUFFER;
    memcpy(to, from, length);
    *room = length;
    return IFD_SUCCESS;
}

RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel)
{
    Log3(PCSC_LOG_INFO, "reader %lX, channel %lX", Lun, Channel);
    return IFD_SUCCESS;
}

RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName)
{
    Log3(PCSC_LOG_INFO, "reader %lX, %s", Lun, DeviceName);
    return IFD_SUCCESS;
}

RESPONSECODE IFDHCloseChannel(DWORD Lun)
{
    (void)Lun;
    return IFD_SUCCESS;
}

RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value)
{
    static const UCHAR one = 1;

    (void)Lun;
    switch (Tag) {
    case TAG_IFD_ATR:
    case SCARD_ATTR_ATR_STRING:
        return give(atr, sizeof(atr), Value, Length);
    case TAG_IFD_SLOTS_NUMBER:
    case TAG_IFD_SIMULTANEOUS_ACCESS:
        return give(&one, sizeof(one), Value, Length);
    default:
        return IFD_ERROR_TAG;
    }
}

RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, DWORD Length, PUCHAR Value)
{
    (void)Lun, (void)Tag, (void)Length, (void)Value;
    return IFD_ERROR_VALUE_READ_ONLY;
}

RESPONSECODE IFDHSetProtocolParameters(DWORD Lun, DWORD Protocol, UCHAR Flags, UCHAR PTS1,
                                       UCHAR PTS2, UCHAR PTS3)
{
    (void)Lun, (void)Flags, (void)PTS1, (void)PTS2, (void)PTS3;
    return Protocol == SCARD_PROTOCOL_T0 ? IFD_SUCCESS : IFD_PROTOCOL_NOT_SUPPORTED;
}

RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength)
{
    (void)Lun;
    if (Action == IFD_POWER_DOWN) {
        *AtrLength = 0;
        return IFD_SUCCESS;
    }
    *AtrLength = MAX_ATR_SIZE;
    return give(atr, sizeof(atr), Atr, AtrLength);
}

RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer,
                               DWORD TxLength, PUCHAR RxBuffer, PDWORD RxLength,
                               PSCARD_IO_HEADER RecvPci)
{
    (void)Lun;
    LogXxd(PCSC_LOG_INFO, "command: ", TxBuffer, (int)TxLength);
    *RecvPci = SendPci;
    return give(answer, sizeof(answer), RxBuffer, RxLength);
}

RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, PUCHAR TxBuffer, DWORD TxLength,
                         PUCHAR RxBuffer, DWORD RxLength, LPDWORD pdwBytesReturned)
{
    (void)Lun, (void)dwControlCode, (void)TxBuffer, (void)TxLength, (void)RxBuffer, (void)RxLength;
    *pdwBytesReturned = 0;
    return IFD_ERROR_NOT_SUPPORTED;
}

RESPONSECODE IFDHICCPresence(DWORD Lun)
{
    (void)Lun;
    return IFD_ICC_PRESENT;
}
