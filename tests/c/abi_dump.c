/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Prints the whole API as a compiler sees it: constants, sizes, signs, offsets. Built
 * against two sets of headers, the two outputs must be equal. The prototypes are
 * declared once more in plain C types, which a compiler takes only if they agree.
 */
#include <reader.h>
#include <winscard.h>

#include <stddef.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

long SCardEstablishContext(unsigned long, const void *, const void *, long *);
long SCardReleaseContext(long);
long SCardIsValidContext(long);
long SCardCancel(long);
long SCardFreeMemory(long, const void *);
long SCardListReaders(long, const char *, char *, unsigned long *);
long SCardListReaderGroups(long, char *, unsigned long *);
long SCardGetStatusChange(long, unsigned long, SCARD_READERSTATE *, unsigned long);
long SCardConnect(long, const char *, unsigned long, unsigned long, long *, unsigned long *);
long SCardReconnect(long, unsigned long, unsigned long, unsigned long, unsigned long *);
long SCardDisconnect(long, unsigned long);
long SCardBeginTransaction(long);
long SCardEndTransaction(long, unsigned long);
long SCardStatus(long, char *, unsigned long *, unsigned long *, unsigned long *, unsigned char *,
                 unsigned long *);
long SCardTransmit(long, const SCARD_IO_REQUEST *, const unsigned char *, unsigned long,
                   SCARD_IO_REQUEST *, unsigned char *, unsigned long *);
long SCardControl(long, unsigned long, const void *, unsigned long, void *, unsigned long,
                  unsigned long *);
long SCardGetAttrib(long, unsigned long, unsigned char *, unsigned long *);
long SCardSetAttrib(long, unsigned long, const unsigned char *, unsigned long);
const char *pcsc_stringify_error(const long);

/* Stand-ins for the library's, told apart by a value of their own. */
const SCARD_IO_REQUEST g_rgSCardT0Pci = {1, sizeof(SCARD_IO_REQUEST)};
const SCARD_IO_REQUEST g_rgSCardT1Pci = {2, sizeof(SCARD_IO_REQUEST)};
const SCARD_IO_REQUEST g_rgSCardRawPci = {4, sizeof(SCARD_IO_REQUEST)};

#ifdef __cplusplus
}
#endif

