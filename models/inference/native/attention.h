// What the parts of the attention share: tables of a step, and the layout of keys and values.
//
// Keys and values of a span lie packed for dot products of bfloat16 pairs. Per layer:
//   [kv head][block of 16 tokens][keys: head_dim/2 x 16 x 2 | values: 8 x head_dim x 2]
#pragma once

#include <cstdint>
#include <limits>

#include "bfloat16.h"

constexpr int64_t BLOCK = 16;  // tokens of a packed block
constexpr int TILE = 6;        // rows of a tile: 6 x 4 accumulators fill 32 registers
constexpr int NARROW_TILE = 4; // 4 x 2 accumulators, keys and queries fill 16
constexpr int WIDE_TILE = 16;  // rows of a tile with AMX
constexpr int64_t MOST_DIM = 512;
constexpr float NEVER = -std::numeric_limits<float>::infinity();

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

// Softmax state of the rows of a tile; the tile's rows are gathered by pointer.
struct Tile {
    const void *q[WIDE_TILE];  // bfloat16, or float where the level is wide
    float *o[WIDE_TILE];
    float *m[WIDE_TILE];
    float *l[WIDE_TILE];
    int64_t limit[WIDE_TILE];  // keys that the row may see
};

// Adds `n_keys` packed keys and values to the state of a tile's rows.
void attend_tile(int level, const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys,
                 int64_t dim, float scale);
void tile_rows_amx(const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys, int64_t dim,
                   float scale);

void tile_rows_avx2(const Tile &tile, int rows, const uint16_t *kv, int64_t n_keys, int64_t dim,
                    float scale);

inline int tile_rows_of(int level) {
    return level == WITH_AMX_BF16 ? WIDE_TILE : level == WITH_AVX512_BF16 ? TILE : NARROW_TILE;
}
