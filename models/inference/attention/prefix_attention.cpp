// Attention over a shared prefix and a private tail, and the small steps around it, in bfloat16.
//
// Keys and values of a span lie packed for dot products of bfloat16 pairs. Per layer:
//   [kv head][block of 16 tokens][keys: head_dim/2 x 16 x 2 | values: 8 x head_dim x 2]
// Rows of all sequences that share a prefix are attended in common tiles, so that a key is
// loaded once for several of them. The running softmax state (maximum, sum, weighted values)
// of a row is handed from its prefix to its own tokens; that is the merge by log-sum-exp.
//
// No header of torch: plain pointers come in, an error code goes out.

#include <immintrin.h>
#include <omp.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define AVX2 __attribute__((target("avx2,fma")))

namespace {

constexpr int64_t BLOCK = 16;     // tokens of a packed block
constexpr int64_t CHUNK = 128;    // keys whose scores are held at a time
constexpr int TILE = 6;           // rows of a tile: 6 x 4 accumulators fill the registers
constexpr float LOG2E = 1.4426950408889634f;
constexpr float NEVER = -std::numeric_limits<float>::infinity();

enum Level { PORTABLE = 0, WITH_AVX2 = 1, WITH_AVX512_BF16 = 2 };

inline float widen(uint16_t value) {
    uint32_t bits = static_cast<uint32_t>(value) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

inline uint16_t narrow(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    bits += 0x7fffu + ((bits >> 16) & 1u);  // nearest, ties to even
    return static_cast<uint16_t>(bits >> 16);
}

}  // namespace

extern "C" {

// Rows of one sequence in a step. Offsets count bfloat16 values.
struct Piece {
    int64_t first_row;
    int64_t n_rows;
    int64_t prefix;       // place in the list of prefixes, or -1
    int64_t own_length;   // tokens that the span held before the step
    int64_t head_stride;
    int64_t layer_stride;
    uint16_t *own;        // layer 0, head 0
};

struct Prefix {
    int64_t length;
    int64_t head_stride;
    int64_t layer_stride;
    int64_t first_item;   // rows that attend to it, as a range of `prefix_rows`
    int64_t n_items;
    const uint16_t *kv;
};

struct Shape {
    int64_t n_heads;
    int64_t n_kv_heads;
    int64_t head_dim;
};

}  // extern "C"

namespace {

// Softmax state of the rows of a tile; the tile's rows are gathered by pointer.
struct Tile {
    const uint16_t *q[TILE];
    float *o[TILE];
    float *m[TILE];
    float *l[TILE];
    int64_t limit[TILE];  // keys that the row may see
};

// ---------------------------------------------------------------- plain and AVX2

#define DEFINE_TILE_PLAIN(NAME, TARGET)                                                       \
    TARGET void NAME(const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys,          \
                     int64_t dim, float scale) {                                              \
        const int64_t part = BLOCK * dim, block = 2 * part;                                   \
        for (int r = 0; r < rows; ++r) {                                                      \
            const int64_t visible = tile.limit[r] < n_keys ? tile.limit[r] : n_keys;          \
            float *o = tile.o[r];                                                             \
            for (int64_t from = 0; from < visible; from += CHUNK) {                           \
                const int64_t n = visible - from < CHUNK ? visible - from : CHUNK;            \
                float score[CHUNK];                                                           \
                float top = NEVER;                                                            \
                for (int64_t b = 0; b * BLOCK < n; ++b) {                                     \
                    const uint16_t *k = kv + ((from / BLOCK) + b) * block;                    \
                    float sum[BLOCK] = {0};                                                   \
                    for (int64_t d = 0; d < dim / 2; ++d) {                                   \
                        const float q0 = widen(tile.q[r][2 * d]);                             \
                        const float q1 = widen(tile.q[r][2 * d + 1]);                         \
                        for (int64_t i = 0; i < BLOCK; ++i)                                   \
                            sum[i] += q0 * widen(k[d * 32 + 2 * i]) +                         \
                                      q1 * widen(k[d * 32 + 2 * i + 1]);                      \
                    }                                                                         \
                    for (int64_t i = 0; i < BLOCK && b * BLOCK + i < n; ++i) {                \
                        score[b * BLOCK + i] = sum[i] * scale;                                \
                        if (score[b * BLOCK + i] > top) top = score[b * BLOCK + i];           \
                    }                                                                         \
                }                                                                             \
                const float before = *tile.m[r];                                              \
                const float now = before > top ? before : top;                                \
                const float kept = std::exp2(before - now);                                   \
                float total = 0;                                                              \
                for (int64_t i = 0; i < n; ++i) {                                             \
                    score[i] = std::exp2(score[i] - now);                                     \
                    total += score[i];                                                        \
                }                                                                             \
                for (int64_t d = 0; d < dim; ++d) o[d] *= kept;                               \
                for (int64_t i = 0; i < n; ++i) {                                             \
                    const uint16_t *v =                                                       \
                        kv + ((from + i) / BLOCK) * block + part + (i % BLOCK) / 2 * 2 * dim; \
                    const int64_t odd = i % 2;                                                \
                    for (int64_t d = 0; d < dim; ++d)                                         \
                        o[d] += score[i] * widen(v[2 * d + odd]);                             \
                }                                                                             \
                *tile.m[r] = now;                                                             \
                *tile.l[r] = *tile.l[r] * kept + total;                                       \
            }                                                                                 \
        }                                                                                     \
    }

DEFINE_TILE_PLAIN(tile_portable, )
DEFINE_TILE_PLAIN(tile_avx2, AVX2)

// ---------------------------------------------------------------- AVX512 with bfloat16 products

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
                    const __m512bh q = (__m512bh)pairs_at(tile.q[r] + 2 * d);
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
                        _mm512_dpbf16_ps(acc[r], (__m512bh)pairs_at(tile.q[r] + 2 * d), key);
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

void attend_tile(int level, const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys,
                 int64_t dim, float scale) {
    if (level == WITH_AVX512_BF16) {
        switch (rows) {
            case 1: return tile_rows<1>(tile, kv, n_keys, dim, scale);
            case 2: return tile_rows<2>(tile, kv, n_keys, dim, scale);
            case 3: return tile_rows<3>(tile, kv, n_keys, dim, scale);
            case 4: return tile_rows<4>(tile, kv, n_keys, dim, scale);
            case 5: return tile_rows<5>(tile, kv, n_keys, dim, scale);
            default: return tile_rows<6>(tile, kv, n_keys, dim, scale);
        }
    }
    if (level == WITH_AVX2) return tile_avx2(tile, rows, kv, n_keys, dim, scale);
    tile_portable(tile, rows, kv, n_keys, dim, scale);
}

struct Work {
    int64_t owner;  // place in the list of prefixes or of pieces
    int64_t kv_head;
    int64_t first_item;
    int64_t n_items;
};

template <typename Owner>
std::vector<Work> cut(const Owner *owners, int64_t n_owners, int64_t Owner::*rows,
                      const Shape &shape) {
    const int64_t group = shape.n_heads / shape.n_kv_heads;
    std::vector<Work> list;
    for (int64_t owner = 0; owner < n_owners; ++owner)
        for (int64_t head = 0; head < shape.n_kv_heads; ++head)
            for (int64_t item = 0; item < owners[owner].*rows * group; item += TILE) {
                const int64_t left = owners[owner].*rows * group - item;
                list.push_back({owner, head, item, left < TILE ? left : TILE});
            }
    return list;
}

inline void rotate_pair(float &a, float &b, float cos, float sin) {
    const float turned = a * cos - b * sin;
    b = b * cos + a * sin;
    a = turned;
}

}  // namespace

extern "C" {

int loom_level() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return WITH_AVX512_BF16;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? WITH_AVX2 : PORTABLE;
}

// Normalise (optional), rotate, and file the keys and values of a step.
//   qkv: rows x (n_heads + 2 n_kv_heads) x head_dim; q: rows x n_heads x head_dim, written.
//   cos, sin: positions x head_dim/2 in float; positions: one per row.
int loom_file_rows(const uint16_t *qkv, uint16_t *q, const float *cos, const float *sin,
                   const int64_t *positions, const uint16_t *q_gain, const uint16_t *k_gain,
                   float eps, const Piece *pieces, int64_t n_pieces, Shape shape, int64_t layer,
                   int threads) {
    const int64_t dim = shape.head_dim, half = dim / 2;
    const int64_t heads = shape.n_heads + 2 * shape.n_kv_heads;
    const int64_t part = BLOCK * dim, block = 2 * part;
    if (dim % 2 || dim > 512) return 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t p = 0; p < n_pieces; ++p) {
        const Piece &piece = pieces[p];
        float head[512];
        for (int64_t i = 0; i < piece.n_rows; ++i) {
            const int64_t row = piece.first_row + i, token = piece.own_length + i;
            const float *c = cos + positions[row] * half, *s = sin + positions[row] * half;
            for (int64_t h = 0; h < shape.n_heads + shape.n_kv_heads; ++h) {
                const uint16_t *in = qkv + (row * heads + h) * dim;
                const uint16_t *gain = h < shape.n_heads ? q_gain : k_gain;
                for (int64_t d = 0; d < dim; ++d) head[d] = widen(in[d]);
                if (gain) {
                    float sum = 0;
                    for (int64_t d = 0; d < dim; ++d) sum += head[d] * head[d];
                    const float by = 1.0f / std::sqrt(sum / dim + eps);
                    for (int64_t d = 0; d < dim; ++d)
                        head[d] = widen(narrow(widen(narrow(head[d] * by)) * widen(gain[d])));
                }
                for (int64_t d = 0; d < half; ++d) rotate_pair(head[d], head[d + half], c[d], s[d]);
                if (h < shape.n_heads) {
                    uint16_t *out = q + (row * shape.n_heads + h) * dim;
                    for (int64_t d = 0; d < dim; ++d) out[d] = narrow(head[d]);
                    continue;
                }
                uint16_t *k = piece.own + layer * piece.layer_stride +
                              (h - shape.n_heads) * piece.head_stride + token / BLOCK * block +
                              token % BLOCK * 2;
                for (int64_t d = 0; d < half; ++d) {
                    k[d * 32] = narrow(head[2 * d]);
                    k[d * 32 + 1] = narrow(head[2 * d + 1]);
                }
            }
            for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
                const uint16_t *in = qkv + (row * heads + shape.n_heads + shape.n_kv_heads + h) * dim;
                uint16_t *v = piece.own + layer * piece.layer_stride + h * piece.head_stride +
                              token / BLOCK * block + part;
                // Places behind the last token count with weight 0; they must not hold a NaN.
                if (token % BLOCK == 0) std::memset(v, 0, part * sizeof(uint16_t));
                v += token % BLOCK / 2 * 2 * dim + token % 2;
                for (int64_t d = 0; d < dim; ++d) v[2 * d] = in[d];
            }
        }
    }
    return 0;
}

