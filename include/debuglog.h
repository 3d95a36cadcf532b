/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * pcscd's log, for the drivers that it loads: pcscd exports log_msg, log_xxd and
 * log_msg_rv. With NO_LOG defined the macros log nothing and need no pcscd.
 *
 * Formats are printf's and literals. The number in a macro's name counts its arguments.
 */
#ifndef __debuglog_h__
#define __debuglog_h__

#ifndef PCSC_API
#define PCSC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The priority of a message. */
enum {
    PCSC_LOG_DEBUG = 0,
    PCSC_LOG_INFO,
    PCSC_LOG_ERROR,
    PCSC_LOG_CRITICAL
};

/* Where messages go: DebugLogSetLogType. */
enum {
    DEBUGLOG_NO_DEBUG = 0,
    DEBUGLOG_SYSLOG_DEBUG,
    DEBUGLOG_STDOUT_DEBUG,
    DEBUGLOG_STDOUT_COLOR_DEBUG
};

/* What is logged beside messages: DebugLogSetCategory. */
#define DEBUG_CATEGORY_NOTHING 0
#define DEBUG_CATEGORY_APDU 1
#define DEBUG_CATEGORY_SW 2

#ifdef __GNUC__
#define PCSC_LOG_FORMAT(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define PCSC_LOG_FORMAT(text, first)
#endif

PCSC_API void log_msg(const int priority, const char *fmt, ...) PCSC_LOG_FORMAT(2, 3);

/* The same with the text of a result rv behind it. */
PCSC_API void log_msg_rv(const int priority, unsigned int rv, const char *fmt, ...) PCSC_LOG_FORMAT(3, 4);

/* The message, then size bytes of the buffer in hexadecimal digits. */
PCSC_API void log_xxd(const int priority, const char *msg, const unsigned char *buffer, const int size);

#undef PCSC_LOG_FORMAT

/* pcscd's own. */
void DebugLogSuppress(const int);
void DebugLogSetLogType(const int);
void DebugLogSetCategory(const int);
void DebugLogCategory(const int, const unsigned char *, const int);
PCSC_API void DebugLogSetLevel(const int level);

#ifdef NO_LOG

#define Log0(priority) do { } while (0)
#define Log1(priority, fmt) do { } while (0)
#define Log2(priority, fmt, a) do { (void)(priority); } while (0)
#define Log3(priority, fmt, a, b) do { (void)(priority); } while (0)
#define Log4(priority, fmt, a, b, c) do { } while (0)
#define Log5(priority, fmt, a, b, c, d) do { } while (0)
#define Log9(priority, fmt, a, b, c, d, e, f, g, h) do { } while (0)
#define LogRv4(priority, rv, fmt, a, b) do { } while (0)
#define LogXxd(priority, msg, buffer, size) do { } while (0)
#define rv2text(rv) ""

#define DebugLogA(fmt)
#define DebugLogB(fmt, a)
#define DebugLogC(fmt, a, b)

#else

/* The text of a result. */
const char *rv2text(unsigned int rv);

/* Each message begins with its place in the source. The arguments are named, since
 * C before C99 and C++ before C++20 cannot leave out a variable part. */
#define Log0(priority) log_msg(priority, "%s:%d:%s()", __FILE__, __LINE__, __func__)
#define Log1(priority, fmt) log_msg(priority, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__)
#define Log2(priority, fmt, a) log_msg(priority, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__, a)
#define Log3(priority, fmt, a, b) log_msg(priority, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__, a, b)
#define Log4(priority, fmt, a, b, c) \
    log_msg(priority, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__, a, b, c)
#define Log5(priority, fmt, a, b, c, d) \
    log_msg(priority, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__, a, b, c, d)
#define Log9(priority, fmt, a, b, c, d, e, f, g, h) \
    log_msg(priority, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__, a, b, c, d, e, f, g, h)
#define LogRv4(priority, rv, fmt, a, b) \
    log_msg_rv(priority, rv, "%s:%d:%s() " fmt, __FILE__, __LINE__, __func__, a, b)
#define LogXxd(priority, msg, buffer, size) log_xxd(priority, msg, buffer, size)

/* Older names. */
#define DebugLogA(fmt) Log1(PCSC_LOG_INFO, fmt)
#define DebugLogB(fmt, a) Log2(PCSC_LOG_INFO, fmt, a)
#define DebugLogC(fmt, a, b) Log3(PCSC_LOG_INFO, fmt, a, b)

#endif

#ifdef __cplusplus
}
#endif

#endif
