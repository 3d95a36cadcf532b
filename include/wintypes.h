/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The integer and pointer types of the PC/SC API (part 5), with the widths that
 * pcsc-lite gave them outside macOS: DWORD and LONG are as wide as a C long, not
 * 32 bits as on Windows. Every binary built for libpcsclite.so.1 relies on it.
 *
 * The include guards are named as in pcsc-lite, so that a program whose search
 * path holds both sets of headers gets one of them and never a mixture.
 */
#ifndef __wintypes_h__
#define __wintypes_h__

#ifdef __APPLE__
#error "on macOS use <PCSC/winscard.h> of the system's PCSC framework"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Integers. */
#ifndef BYTE
typedef unsigned char BYTE;
#endif
typedef unsigned char UCHAR;
typedef unsigned short USHORT;
typedef unsigned short WORD;
typedef unsigned long ULONG;
typedef unsigned long DWORD;
typedef long LONG;
typedef short BOOL;

/* Pointers to what a call writes. */
typedef UCHAR *PUCHAR;
typedef ULONG *PULONG;
typedef DWORD *PDWORD;
typedef DWORD *LPDWORD;
typedef BYTE *LPBYTE;
typedef void *LPVOID;
typedef char *LPSTR;
typedef LPSTR LPTSTR;

/* Pointers to what a call only reads. */
typedef const BYTE *LPCBYTE;
typedef const void *LPCVOID;
typedef const char *LPCSTR;
typedef LPCSTR LPCTSTR;

#ifdef __cplusplus
}
#endif

#endif
