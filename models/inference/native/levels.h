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

// Without products of bfloat16 the activations stay float, and so do the weights of products.
inline bool is_wide(int level) { return level < WITH_AVX512_BF16; }

// The same plain loop compiled for each level: BODY is an INLINE template over the type of the
// activations, vectorised where it is inlined. Calls NAME[level](...).
#define FOR_EACH_LEVEL(NAME, BODY, PARAMETERS, ARGUMENTS)            \
    void NAME##_portable PARAMETERS { BODY<float> ARGUMENTS; }       \
    AVX2 void NAME##_avx2 PARAMETERS { BODY<float> ARGUMENTS; }     \
    AVX512 void NAME##_avx512 PARAMETERS { BODY<uint16_t> ARGUMENTS; } \
    constexpr decltype(&NAME##_portable) NAME[] = {NAME##_portable, NAME##_avx2, NAME##_avx512, \
                                                   NAME##_avx512};
