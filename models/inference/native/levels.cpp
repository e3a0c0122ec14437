// What this processor, and its kernel, let us use.

#include "levels.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Tile registers must be asked for: Linux keeps their 8 KB out of a process's state until then.
bool may_use_amx() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned bf16 = 1u << 22, tile = 1u << 24;
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return (d & bf16) && (d & tile) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

int find_level() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return may_use_amx() ? WITH_AMX_BF16 : WITH_AVX512_BF16;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? WITH_AVX2 : PORTABLE;
}

}  // namespace

extern "C" int loom_level() {
    static const int level = find_level();
    return level;
}
