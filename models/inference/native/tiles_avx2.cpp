// Tiles of 4 rows with AVX2: keys and values are bfloat16, everything else is float.
//
// A pair of bfloat16 lies in one 32-bit lane: shifted up it is the even value, masked the odd one.

#include <immintrin.h>

#include <cmath>

#include "attention.h"

namespace {

constexpr int64_t CHUNK = 128;  // keys whose scores are held at a time
constexpr int64_t STRIP = 16;   // values whose sums are held at a time

AVX2 inline __m256i pairs(const uint16_t *p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
}

AVX2 inline __m256 even(__m256i two) { return _mm256_castsi256_ps(_mm256_slli_epi32(two, 16)); }

AVX2 inline __m256 odd(__m256i two) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(two, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

// 2^x by a degree-5 polynomial on [-.5, .5]; error below 3e-7.
AVX2 inline __m256 exp2_of(__m256 x) {
    x = _mm256_max_ps(x, _mm256_set1_ps(-126.0f));
    const __m256 whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 rest = _mm256_sub_ps(x, whole);
    __m256 p = _mm256_set1_ps(1.33976460e-3f);
    p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(9.61812910e-3f));
    p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(5.55034850e-2f));
    p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(2.40226510e-1f));
    p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(6.93147180e-1f));
    p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(1.0f));
    const __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

AVX2 inline float largest(__m256 x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

AVX2 inline float sum_of(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

template <int R>
AVX2 void tile_rows(const Tile &tile, const uint16_t *kv, int64_t n_keys, int64_t dim,
                    float scale) {
    const int64_t part = BLOCK * dim, block = 2 * part;
    alignas(32) float score[R][CHUNK];
    const float *q[R];
    float kept[R];
    for (int r = 0; r < R; ++r) q[r] = static_cast<const float *>(tile.q[r]);
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const __m256 never = _mm256_set1_ps(NEVER);
    for (int64_t from = 0; from < n_keys; from += CHUNK) {
        const int64_t n = n_keys - from < CHUNK ? n_keys - from : CHUNK;
        const int64_t blocks = (n + BLOCK - 1) / BLOCK;
        const uint16_t *base = kv + from / BLOCK * block;
        __m256 top[R];
        for (int r = 0; r < R; ++r) top[r] = never;
        for (int64_t b = 0; b < blocks; ++b) {
            const uint16_t *k = base + b * block;
            __m256 acc[R][2];
            for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
            for (int64_t d = 0; d < dim; d += 2, k += 32) {
                const __m256i low = pairs(k), high = pairs(k + 16);
                const __m256 low0 = even(low), low1 = odd(low);
                const __m256 high0 = even(high), high1 = odd(high);
                for (int r = 0; r < R; ++r) {
                    const __m256 q0 = _mm256_broadcast_ss(q[r] + d);
                    acc[r][0] = _mm256_fmadd_ps(q0, low0, acc[r][0]);
                    acc[r][1] = _mm256_fmadd_ps(q0, high0, acc[r][1]);
                    const __m256 q1 = _mm256_broadcast_ss(q[r] + d + 1);
                    acc[r][0] = _mm256_fmadd_ps(q1, low1, acc[r][0]);
                    acc[r][1] = _mm256_fmadd_ps(q1, high1, acc[r][1]);
                }
            }
            for (int r = 0; r < R; ++r)
                for (int half = 0; half < 2; ++half) {
                    const int64_t at = from + b * BLOCK + half * 8;
                    __m256 s = _mm256_mul_ps(acc[r][half], _mm256_set1_ps(scale));
                    if (at + 8 > tile.limit[r]) {
                        const __m256i left = _mm256_set1_epi32(
                            static_cast<int>(tile.limit[r] > at ? tile.limit[r] - at : 0));
                        s = _mm256_blendv_ps(
                            never, s, _mm256_castsi256_ps(_mm256_cmpgt_epi32(left, lane)));
                    }
                    _mm256_store_ps(&score[r][b * BLOCK + half * 8], s);
                    top[r] = _mm256_max_ps(top[r], s);
                }
        }
        for (int r = 0; r < R; ++r) {
            const float before = *tile.m[r], most = largest(top[r]);
            const float now = before > most ? before : most;
            if (now == NEVER) {  // nothing to see yet: the row starts later in this tile
                kept[r] = 1.0f;
                std::memset(score[r], 0, sizeof score[r]);
                continue;
            }
            kept[r] = before == NEVER ? 0.0f : std::exp2(before - now);
            __m256 total = _mm256_setzero_ps();
            const __m256 shift = _mm256_set1_ps(now);
            for (int64_t i = 0; i < blocks * BLOCK; i += 8) {
                const __m256 s = _mm256_load_ps(&score[r][i]);
                const __m256 seen = _mm256_cmp_ps(s, never, _CMP_NEQ_UQ);
                const __m256 p = _mm256_and_ps(seen, exp2_of(_mm256_sub_ps(s, shift)));
                total = _mm256_add_ps(total, p);
                _mm256_store_ps(&score[r][i], p);
            }
            *tile.m[r] = now;
            *tile.l[r] = *tile.l[r] * kept[r] + sum_of(total);
        }
        for (int64_t strip = 0; strip < dim; strip += STRIP) {
            __m256 acc[R][2];
            for (int r = 0; r < R; ++r)
                for (int j = 0; j < 2; ++j)
                    acc[r][j] = _mm256_mul_ps(_mm256_loadu_ps(tile.o[r] + strip + 8 * j),
                                              _mm256_set1_ps(kept[r]));
            for (int64_t c = 0; c < blocks; ++c) {
                const uint16_t *v = base + c * block + part + 2 * strip;
                for (int64_t i = c * BLOCK; i < (c + 1) * BLOCK; i += 2, v += 2 * dim) {
                    const __m256i low = pairs(v), high = pairs(v + 16);
                    const __m256 low0 = even(low), low1 = odd(low);
                    const __m256 high0 = even(high), high1 = odd(high);
                    for (int r = 0; r < R; ++r) {
                        const __m256 p0 = _mm256_broadcast_ss(&score[r][i]);
                        acc[r][0] = _mm256_fmadd_ps(p0, low0, acc[r][0]);
                        acc[r][1] = _mm256_fmadd_ps(p0, high0, acc[r][1]);
                        const __m256 p1 = _mm256_broadcast_ss(&score[r][i + 1]);
                        acc[r][0] = _mm256_fmadd_ps(p1, low1, acc[r][0]);
                        acc[r][1] = _mm256_fmadd_ps(p1, high1, acc[r][1]);
                    }
                }
            }
            for (int r = 0; r < R; ++r)
                for (int j = 0; j < 2; ++j)
                    _mm256_storeu_ps(tile.o[r] + strip + 8 * j, acc[r][j]);
        }
    }
}

}  // namespace

void tile_rows_avx2(const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys, int64_t dim,
                    float scale) {
    switch (rows) {
        case 1: return tile_rows<1>(tile, kv, n_keys, dim, scale);
        case 2: return tile_rows<2>(tile, kv, n_keys, dim, scale);
        case 3: return tile_rows<3>(tile, kv, n_keys, dim, scale);
        default: return tile_rows<4>(tile, kv, n_keys, dim, scale);
    }
}