/* A number: its value and the size of its type. */
#define N(name) printf("%s %lld %zu\n", #name, (long long)(name), sizeof(name))
/* A type: its size. */
#define T(type) printf("%s %zu\n", #type, sizeof(type))
/* An integer type: its size and whether it has a sign. */
#define I(type) printf("%s %zu %s\n", #type, sizeof(type), (type)-1 < (type)1 ? "signed" : "unsigned")
/* A field: its offset, its size. */
#define F(type, field) \
    printf("%s.%s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))
/* A pointer type: what it points to, by a conversion that a compiler warns of if it is another. */
#define P(type, target) \
    do { \
        type same = (target *)0; \
        target *back = (type)0; \
        printf("%s %zu %d\n", #type, sizeof(type), (const void *)same == (const void *)back); \
    } while (0)

static void types(void)
{
    I(BYTE);
    I(UCHAR);
    I(USHORT);
    I(WORD);
    I(BOOL);
    I(ULONG);
    I(DWORD);
    I(LONG);
    I(SCARDCONTEXT);
    I(SCARDHANDLE);

    P(PUCHAR, unsigned char);
    P(PULONG, unsigned long);
    P(PDWORD, unsigned long);
    P(LPDWORD, unsigned long);
    P(LPBYTE, unsigned char);
    P(LPVOID, void);
    P(LPSTR, char);
    P(LPTSTR, char);
    P(LPCBYTE, const unsigned char);
    P(LPCVOID, const void);
    P(LPCSTR, const char);
    P(LPCTSTR, const char);
    P(PSCARDCONTEXT, long);
    P(LPSCARDCONTEXT, long);
    P(PSCARDHANDLE, long);
    P(LPSCARDHANDLE, long);
    P(LPSCARD_READERSTATE, SCARD_READERSTATE);
    P(PSCARD_IO_REQUEST, SCARD_IO_REQUEST);
    P(LPSCARD_IO_REQUEST, SCARD_IO_REQUEST);
    P(LPCSCARD_IO_REQUEST, const SCARD_IO_REQUEST);
}

static void structures(void)
{
    T(SCARD_READERSTATE);
    F(SCARD_READERSTATE, szReader);
    F(SCARD_READERSTATE, pvUserData);
    F(SCARD_READERSTATE, dwCurrentState);
    F(SCARD_READERSTATE, dwEventState);
    F(SCARD_READERSTATE, cbAtr);
    F(SCARD_READERSTATE, rgbAtr);

    T(SCARD_IO_REQUEST);
    F(SCARD_IO_REQUEST, dwProtocol);
    F(SCARD_IO_REQUEST, cbPciLength);

    T(PCSC_TLV_STRUCTURE);
    F(PCSC_TLV_STRUCTURE, tag);
    F(PCSC_TLV_STRUCTURE, length);
    F(PCSC_TLV_STRUCTURE, value);

    T(PIN_VERIFY_STRUCTURE);
    F(PIN_VERIFY_STRUCTURE, bTimerOut);
    F(PIN_VERIFY_STRUCTURE, bTimerOut2);
    F(PIN_VERIFY_STRUCTURE, bmFormatString);
    F(PIN_VERIFY_STRUCTURE, bmPINBlockString);
    F(PIN_VERIFY_STRUCTURE, bmPINLengthFormat);
    F(PIN_VERIFY_STRUCTURE, wPINMaxExtraDigit);
    F(PIN_VERIFY_STRUCTURE, bEntryValidationCondition);
    F(PIN_VERIFY_STRUCTURE, bNumberMessage);
    F(PIN_VERIFY_STRUCTURE, wLangId);
    F(PIN_VERIFY_STRUCTURE, bMsgIndex);
    F(PIN_VERIFY_STRUCTURE, bTeoPrologue);
    F(PIN_VERIFY_STRUCTURE, ulDataLength);
    printf("PIN_VERIFY_STRUCTURE.abData %zu\n", offsetof(PIN_VERIFY_STRUCTURE, abData));

    T(PIN_MODIFY_STRUCTURE);
    F(PIN_MODIFY_STRUCTURE, bTimerOut);
    F(PIN_MODIFY_STRUCTURE, bTimerOut2);
    F(PIN_MODIFY_STRUCTURE, bmFormatString);
    F(PIN_MODIFY_STRUCTURE, bmPINBlockString);
    F(PIN_MODIFY_STRUCTURE, bmPINLengthFormat);
    F(PIN_MODIFY_STRUCTURE, bInsertionOffsetOld);
    F(PIN_MODIFY_STRUCTURE, bInsertionOffsetNew);
    F(PIN_MODIFY_STRUCTURE, wPINMaxExtraDigit);
    F(PIN_MODIFY_STRUCTURE, bConfirmPIN);
    F(PIN_MODIFY_STRUCTURE, bEntryValidationCondition);
    F(PIN_MODIFY_STRUCTURE, bNumberMessage);
    F(PIN_MODIFY_STRUCTURE, wLangId);
    F(PIN_MODIFY_STRUCTURE, bMsgIndex1);
    F(PIN_MODIFY_STRUCTURE, bMsgIndex2);
    F(PIN_MODIFY_STRUCTURE, bMsgIndex3);
    F(PIN_MODIFY_STRUCTURE, bTeoPrologue);
    F(PIN_MODIFY_STRUCTURE, ulDataLength);
    printf("PIN_MODIFY_STRUCTURE.abData %zu\n", offsetof(PIN_MODIFY_STRUCTURE, abData));

    T(PIN_PROPERTIES_STRUCTURE);
    F(PIN_PROPERTIES_STRUCTURE, wLcdLayout);
    F(PIN_PROPERTIES_STRUCTURE, bEntryValidationCondition);
    F(PIN_PROPERTIES_STRUCTURE, bTimeOut2);
}

static void macros(void)
{
    N(SCARD_PCI_T0->dwProtocol);
    N(SCARD_PCI_T1->dwProtocol);
    N(SCARD_PCI_RAW->dwProtocol);
    N(SCARD_ATTR_VALUE(0x1234, 0x5678));
    N(SCARD_CTL_CODE(1));
    N(HOST_TO_CCID_16(0x1234));
    N(HOST_TO_CCID_32(0x12345678));
}

static void constants(void)
{
    N(MAX_ATR_SIZE);
    N(SCARD_ATR_LENGTH);
    N(MAX_READERNAME);
    N(PCSCLITE_MAX_READERS_CONTEXTS);
    N(MAX_BUFFER_SIZE);
    N(MAX_BUFFER_SIZE_EXTENDED);
    N(SCARD_SCOPE_USER);
    N(SCARD_SCOPE_TERMINAL);
    N(SCARD_SCOPE_SYSTEM);
    N(SCARD_SCOPE_GLOBAL);
    N(SCARD_SHARE_EXCLUSIVE);
    N(SCARD_SHARE_SHARED);
    N(SCARD_SHARE_DIRECT);
    N(SCARD_PROTOCOL_UNDEFINED);
    N(SCARD_PROTOCOL_UNSET);
    N(SCARD_PROTOCOL_T0);
    N(SCARD_PROTOCOL_T1);
    N(SCARD_PROTOCOL_RAW);
    N(SCARD_PROTOCOL_T15);
    N(SCARD_PROTOCOL_ANY);
    N(SCARD_LEAVE_CARD);
    N(SCARD_RESET_CARD);
    N(SCARD_UNPOWER_CARD);
    N(SCARD_EJECT_CARD);
    N(INFINITE);
    N(SCARD_AUTOALLOCATE);
    N(SCARD_UNKNOWN);
    N(SCARD_ABSENT);
    N(SCARD_PRESENT);
    N(SCARD_SWALLOWED);
    N(SCARD_POWERED);
    N(SCARD_NEGOTIABLE);
    N(SCARD_SPECIFIC);
    N(SCARD_STATE_UNAWARE);
    N(SCARD_STATE_IGNORE);
    N(SCARD_STATE_CHANGED);
    N(SCARD_STATE_UNKNOWN);
    N(SCARD_STATE_UNAVAILABLE);
    N(SCARD_STATE_EMPTY);
    N(SCARD_STATE_PRESENT);
    N(SCARD_STATE_ATRMATCH);
    N(SCARD_STATE_EXCLUSIVE);
    N(SCARD_STATE_INUSE);
    N(SCARD_STATE_MUTE);
    N(SCARD_STATE_UNPOWERED);
    N(SCARD_S_SUCCESS);
    N(SCARD_E_INVALID_HANDLE);
    N(SCARD_E_INVALID_PARAMETER);
    N(SCARD_E_INVALID_VALUE);
    N(SCARD_E_INSUFFICIENT_BUFFER);
    N(SCARD_E_PCI_TOO_SMALL);
    N(SCARD_E_NO_MEMORY);
    N(SCARD_E_UNKNOWN_READER);
    N(SCARD_E_NO_READERS_AVAILABLE);
    N(SCARD_E_READER_UNAVAILABLE);
    N(SCARD_E_READER_UNSUPPORTED);
    N(SCARD_E_DUPLICATE_READER);
    N(SCARD_E_SHARING_VIOLATION);
    N(SCARD_E_NOT_TRANSACTED);
    N(SCARD_E_CANT_DISPOSE);
    N(SCARD_E_NO_SMARTCARD);
    N(SCARD_E_UNKNOWN_CARD);
    N(SCARD_E_CARD_UNSUPPORTED);
    N(SCARD_E_PROTO_MISMATCH);
    N(SCARD_E_NOT_READY);
    N(SCARD_E_INVALID_ATR);
    N(SCARD_E_COMM_DATA_LOST);
    N(SCARD_W_UNSUPPORTED_CARD);
    N(SCARD_W_UNRESPONSIVE_CARD);
    N(SCARD_W_UNPOWERED_CARD);
    N(SCARD_W_RESET_CARD);
    N(SCARD_W_REMOVED_CARD);
    N(SCARD_E_TIMEOUT);
    N(SCARD_E_CANCELLED);
    N(SCARD_E_SYSTEM_CANCELLED);
    N(SCARD_E_NO_SERVICE);
    N(SCARD_E_SERVICE_STOPPED);
    N(SCARD_E_SERVER_TOO_BUSY);
    N(SCARD_P_SHUTDOWN);
    N(SCARD_F_INTERNAL_ERROR);
    N(SCARD_F_WAITED_TOO_LONG);
    N(SCARD_F_COMM_ERROR);
    N(SCARD_F_UNKNOWN_ERROR);
    N(SCARD_E_UNEXPECTED);
    N(SCARD_E_UNSUPPORTED_FEATURE);
    N(SCARD_E_INVALID_TARGET);
    N(SCARD_E_ICC_INSTALLATION);
    N(SCARD_E_ICC_CREATEORDER);
    N(SCARD_E_DIR_NOT_FOUND);
    N(SCARD_E_FILE_NOT_FOUND);
    N(SCARD_E_NO_DIR);
    N(SCARD_E_NO_FILE);
    N(SCARD_E_NO_ACCESS);
    N(SCARD_E_WRITE_TOO_MANY);
    N(SCARD_E_BAD_SEEK);
    N(SCARD_E_INVALID_CHV);
    N(SCARD_E_UNKNOWN_RES_MNG);
    N(SCARD_E_NO_SUCH_CERTIFICATE);
    N(SCARD_E_CERTIFICATE_UNAVAILABLE);
    N(SCARD_E_NO_KEY_CONTAINER);
    N(SCARD_W_SECURITY_VIOLATION);
    N(SCARD_W_WRONG_CHV);
    N(SCARD_W_CHV_BLOCKED);
    N(SCARD_W_EOF);
    N(SCARD_W_CANCELLED_BY_USER);
    N(SCARD_W_CARD_NOT_AUTHENTICATED);
}

static void reader_constants(void)
{
    N(SCARD_CLASS_VENDOR_INFO);
    N(SCARD_CLASS_COMMUNICATIONS);
    N(SCARD_CLASS_PROTOCOL);
    N(SCARD_CLASS_POWER_MGMT);
    N(SCARD_CLASS_SECURITY);
    N(SCARD_CLASS_MECHANICAL);
    N(SCARD_CLASS_VENDOR_DEFINED);
    N(SCARD_CLASS_IFD_PROTOCOL);
    N(SCARD_CLASS_ICC_STATE);
    N(SCARD_CLASS_SYSTEM);
    N(SCARD_ATTR_VENDOR_NAME);
    N(SCARD_ATTR_VENDOR_IFD_TYPE);
    N(SCARD_ATTR_VENDOR_IFD_VERSION);
    N(SCARD_ATTR_VENDOR_IFD_SERIAL_NO);
    N(SCARD_ATTR_CHANNEL_ID);
    N(SCARD_ATTR_ASYNC_PROTOCOL_TYPES);
    N(SCARD_ATTR_DEFAULT_CLK);
    N(SCARD_ATTR_MAX_CLK);
    N(SCARD_ATTR_DEFAULT_DATA_RATE);
    N(SCARD_ATTR_MAX_DATA_RATE);
    N(SCARD_ATTR_MAX_IFSD);
    N(SCARD_ATTR_SYNC_PROTOCOL_TYPES);
    N(SCARD_ATTR_POWER_MGMT_SUPPORT);
    N(SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE);
    N(SCARD_ATTR_USER_AUTH_INPUT_DEVICE);
    N(SCARD_ATTR_CHARACTERISTICS);
    N(SCARD_ATTR_CURRENT_PROTOCOL_TYPE);
    N(SCARD_ATTR_CURRENT_CLK);
    N(SCARD_ATTR_CURRENT_F);
    N(SCARD_ATTR_CURRENT_D);
    N(SCARD_ATTR_CURRENT_N);
    N(SCARD_ATTR_CURRENT_W);
    N(SCARD_ATTR_CURRENT_IFSC);
    N(SCARD_ATTR_CURRENT_IFSD);
    N(SCARD_ATTR_CURRENT_BWT);
    N(SCARD_ATTR_CURRENT_CWT);
    N(SCARD_ATTR_CURRENT_EBC_ENCODING);
    N(SCARD_ATTR_EXTENDED_BWT);
    N(SCARD_ATTR_ICC_PRESENCE);
    N(SCARD_ATTR_ICC_INTERFACE_STATUS);
    N(SCARD_ATTR_CURRENT_IO_STATE);
    N(SCARD_ATTR_ATR_STRING);
    N(SCARD_ATTR_ICC_TYPE_PER_ATR);
    N(SCARD_ATTR_ESC_RESET);
    N(SCARD_ATTR_ESC_CANCEL);
    N(SCARD_ATTR_ESC_AUTHREQUEST);
    N(SCARD_ATTR_MAXINPUT);
    N(SCARD_ATTR_DEVICE_UNIT);
    N(SCARD_ATTR_DEVICE_IN_USE);
    N(SCARD_ATTR_DEVICE_FRIENDLY_NAME_A);
    N(SCARD_ATTR_DEVICE_SYSTEM_NAME_A);
    N(SCARD_ATTR_DEVICE_FRIENDLY_NAME_W);
    N(SCARD_ATTR_DEVICE_SYSTEM_NAME_W);
    N(SCARD_ATTR_SUPRESS_T1_IFS_REQUEST);
    N(SCARD_ATTR_DEVICE_FRIENDLY_NAME);
    N(SCARD_ATTR_DEVICE_SYSTEM_NAME);
    N(CM_IOCTL_GET_FEATURE_REQUEST);
    N(FEATURE_VERIFY_PIN_START);
    N(FEATURE_VERIFY_PIN_FINISH);
    N(FEATURE_MODIFY_PIN_START);
    N(FEATURE_MODIFY_PIN_FINISH);
    N(FEATURE_GET_KEY_PRESSED);
    N(FEATURE_VERIFY_PIN_DIRECT);
    N(FEATURE_MODIFY_PIN_DIRECT);
    N(FEATURE_MCT_READER_DIRECT);
    N(FEATURE_MCT_UNIVERSAL);
    N(FEATURE_IFD_PIN_PROPERTIES);
    N(FEATURE_ABORT);
    N(FEATURE_SET_SPE_MESSAGE);
    N(FEATURE_VERIFY_PIN_DIRECT_APP_ID);
    N(FEATURE_MODIFY_PIN_DIRECT_APP_ID);
    N(FEATURE_WRITE_DISPLAY);
    N(FEATURE_GET_KEY);
    N(FEATURE_IFD_DISPLAY_PROPERTIES);
    N(FEATURE_GET_TLV_PROPERTIES);
    N(FEATURE_CCID_ESC_COMMAND);
    N(FEATURE_EXECUTE_PACE);
    N(PCSCv2_PART10_PROPERTY_wLcdLayout);
    N(PCSCv2_PART10_PROPERTY_bEntryValidationCondition);
    N(PCSCv2_PART10_PROPERTY_bTimeOut2);
    N(PCSCv2_PART10_PROPERTY_wLcdMaxCharacters);
    N(PCSCv2_PART10_PROPERTY_wLcdMaxLines);
    N(PCSCv2_PART10_PROPERTY_bMinPINSize);
    N(PCSCv2_PART10_PROPERTY_bMaxPINSize);
    N(PCSCv2_PART10_PROPERTY_sFirmwareID);
    N(PCSCv2_PART10_PROPERTY_bPPDUSupport);
    N(PCSCv2_PART10_PROPERTY_dwMaxAPDUDataSize);
    N(PCSCv2_PART10_PROPERTY_wIdVendor);
    N(PCSCv2_PART10_PROPERTY_wIdProduct);
}

int main(void)
{
    types();
    structures();
    macros();
    constants();
    reader_constants();
    return 0;
}
