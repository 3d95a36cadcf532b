/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The function of bcryptprimitives.dll that Rust's standard library needs, for Wine before 8.4, which has no
 * such DLL.
 */
#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *data, SIZE_T length)
{
    return RtlGenRandom(data, (ULONG)length);
}