// Attend all rows of a step to their prefix and to their own tokens.
//   q, out: rows x n_heads x head_dim; prefix_rows: rows by prefix, see Prefix;
//   state: rows x n_heads x (head_dim + 2) floats of scratch.
int loom_attend(int level, const uint16_t *q, uint16_t *out, float *state, int64_t n_rows,
                const Piece *pieces, int64_t n_pieces, const Prefix *prefixes,
                int64_t n_prefixes, const int64_t *prefix_rows, Shape shape, int64_t layer,
                int threads) {
    const int64_t dim = shape.head_dim, group = shape.n_heads / shape.n_kv_heads;
    if (level < PORTABLE || level > loom_level()) return 2;
    if (dim % (level == WITH_AVX512_BF16 ? 64 : 2)) return 1;
    const float scale = LOG2E / std::sqrt(static_cast<float>(dim));
    float *sums = state, *tops = state + n_rows * shape.n_heads,
          *mixed = state + 2 * n_rows * shape.n_heads;
    const auto shared = cut(prefixes, n_prefixes, &Prefix::n_items, shape);
    const auto own = cut(pieces, n_pieces, &Piece::n_rows, shape);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for
        for (int64_t i = 0; i < n_rows * shape.n_heads; ++i) {
            sums[i] = 0.0f;
            tops[i] = NEVER;
            std::memset(mixed + i * dim, 0, dim * sizeof(float));
        }
        const auto gather = [&](Tile &tile, int place, int64_t row, int64_t head) {
            const int64_t at = row * shape.n_heads + head;
            tile.q[place] = q + at * dim;
            tile.o[place] = mixed + at * dim;
            tile.m[place] = tops + at;
            tile.l[place] = sums + at;
            return at;
        };
#pragma omp for schedule(dynamic)
        for (size_t w = 0; w < shared.size(); ++w) {
            const Work &work = shared[w];
            const Prefix &prefix = prefixes[work.owner];
            Tile tile;
            for (int64_t i = 0; i < work.n_items; ++i) {
                const int64_t item = work.first_item + i;
                gather(tile, static_cast<int>(i), prefix_rows[prefix.first_item + item / group],
                       work.kv_head * group + item % group);
                tile.limit[i] = prefix.length;
            }
            attend_tile(level, tile, static_cast<int>(work.n_items),
                        prefix.kv + layer * prefix.layer_stride + work.kv_head * prefix.head_stride,
                        prefix.length, dim, scale);
        }
#pragma omp for schedule(dynamic)
        for (size_t w = 0; w < own.size(); ++w) {
            const Work &work = own[w];
            const Piece &piece = pieces[work.owner];
            Tile tile;
            int64_t at[TILE], most = 0;
            for (int64_t i = 0; i < work.n_items; ++i) {
                const int64_t item = work.first_item + i, row = item / group;
                at[i] = gather(tile, static_cast<int>(i), piece.first_row + row,
                               work.kv_head * group + item % group);
                tile.limit[i] = piece.own_length + row + 1;
                if (tile.limit[i] > most) most = tile.limit[i];
            }
            attend_tile(level, tile, static_cast<int>(work.n_items),
                        piece.own + layer * piece.layer_stride + work.kv_head * piece.head_stride,
                        most, dim, scale);
            for (int64_t i = 0; i < work.n_items; ++i) {
                const float by = 1.0f / sums[at[i]];
                for (int64_t d = 0; d < dim; ++d)
                    out[at[i] * dim + d] = narrow(mixed[at[i] * dim + d] * by);
            }
        }
    }
    return 0;
}

}  // extern "C"
