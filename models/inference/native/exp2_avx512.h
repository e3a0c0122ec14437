// Powers of two, 16 at a time.
#pragma once

#include <immintrin.h>

#include "levels.h"

AVX512 inline __m512 exp2_of(__m512 x) {
    // 2^x by a degree-5 polynomial on [-.5, .5]; error below 3e-7, far under bfloat16.
    x = _mm512_max_ps(x, _mm512_set1_ps(-126.0f));
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 rest = _mm512_sub_ps(x, whole);
    __m512 p = _mm512_set1_ps(1.33976460e-3f);
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(9.61812910e-3f));
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(5.55034850e-2f));
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(2.40226510e-1f));
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(6.93147180e-1f));
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, whole);
}
