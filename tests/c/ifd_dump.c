/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Prints the driver's interface as a compiler sees it, and what the macros of the log
 * pass on. Built against two sets of headers, the two outputs must be equal. The
 * prototypes are declared once more in plain C types.
 */
#include <debuglog.h>
#include <ifdhandler.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#ifdef IFDHANDLERv2
long IFDHControl(unsigned long, unsigned char *, unsigned long, unsigned char *, unsigned long *);
#else
long IFDHCreateChannelByName(unsigned long, char *);
long IFDHControl(unsigned long, unsigned long, unsigned char *, unsigned long, unsigned char *,
                 unsigned long, unsigned long *);
#endif
long IFDHCreateChannel(unsigned long, unsigned long);
long IFDHCloseChannel(unsigned long);
long IFDHGetCapabilities(unsigned long, unsigned long, unsigned long *, unsigned char *);
long IFDHSetCapabilities(unsigned long, unsigned long, unsigned long, unsigned char *);
long IFDHSetProtocolParameters(unsigned long, unsigned long, unsigned char, unsigned char,
                               unsigned char, unsigned char);
long IFDHPowerICC(unsigned long, unsigned long, unsigned char *, unsigned long *);
long IFDHTransmitToICC(unsigned long, struct _SCARD_IO_HEADER, unsigned char *, unsigned long,
                       unsigned char *, unsigned long *, struct _SCARD_IO_HEADER *);
long IFDHICCPresence(unsigned long);

