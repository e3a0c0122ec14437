// Scores, softmax and weighted values of a few rows over many packed keys.

#include <immintrin.h>

#include <cmath>

#include "attention.h"
#include "exp2_avx512.h"

namespace {

constexpr int64_t CHUNK = 128;  // keys whose scores are held at a time

// ---------------------------------------------------------------- plain

void tile_portable(const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys, int64_t dim,
                   float scale) {
    const int64_t part = BLOCK * dim, block = 2 * part;
    for (int r = 0; r < rows; ++r) {
        const int64_t visible = tile.limit[r] < n_keys ? tile.limit[r] : n_keys;
        const float *q = static_cast<const float *>(tile.q[r]);
        float *o = tile.o[r];
        for (int64_t from = 0; from < visible; from += CHUNK) {
            const int64_t n = visible - from < CHUNK ? visible - from : CHUNK;
            float score[CHUNK];
            float top = NEVER;
            for (int64_t b = 0; b * BLOCK < n; ++b) {
                const uint16_t *k = kv + (from / BLOCK + b) * block;
                float sum[BLOCK] = {0};
                for (int64_t d = 0; d < dim / 2; ++d)
                    for (int64_t i = 0; i < BLOCK; ++i)
                        sum[i] += q[2 * d] * widen(k[d * 32 + 2 * i]) +
                                  q[2 * d + 1] * widen(k[d * 32 + 2 * i + 1]);
                for (int64_t i = 0; i < BLOCK && b * BLOCK + i < n; ++i) {
                    score[b * BLOCK + i] = sum[i] * scale;
                    if (score[b * BLOCK + i] > top) top = score[b * BLOCK + i];
                }
            }
            const float before = *tile.m[r];
            const float now = before > top ? before : top;
            const float kept = std::exp2(before - now);
            float total = 0;
            for (int64_t i = 0; i < n; ++i) {
                score[i] = std::exp2(score[i] - now);
                total += score[i];
            }
            for (int64_t d = 0; d < dim; ++d) o[d] *= kept;
            for (int64_t i = 0; i < n; ++i) {
                const uint16_t *v =
                    kv + ((from + i) / BLOCK) * block + part + (i % BLOCK) / 2 * 2 * dim + i % 2;
                for (int64_t d = 0; d < dim; ++d) o[d] += score[i] * widen(v[2 * d]);
            }
            *tile.m[r] = now;
            *tile.l[r] = *tile.l[r] * kept + total;
        }
    }
}

// ---------------------------------------------------------------- AVX512 with bfloat16 products

AVX512 inline __m512 pairs_at(const uint16_t *p) {
    int32_t two;
    std::memcpy(&two, p, sizeof two);
    return _mm512_castsi512_ps(_mm512_set1_epi32(two));
}

template <int R>
AVX512 void tile_rows(const Tile &tile, const uint16_t *kv, int64_t n_keys, int64_t dim,
                      float scale) {
    const int64_t part = BLOCK * dim, block = 2 * part;
    alignas(64) float score[R][CHUNK];
    alignas(64) uint16_t weight[R][CHUNK];
    float kept[R];
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int64_t from = 0; from < n_keys; from += CHUNK) {
        const int64_t n = n_keys - from < CHUNK ? n_keys - from : CHUNK;
        const int64_t blocks = (n + BLOCK - 1) / BLOCK;
        const uint16_t *base = kv + from / BLOCK * block;
        __m512 top[R];
        for (int r = 0; r < R; ++r) top[r] = _mm512_set1_ps(NEVER);
        int64_t b = 0;
        for (; b + 1 < blocks; b += 2) {
            const uint16_t *k0 = base + b * block, *k1 = k0 + block;
            __m512 acc0[R], acc1[R];
            for (int r = 0; r < R; ++r) acc0[r] = acc1[r] = _mm512_setzero_ps();
            for (int64_t d = 0; d < dim / 2; ++d) {
                const __m512bh key0 = (__m512bh)_mm512_loadu_si512(k0 + d * 32);
                const __m512bh key1 = (__m512bh)_mm512_loadu_si512(k1 + d * 32);
                for (int r = 0; r < R; ++r) {
                    const __m512bh q = (__m512bh)pairs_at(static_cast<const uint16_t *>(tile.q[r]) + 2 * d);
                    acc0[r] = _mm512_dpbf16_ps(acc0[r], q, key0);
                    acc1[r] = _mm512_dpbf16_ps(acc1[r], q, key1);
                }
            }
            for (int r = 0; r < R; ++r) {
                for (int half = 0; half < 2; ++half) {
                    const int64_t at = from + (b + half) * BLOCK;
                    __m512 s = _mm512_mul_ps(half ? acc1[r] : acc0[r], _mm512_set1_ps(scale));
                    if (at + BLOCK > tile.limit[r]) {
                        const __mmask16 seen = _mm512_cmplt_epi32_mask(
                            lane, _mm512_set1_epi32(static_cast<int>(tile.limit[r] - at)));
                        s = _mm512_mask_mov_ps(_mm512_set1_ps(NEVER), seen, s);
                    }
                    _mm512_store_ps(&score[r][(b + half) * BLOCK], s);
                    top[r] = _mm512_max_ps(top[r], s);
                }
            }
        }
        for (; b < blocks; ++b) {
            const uint16_t *k0 = base + b * block;
            __m512 acc[R];
            for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_ps();
            for (int64_t d = 0; d < dim / 2; ++d) {
                const __m512bh key = (__m512bh)_mm512_loadu_si512(k0 + d * 32);
                for (int r = 0; r < R; ++r)
                    acc[r] =
                        _mm512_dpbf16_ps(acc[r], (__m512bh)pairs_at(static_cast<const uint16_t *>(tile.q[r]) + 2 * d), key);
            }
            const int64_t at = from + b * BLOCK;
            for (int r = 0; r < R; ++r) {
                __m512 s = _mm512_mul_ps(acc[r], _mm512_set1_ps(scale));
                if (at + BLOCK > tile.limit[r]) {
                    const __mmask16 seen = _mm512_cmplt_epi32_mask(
                        lane, _mm512_set1_epi32(static_cast<int>(tile.limit[r] - at)));
                    s = _mm512_mask_mov_ps(_mm512_set1_ps(NEVER), seen, s);
                }
                _mm512_store_ps(&score[r][b * BLOCK], s);
                top[r] = _mm512_max_ps(top[r], s);
            }
        }
        for (int r = 0; r < R; ++r) {
            const float before = *tile.m[r], most = _mm512_reduce_max_ps(top[r]);
            const float now = before > most ? before : most;
            if (now == NEVER) {  // nothing to see yet: the row starts later in this tile
                kept[r] = 1.0f;
                std::memset(weight[r], 0, sizeof weight[r]);
                continue;
            }
            kept[r] = before == NEVER ? 0.0f : std::exp2(before - now);
            __m512 total = _mm512_setzero_ps();
            const __m512 shift = _mm512_set1_ps(now);
            for (int64_t c = 0; c < blocks; ++c) {
                const __m512 s = _mm512_load_ps(&score[r][c * BLOCK]);
                const __mmask16 seen = _mm512_cmp_ps_mask(s, _mm512_set1_ps(NEVER), _CMP_NEQ_UQ);
                const __m512 p = _mm512_maskz_mov_ps(seen, exp2_of(_mm512_sub_ps(s, shift)));
                total = _mm512_add_ps(total, p);
                _mm256_store_si256(reinterpret_cast<__m256i *>(&weight[r][c * BLOCK]),
                                   (__m256i)_mm512_cvtneps_pbh(p));
            }
            *tile.m[r] = now;
            *tile.l[r] = *tile.l[r] * kept[r] + _mm512_reduce_add_ps(total);
        }
        for (int64_t half = 0; half < dim; half += 64) {
            __m512 acc[R][4];
            for (int r = 0; r < R; ++r)
                for (int j = 0; j < 4; ++j)
                    acc[r][j] = _mm512_mul_ps(_mm512_loadu_ps(tile.o[r] + half + 16 * j),
                                              _mm512_set1_ps(kept[r]));
            for (int64_t c = 0; c < blocks; ++c) {
                const uint16_t *v = base + c * block + part + 2 * half;
                for (int64_t pair = 0; pair < BLOCK / 2; ++pair, v += 2 * dim) {
                    const __m512bh v0 = (__m512bh)_mm512_loadu_si512(v);
                    const __m512bh v1 = (__m512bh)_mm512_loadu_si512(v + 32);
                    const __m512bh v2 = (__m512bh)_mm512_loadu_si512(v + 64);
                    const __m512bh v3 = (__m512bh)_mm512_loadu_si512(v + 96);
                    for (int r = 0; r < R; ++r) {
                        const __m512bh p = (__m512bh)pairs_at(&weight[r][c * BLOCK + 2 * pair]);
                        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], p, v0);
                        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], p, v1);
                        acc[r][2] = _mm512_dpbf16_ps(acc[r][2], p, v2);
                        acc[r][3] = _mm512_dpbf16_ps(acc[r][3], p, v3);
                    }
                }
            }
            for (int r = 0; r < R; ++r)
                for (int j = 0; j < 4; ++j)
                    _mm512_storeu_ps(tile.o[r] + half + 16 * j, acc[r][j]);
        }
    }
}

}  // namespace

void attend_tile(int level, const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys,
                 int64_t dim, float scale) {
    if (level == WITH_AMX_BF16 && rows > TILE)
        return tile_rows_amx(tile, rows, kv, n_keys, dim, scale);
    if (level >= WITH_AVX512_BF16) {
        switch (rows) {
            case 1: return tile_rows<1>(tile, kv, n_keys, dim, scale);
            case 2: return tile_rows<2>(tile, kv, n_keys, dim, scale);
            case 3: return tile_rows<3>(tile, kv, n_keys, dim, scale);
            case 4: return tile_rows<4>(tile, kv, n_keys, dim, scale);
            case 5: return tile_rows<5>(tile, kv, n_keys, dim, scale);
            default: return tile_rows<6>(tile, kv, n_keys, dim, scale);
        }
    }
    if (level == WITH_AVX2 && dim % 16 == 0)
        return tile_rows_avx2(tile, rows, kv, n_keys, dim, scale);
    tile_portable(tile, rows, kv, n_keys, dim, scale);
}
