// Instruction sets, chosen at run time: a library shared between machines holds no illegal one.
#pragma once

#define AVX512                                                                                  \
    __attribute__((target(                                                                      \
        "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,prefer-vector-width=512")))
#define AMX                                                                                     \
    __attribute__((target(                                                                      \
        "amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE inline __attribute__((always_inline))

enum Level { PORTABLE = 0, WITH_AVX2 = 1, WITH_AVX512_BF16 = 2, WITH_AMX_BF16 = 3 };

extern "C" int loom_level();

// The same plain loop compiled for each level: BODY is an INLINE function, vectorised where it
// is inlined. Calls NAME(level, ...).
#define FOR_EACH_LEVEL(NAME, BODY, PARAMETERS, ARGUMENTS)            \
    void NAME##_portable PARAMETERS { BODY ARGUMENTS; }              \
    AVX2 void NAME##_avx2 PARAMETERS { BODY ARGUMENTS; }            \
    AVX512 void NAME##_avx512 PARAMETERS { BODY ARGUMENTS; }        \
    constexpr decltype(&NAME##_portable) NAME[] = {NAME##_portable, NAME##_avx2, NAME##_avx512, \
                                                   NAME##_avx512};
