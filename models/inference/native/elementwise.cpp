// The steps between matrix products. The residual stream is float, what products read and
// write is bfloat16, sums are float.

#include <omp.h>

#include <cmath>

#include "bfloat16.h"

namespace {

// 2^x by a degree-5 polynomial on [-.5, .5]; error below 3e-7, far under bfloat16.
INLINE float exp2_of(float x) {
    x = x < -126.0f ? -126.0f : x > 126.0f ? 126.0f : x;
    const float rounder = 12582912.0f;  // 1.5 x 2^23: adding it rounds to a whole number
    const float whole = (x + rounder) - rounder, rest = x - whole;
    float p = 1.33976460e-3f;
    p = p * rest + 9.61812910e-3f;
    p = p * rest + 5.55034850e-2f;
    p = p * rest + 2.40226510e-1f;
    p = p * rest + 6.93147180e-1f;
    p = p * rest + 1.0f;
    const int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

INLINE void norm_row_body(float *x, const uint16_t *delta, const uint16_t *gain, uint16_t *out,
                          int64_t width, float eps) {
    float sum = 0;
    if (delta) {
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < width; ++d) {
            x[d] += widen(delta[d]);
            sum += x[d] * x[d];
        }
    } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < width; ++d) sum += x[d] * x[d];
    }
    const float by = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) out[d] = narrow(x[d] * by * widen(gain[d]));
}

INLINE void gate_row_body(const uint16_t *gate, const uint16_t *up, uint16_t *out, int64_t width) {
    const float log2e = 1.4426950408889634f;
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
        const float g = widen(gate[d]);
        out[d] = narrow(g / (1.0f + exp2_of(-g * log2e)) * widen(up[d]));
    }
}

INLINE void widen_row_body(const uint16_t *in, float *out, int64_t width) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) out[d] = widen(in[d]);
}

// Largest value of a row, or NaN if there is one. As whole numbers, bfloat16 of one sign are
// in order; negative ones are turned around.
INLINE void largest_body(const uint16_t *row, int64_t width, float *value, int64_t *place) {
    int32_t top = INT32_MIN, bad = 0;
#pragma omp simd reduction(max : top) reduction(| : bad)
    for (int64_t i = 0; i < width; ++i) {
        const int32_t bits = static_cast<int16_t>(row[i]), size = bits & 0x7fff;
        const int32_t key = bits ^ ((bits >> 31) & 0x7fff);
        bad |= 0x7f80 - size;  // the sign tells a NaN
        top = key > top ? key : top;
    }
    const uint16_t best = static_cast<uint16_t>(top ^ ((top >> 31) & 0x7fff));
    *value = bad < 0 ? std::nanf("") : widen(best);
    *place = 0;
    while (bad >= 0 && *place < width && row[*place] != best) ++*place;
}

FOR_EACH_LEVEL(norm_row, norm_row_body,
               (float *x, const uint16_t *delta, const uint16_t *gain, uint16_t *out,
                int64_t width, float eps),
               (x, delta, gain, out, width, eps))
FOR_EACH_LEVEL(gate_row, gate_row_body,
               (const uint16_t *gate, const uint16_t *up, uint16_t *out, int64_t width),
               (gate, up, out, width))
FOR_EACH_LEVEL(widen_row, widen_row_body, (const uint16_t *in, float *out, int64_t width),
               (in, out, width))
FOR_EACH_LEVEL(largest, largest_body,
               (const uint16_t *row, int64_t width, float *value, int64_t *place),
               (row, width, value, place))

bool is_known(int level) { return level >= PORTABLE && level <= loom_level(); }

}  // namespace

extern "C" {

// x += delta (unless null); out = x / rms(x) * gain. x, delta, out: rows x width.
int loom_norm(int level, float *x, const uint16_t *delta, const uint16_t *gain, uint16_t *out,
              int64_t rows, int64_t width, float eps, int threads) {
    if (!is_known(level)) return 2;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        norm_row[level](x + r * width, delta ? delta + r * width : nullptr, gain, out + r * width,
                        width, eps);
    return 0;
}

// out = silu(gate) * up. both: rows x 2 width, the gate first; out: rows x width.
int loom_gate(int level, const uint16_t *both, uint16_t *out, int64_t rows, int64_t width,
              int threads) {
    if (!is_known(level)) return 2;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        gate_row[level](both + r * 2 * width, both + r * 2 * width + width, out + r * width, width);
    return 0;
}

// x = table[ids]. ids are checked by the caller; x: rows x width.
int loom_embed(int level, const int64_t *ids, const uint16_t *table, float *x, int64_t rows,
               int64_t width, int threads) {
    if (!is_known(level)) return 2;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        widen_row[level](table + ids[r] * width, x + r * width, width);
    return 0;
}

// Value (NaN if the row holds one) and first place of the largest number of each row.
int loom_largest(int level, const uint16_t *logits, int64_t rows, int64_t width, float *values,
                 int64_t *places, int threads) {
    if (!is_known(level)) return 2;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        largest[level](logits + r * width, width, values + r, places + r);
    return 0;
}

}  // extern "C"
