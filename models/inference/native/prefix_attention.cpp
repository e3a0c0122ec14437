// Attention over a shared prefix and a private tail in bfloat16.
//
// Rows of all sequences that share a prefix are attended in common tiles, so that a key is
// loaded once for several of them. The running softmax state (maximum, sum, weighted values)
// of a row is handed from its prefix to its own tokens; that is the merge by log-sum-exp.
//
// No header of torch: plain pointers come in, an error code goes out.

#include <omp.h>

#include <cmath>
#include <vector>

#include "attention.h"

namespace {

constexpr float LOG2E = 1.4426950408889634f;

struct Work {
    int64_t owner;  // place in the list of prefixes or of pieces
    int64_t kv_head;
    int64_t first_item;
    int64_t n_items;
};

template <typename Owner>
std::vector<Work> cut(const Owner *owners, int64_t n_owners, int64_t Owner::*rows,
                      const Shape &shape, int64_t tile_rows) {
    const int64_t group = shape.n_heads / shape.n_kv_heads;
    std::vector<Work> list;
    for (int64_t owner = 0; owner < n_owners; ++owner)
        for (int64_t head = 0; head < shape.n_kv_heads; ++head)
            for (int64_t item = 0; item < owners[owner].*rows * group;
                 item += tile_rows) {
                const int64_t left = owners[owner].*rows * group - item;
                list.push_back({owner, head, item, left < tile_rows ? left : tile_rows});
            }
    return list;
}

}  // namespace

extern "C" {

// Attend all rows of a step to their prefix and to their own tokens.
//   q, out: rows x n_heads x head_dim, of the level's activation type; prefix_rows: rows by prefix, see Prefix;
//   state: rows x n_heads x (head_dim + 2) floats of scratch.
int loom_attend(int level, const void *q, void *out, float *state, int64_t n_rows,
                const Piece *pieces, int64_t n_pieces, const Prefix *prefixes,
                int64_t n_prefixes, const int64_t *prefix_rows, Shape shape, int64_t layer,
                int threads) {
    const int64_t dim = shape.head_dim, group = shape.n_heads / shape.n_kv_heads;
    if (level < PORTABLE || level > loom_level()) return 2;
    if (dim > MOST_DIM || dim % (level >= WITH_AVX512_BF16 ? 64 : 2)) return 1;
    const int64_t value_bytes = is_wide(level) ? 4 : 2;
    const float scale = LOG2E / std::sqrt(static_cast<float>(dim));
    float *sums = state, *tops = state + n_rows * shape.n_heads,
          *mixed = state + 2 * n_rows * shape.n_heads;
    const auto shared = cut(prefixes, n_prefixes, &Prefix::n_items, shape, tile_rows_of(level));
    const auto own = cut(pieces, n_pieces, &Piece::n_rows, shape, tile_rows_of(level));
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
            tile.q[place] = static_cast<const char *>(q) + at * dim * value_bytes;
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
            int64_t at[WIDE_TILE], most = 0;
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
                for (int64_t d = at[i] * dim; d < (at[i] + 1) * dim; ++d) {
                    if (is_wide(level))
                        static_cast<float *>(out)[d] = mixed[d] * by;
                    else
                        static_cast<uint16_t *>(out)[d] = narrow(mixed[d] * by);
                }
            }
        }
    }
    return 0;
}

}  // extern "C"
