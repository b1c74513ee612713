/*
 * A test aid, never shipped: the one function of bcryptprimitives.dll that Rust's standard library imports.
 *
 * Rust's std takes its random keys from ProcessPrng. Wine before 9 has no such DLL, so the program dies while it is
 * loaded (0xc0000135) without a word. This DLL of the same name beside the exe forwards to RtlGenRandom, which
 * advapi32 exports under the name SystemFunction036, as Microsoft documents it.
 */
#include <windows.h>

/* RtlGenRandom; no header of mingw's declares it under this name. */
BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length > 0x40000000 ? 0x40000000 : (ULONG)length;
        if (!SystemFunction036(buffer, part))
            return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