/* A number: its value and the size of its type. */
#define N(name) printf("%s %lld %zu\n", #name, (long long)(name), sizeof(name))
/* A type and the pointer to it: sizes. */
#define T(type, pointer) printf("%s %zu %zu\n", #type, sizeof(type), sizeof(*(pointer)0))
/* A field: its offset, its size. */
#define F(type, field) \
    printf("%s.%s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))

static void structures(void)
{
    N((RESPONSECODE)-1);

    T(SCARD_IO_HEADER, PSCARD_IO_HEADER);
    F(SCARD_IO_HEADER, Protocol);
    F(SCARD_IO_HEADER, Length);

    T(DEVICE_CAPABILITIES, PDEVICE_CAPABILITIES);
    F(DEVICE_CAPABILITIES, Vendor_Name);
    F(DEVICE_CAPABILITIES, IFD_Type);
    F(DEVICE_CAPABILITIES, IFD_Version);
    F(DEVICE_CAPABILITIES, IFD_Serial);
    F(DEVICE_CAPABILITIES, IFD_Channel_ID);
    F(DEVICE_CAPABILITIES, Asynch_Supported);
    F(DEVICE_CAPABILITIES, Default_Clock);
    F(DEVICE_CAPABILITIES, Max_Clock);
    F(DEVICE_CAPABILITIES, Default_Data_Rate);
    F(DEVICE_CAPABILITIES, Max_Data_Rate);
    F(DEVICE_CAPABILITIES, Max_IFSD);
    F(DEVICE_CAPABILITIES, Synch_Supported);
    F(DEVICE_CAPABILITIES, Power_Mgmt);
    F(DEVICE_CAPABILITIES, Card_Auth_Devices);
    F(DEVICE_CAPABILITIES, User_Auth_Device);
    F(DEVICE_CAPABILITIES, Mechanics_Supported);
    F(DEVICE_CAPABILITIES, Vendor_Features);

    T(ICC_STATE, PICC_STATE);
    F(ICC_STATE, ICC_Presence);
    F(ICC_STATE, ICC_Interface_Status);
    F(ICC_STATE, ATR);
    F(ICC_STATE, ICC_Type);

    T(PROTOCOL_OPTIONS, PPROTOCOL_OPTIONS);
    F(PROTOCOL_OPTIONS, Protocol_Type);
    F(PROTOCOL_OPTIONS, Current_Clock);
    F(PROTOCOL_OPTIONS, Current_F);
    F(PROTOCOL_OPTIONS, Current_D);
    F(PROTOCOL_OPTIONS, Current_N);
    F(PROTOCOL_OPTIONS, Current_W);
    F(PROTOCOL_OPTIONS, Current_IFSC);
    F(PROTOCOL_OPTIONS, Current_IFSD);
    F(PROTOCOL_OPTIONS, Current_BWT);
    F(PROTOCOL_OPTIONS, Current_CWT);
    F(PROTOCOL_OPTIONS, Current_EBC);
}

static void constants(void)
{
    N(TAG_IFD_ATR);
    N(TAG_IFD_SLOTNUM);
    N(TAG_IFD_SLOT_THREAD_SAFE);
    N(TAG_IFD_THREAD_SAFE);
    N(TAG_IFD_SLOTS_NUMBER);
    N(TAG_IFD_SIMULTANEOUS_ACCESS);
    N(TAG_IFD_POLLING_THREAD);
    N(TAG_IFD_POLLING_THREAD_KILLABLE);
    N(TAG_IFD_STOP_POLLING_THREAD);
    N(TAG_IFD_POLLING_THREAD_WITH_TIMEOUT);
    N(TAG_IFD_DEVICE_REMOVED);
    N(IFD_HVERSION_1_0);
    N(IFD_HVERSION_2_0);
    N(IFD_HVERSION_3_0);
    N(IFD_POWER_UP);
    N(IFD_POWER_DOWN);
    N(IFD_RESET);
    N(IFD_NEGOTIATE_PTS1);
    N(IFD_NEGOTIATE_PTS2);
    N(IFD_NEGOTIATE_PTS3);
    N(IFD_SUCCESS);
    N(IFD_ERROR_TAG);
    N(IFD_ERROR_SET_FAILURE);
    N(IFD_ERROR_VALUE_READ_ONLY);
    N(IFD_ERROR_PTS_FAILURE);
    N(IFD_ERROR_NOT_SUPPORTED);
    N(IFD_PROTOCOL_NOT_SUPPORTED);
    N(IFD_ERROR_POWER_ACTION);
    N(IFD_ERROR_SWALLOW);
    N(IFD_ERROR_EJECT);
    N(IFD_ERROR_CONFISCATE);
    N(IFD_COMMUNICATION_ERROR);
    N(IFD_RESPONSE_TIMEOUT);
    N(IFD_NOT_SUPPORTED);
    N(IFD_ICC_PRESENT);
    N(IFD_ICC_NOT_PRESENT);
    N(IFD_NO_SUCH_DEVICE);
    N(IFD_ERROR_INSUFFICIENT_BUFFER);
    N(PCSC_LOG_DEBUG);
    N(PCSC_LOG_INFO);
    N(PCSC_LOG_ERROR);
    N(PCSC_LOG_CRITICAL);
    N(DEBUGLOG_NO_DEBUG);
    N(DEBUGLOG_SYSLOG_DEBUG);
    N(DEBUGLOG_STDOUT_DEBUG);
    N(DEBUGLOG_STDOUT_COLOR_DEBUG);
    N(DEBUG_CATEGORY_NOTHING);
    N(DEBUG_CATEGORY_APDU);
    N(DEBUG_CATEGORY_SW);
}

/* ---- The log, which pcscd has and this program plays ---- */

void log_msg(const int priority, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    printf("log_msg %d ", priority);
    vprintf(fmt, arguments);
    printf("\n");
    va_end(arguments);
}

void log_msg_rv(const int priority, unsigned int rv, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    printf("log_msg_rv %d %u ", priority, rv);
    vprintf(fmt, arguments);
    printf("\n");
    va_end(arguments);
}

void log_xxd(const int priority, const char *msg, const unsigned char *buffer, const int size)
{
    printf("log_xxd %d %s %d %d\n", priority, msg, buffer[0], size);
}

static void logging(void)
{
    static const unsigned char bytes[] = {0x90, 0x00};

    Log0(PCSC_LOG_DEBUG);
    Log1(PCSC_LOG_INFO, "one");
    Log2(PCSC_LOG_ERROR, "%d", 1);
    Log3(PCSC_LOG_CRITICAL, "%d %s", 1, "b");
    Log4(PCSC_LOG_DEBUG, "%d %d %d", 1, 2, 3);
    Log5(PCSC_LOG_DEBUG, "%d %d %d %d", 1, 2, 3, 4);
    Log9(PCSC_LOG_DEBUG, "%d %d %d %d %d %d %d %d", 1, 2, 3, 4, 5, 6, 7, 8);
    LogRv4(PCSC_LOG_INFO, 0x80100001, "%d %d", 1, 2);
    LogXxd(PCSC_LOG_INFO, "bytes", bytes, (int)sizeof(bytes));
    DebugLogA("A");
    DebugLogB("%d", 1);
    DebugLogC("%d %d", 1, 2);
    (void)bytes;
#ifdef NO_LOG
    printf("rv2text '%s'\n", rv2text(0x80100001));
#endif
}

int main(void)
{
    structures();
    constants();
    logging();
    return 0;
}
