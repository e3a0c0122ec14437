// Normalise (optional), rotate, and file the keys and values of a step.

#include <omp.h>

#include <cmath>

#include "attention.h"

namespace {

struct Rows {
    const void *qkv;
    void *q;
    const float *cos;
    const float *sin;
    const int64_t *positions;
    const uint16_t *q_gain;
    const uint16_t *k_gain;
    float eps;
    Shape shape;
    int64_t layer;
};

INLINE void norm_head(float *head, const uint16_t *gain, int64_t dim, float eps) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < dim; ++d) sum += head[d] * head[d];
    const float by = 1.0f / std::sqrt(sum / static_cast<float>(dim) + eps);
#pragma omp simd
    for (int64_t d = 0; d < dim; ++d) head[d] = head[d] * by * widen(gain[d]);
}

template <typename In, typename Out>
INLINE void rotated(const In *in, Out *out, const uint16_t *gain, const float *cos,
                    const float *sin, int64_t dim, float eps) {
    float head[MOST_DIM];
    const int64_t half = dim / 2;
#pragma omp simd
    for (int64_t d = 0; d < dim; ++d) head[d] = widen(in[d]);
    if (gain) norm_head(head, gain, dim, eps);
#pragma omp simd
    for (int64_t d = 0; d < half; ++d) {
        put(out[d], head[d] * cos[d] - head[d + half] * sin[d]);
        put(out[d + half], head[d + half] * cos[d] + head[d] * sin[d]);
    }
}

template <typename T>
INLINE void file_piece_body(const Rows &r, const Piece &piece) {
    const T *qkv = static_cast<const T *>(r.qkv);
    T *q = static_cast<T *>(r.q);
    const int64_t dim = r.shape.head_dim, half = dim / 2;
    const int64_t n_heads = r.shape.n_heads, n_kv = r.shape.n_kv_heads;
    const int64_t heads = n_heads + 2 * n_kv, part = BLOCK * dim, block = 2 * part;
    for (int64_t i = 0; i < piece.n_rows; ++i) {
        const int64_t row = piece.first_row + i, token = piece.own_length + i;
        const float *cos = r.cos + r.positions[row] * half, *sin = r.sin + r.positions[row] * half;
        const T *in = qkv + row * heads * dim;
        for (int64_t h = 0; h < n_heads; ++h)
            rotated(in + h * dim, q + (row * n_heads + h) * dim, r.q_gain, cos, sin, dim, r.eps);
        uint16_t *place = piece.own + r.layer * piece.layer_stride + token / BLOCK * block;
        for (int64_t h = 0; h < n_kv; ++h, place += piece.head_stride) {
            alignas(64) uint16_t key[MOST_DIM];
            rotated(in + (n_heads + h) * dim, key, r.k_gain, cos, sin, dim, r.eps);
            uint16_t *k = place + token % BLOCK * 2, *v = place + part;
            for (int64_t d = 0; d < half; ++d) std::memcpy(k + d * 32, key + 2 * d, 4);
            // Places behind the last token count with weight 0; they must not hold a NaN.
            if (token % BLOCK == 0) std::memset(v, 0, part * sizeof(uint16_t));
            v += token % BLOCK / 2 * 2 * dim + token % 2;
            const T *value = in + (n_heads + n_kv + h) * dim;
            for (int64_t d = 0; d < dim; ++d) put(v[2 * d], widen(value[d]));
        }
    }
}

FOR_EACH_LEVEL(file_piece, file_piece_body, (const Rows &r, const Piece &piece), (r, piece))

}  // namespace

// qkv: rows x (n_heads + 2 n_kv_heads) x head_dim; q: rows x n_heads x head_dim, written;
// both of the level's activation type; keys and values are filed in bfloat16 at every level.
// cos, sin: positions x head_dim/2 in float; positions: one per row.
extern "C" int loom_file_rows(int level, const void *qkv, void *q, const float *cos,
                              const float *sin, const int64_t *positions, const uint16_t *q_gain,
                              const uint16_t *k_gain, float eps, const Piece *pieces,
                              int64_t n_pieces, Shape shape, int64_t layer, int threads) {
    if (level < PORTABLE || level > loom_level()) return 2;
    if (shape.head_dim % 2 || shape.head_dim > MOST_DIM) return 1;
    const Rows rows{qkv, q, cos, sin, positions, q_gain, k_gain, eps, shape, layer};
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t p = 0; p < n_pieces; ++p) file_piece[level](rows, pieces[p]);
    return 0;
}
