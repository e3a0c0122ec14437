// Tiles of 16 rows with AMX: a packed block of keys is just what a tile register takes.

#include <immintrin.h>

#include <cmath>

#include "attention.h"
#include "exp2_avx512.h"

namespace {

// Keys whose scores are held at a time: more make a row's maximum and sum, which cost as much
// as two blocks, rarer.
constexpr int64_t CHUNK = 256;
constexpr int ROWS = WIDE_TILE;

struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start = 0;
    uint8_t reserved[14] = {0};
    // 0-3 sums, 4 queries, 5 weights of 16 keys, 6 keys, 7 values of 16 keys (8 pairs).
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 32, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 8};
};

const TileConfig CONFIG;

// Scores of 16 rows and up to four blocks of keys.
AMX void score_blocks(const uint16_t *q, const uint16_t *k, int64_t n_blocks, int64_t block,
                      int64_t dim, float *score) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t d = 0; d < dim; d += 32) {
        const uint16_t *at = k + d * BLOCK;
        _tile_loadd(4, q + d, dim * 2);
        _tile_loadd(6, at, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (n_blocks > 1) {
            _tile_loadd(6, at + block, 64);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (n_blocks > 2) {
            _tile_loadd(6, at + 2 * block, 64);
            _tile_dpbf16ps(2, 4, 6);
        }
        if (n_blocks > 3) {
            _tile_loadd(6, at + 3 * block, 64);
            _tile_dpbf16ps(3, 4, 6);
        }
    }
    _tile_stored(0, score, CHUNK * 4);
    if (n_blocks > 1) _tile_stored(1, score + 16, CHUNK * 4);
    if (n_blocks > 2) _tile_stored(2, score + 32, CHUNK * 4);
    if (n_blocks > 3) _tile_stored(3, score + 48, CHUNK * 4);
}

// Weights of one row from its scores; returns what the sums so far are multiplied by.
AMX float weigh(float *score, uint16_t *weight, int64_t n_blocks, int64_t visible, float scale,
                float *m, float *l) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512 never = _mm512_set1_ps(NEVER);
    __m512 top = never;
    for (int64_t c = 0; c < n_blocks; ++c) {
        __m512 s = _mm512_mul_ps(_mm512_load_ps(score + c * BLOCK), _mm512_set1_ps(scale));
        const int64_t left = visible - c * BLOCK;
        if (left < BLOCK) {
            const __mmask16 seen =
                _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(static_cast<int>(left)));
            s = _mm512_mask_mov_ps(never, seen, s);
            _mm512_store_ps(score + c * BLOCK, s);
        }
        top = _mm512_max_ps(top, s);
        _mm512_store_ps(score + c * BLOCK, s);
    }
    const float before = *m, most = _mm512_reduce_max_ps(top);
    const float now = before > most ? before : most;
    if (now == NEVER) {  // nothing to see yet
        std::memset(weight, 0, n_blocks * BLOCK * sizeof *weight);
        return 1.0f;
    }
    const float kept = before == now ? 1.0f : before == NEVER ? 0.0f : std::exp2(before - now);
    __m512 total = _mm512_setzero_ps();
    const __m512 shift = _mm512_set1_ps(now);
    for (int64_t c = 0; c < n_blocks; ++c) {
        const __m512 s = _mm512_load_ps(score + c * BLOCK);
        __m512 p = exp2_of(_mm512_sub_ps(s, shift));
        if (visible - c * BLOCK < BLOCK)
            p = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(s, never, _CMP_NEQ_UQ), p);
        total = _mm512_add_ps(total, p);
        _mm256_store_si256(reinterpret_cast<__m256i *>(weight + c * BLOCK),
                           (__m256i)_mm512_cvtneps_pbh(p));
    }
    *m = now;
    *l = *l * kept + _mm512_reduce_add_ps(total);
    return kept;
}

AMX void add_values(const uint16_t *weight, const uint16_t *v, int64_t n_blocks, int64_t block,
                    int64_t dim, float *o) {
    for (int64_t at = 0; at < dim; at += 64) {
        const int64_t row = dim * 4;
        _tile_loadd(0, o + at, row);
        _tile_loadd(1, o + at + 16, row);
        _tile_loadd(2, o + at + 32, row);
        _tile_loadd(3, o + at + 48, row);
        for (int64_t c = 0; c < n_blocks; ++c) {
            const uint16_t *values = v + c * block + 2 * at;
            _tile_loadd(5, weight + c * BLOCK, CHUNK * 2);
            _tile_loadd(7, values, row);
            _tile_dpbf16ps(0, 5, 7);
            _tile_loadd(7, values + 32, row);
            _tile_dpbf16ps(1, 5, 7);
            _tile_loadd(7, values + 64, row);
            _tile_dpbf16ps(2, 5, 7);
            _tile_loadd(7, values + 96, row);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, o + at, row);
        _tile_stored(1, o + at + 16, row);
        _tile_stored(2, o + at + 32, row);
        _tile_stored(3, o + at + 48, row);
    }
}

}  // namespace

AMX void tile_rows_amx(const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys, int64_t dim,
                       float scale) {
    const int64_t part = BLOCK * dim, block = 2 * part;
    alignas(64) uint16_t q[ROWS * MOST_DIM];
    alignas(64) float o[ROWS * MOST_DIM];
    alignas(64) float score[ROWS * CHUNK];
    alignas(64) uint16_t weight[ROWS * CHUNK];
    std::memset(q + rows * dim, 0, (ROWS - rows) * dim * sizeof *q);
    std::memset(o + rows * dim, 0, (ROWS - rows) * dim * sizeof *o);
    std::memset(weight, 0, sizeof weight);
    for (int r = 0; r < rows; ++r) {
        std::memcpy(q + r * dim, tile.q[r], dim * sizeof *q);
        std::memcpy(o + r * dim, tile.o[r], dim * sizeof *o);
    }
    _tile_loadconfig(&CONFIG);
    for (int64_t from = 0; from < n_keys; from += CHUNK) {
        const int64_t n = n_keys - from < CHUNK ? n_keys - from : CHUNK;
        const int64_t blocks = (n + BLOCK - 1) / BLOCK;
        const uint16_t *base = kv + from / BLOCK * block;
        for (int64_t b = 0; b < blocks; b += 4)
            score_blocks(q, base + b * block, blocks - b, block, dim, score + b * BLOCK);
        for (int r = 0; r < rows; ++r) {
            const float kept = weigh(score + r * CHUNK, weight + r * CHUNK, blocks,
                                     tile.limit[r] - from, scale, tile.m[r], tile.l[r]);
            if (kept == 1.0f) continue;
            const __m512 by = _mm512_set1_ps(kept);
            for (int64_t d = 0; d < dim; d += 16)
                _mm512_store_ps(o + r * dim + d,
                                _mm512_mul_ps(_mm512_load_ps(o + r * dim + d), by));
        }
        add_values(weight, base + part, blocks, block, dim, o);
    }
    _tile_release();
    for (int r = 0; r < rows; ++r) std::memcpy(tile.o[r], o + r * dim, dim * sizeof *o);
}
