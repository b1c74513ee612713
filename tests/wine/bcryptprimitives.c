/*
 * The one function of bcryptprimitives.dll that Rust's standard library imports. A test aid, never shipped.
 *
 * Rust's std takes its random keys from ProcessPrng. Wine before 9 lacks this DLL, so the program fails to load
 * (0xc0000135), without any output. This DLL of the same name beside the exe forwards to RtlGenRandom, which advapi32
 * exports under the name SystemFunction036 (documented by Microsoft).
 *
 * With CRASH_IN_RANDOM set, the call crashes: so a test sees how a crash of the program ends under this Wine.
 */
#include <windows.h>

/* RtlGenRandom. No header of mingw declares it under this name. */
BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
    if (GetEnvironmentVariableA("CRASH_IN_RANDOM", NULL, 0) > 0)
        *(volatile int *)8 = 0;
    while (length > 0) {
        ULONG part = length > 0x40000000 ? 0x40000000 : (ULONG)length;
        if (!SystemFunction036(buffer, part))
            return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
