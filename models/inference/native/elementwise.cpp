// The steps between matrix products. The residual stream and sums are float; what products read
// and write (T) is bfloat16 where the processor multiplies it, else float. Gains are bfloat16.

#include <omp.h>

#include <cmath>
#include <limits>

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

template <typename T>
INLINE void norm_row_body(float *x, const void *added, const uint16_t *gain, void *result,
                          int64_t width, float eps) {
    const T *delta = static_cast<const T *>(added);
    T *out = static_cast<T *>(result);
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
    for (int64_t d = 0; d < width; ++d) put(out[d], x[d] * by * widen(gain[d]));
}

template <typename T>
INLINE void gate_row_body(const void *both, void *result, int64_t width) {
    const T *gate = static_cast<const T *>(both), *up = gate + width;
    T *out = static_cast<T *>(result);
    const float log2e = 1.4426950408889634f;
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
        const float g = widen(gate[d]);
        put(out[d], g / (1.0f + exp2_of(-g * log2e)) * widen(up[d]));
    }
}

template <typename>
INLINE void widen_row_body(const uint16_t *in, float *out, int64_t width) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) out[d] = widen(in[d]);
}

// Largest value of a row, or NaN if there is one. As whole numbers, bfloat16 of one sign are
// in order; negative ones are turned around.
INLINE void largest_of(const uint16_t *row, int64_t width, float *value, int64_t *place) {
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

INLINE void largest_of(const float *row, int64_t width, float *value, int64_t *place) {
    float top = -std::numeric_limits<float>::infinity();
    int32_t bad = 0;
#pragma omp simd reduction(max : top) reduction(| : bad)
    for (int64_t i = 0; i < width; ++i) {
        int32_t bits;
        std::memcpy(&bits, row + i, sizeof bits);
        bad |= 0x7f800000 - (bits & 0x7fffffff);  // the sign tells a NaN
        top = row[i] > top ? row[i] : top;
    }
    *value = bad < 0 ? std::nanf("") : top;
    *place = 0;
    while (bad >= 0 && *place < width && row[*place] != top) ++*place;
}

template <typename T>
INLINE void largest_body(const void *row, int64_t width, float *value, int64_t *place) {
    largest_of(static_cast<const T *>(row), width, value, place);
}

FOR_EACH_LEVEL(norm_row, norm_row_body,
               (float *x, const void *delta, const uint16_t *gain, void *out, int64_t width,
                float eps),
               (x, delta, gain, out, width, eps))
FOR_EACH_LEVEL(gate_row, gate_row_body, (const void *both, void *out, int64_t width),
               (both, out, width))
FOR_EACH_LEVEL(widen_row, widen_row_body, (const uint16_t *in, float *out, int64_t width),
               (in, out, width))
FOR_EACH_LEVEL(largest, largest_body,
               (const void *row, int64_t width, float *value, int64_t *place),
               (row, width, value, place))

// Byte distance of `values` activations.
int64_t step_of(int level, int64_t values) { return values * (is_wide(level) ? 4 : 2); }

const char *at(const void *begin, int64_t bytes) {
    return begin ? static_cast<const char *>(begin) + bytes : nullptr;
}

char *at(void *begin, int64_t bytes) { return static_cast<char *>(begin) + bytes; }

bool is_known(int level) { return level >= PORTABLE && level <= loom_level(); }

}  // namespace

extern "C" {

// x += delta (unless null); out = x / rms(x) * gain. x, delta, out: rows x width.
int loom_norm(int level, float *x, const void *delta, const uint16_t *gain, void *out,
              int64_t rows, int64_t width, float eps, int threads) {
    if (!is_known(level)) return 2;
    const int64_t step = step_of(level, width);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        norm_row[level](x + r * width, at(delta, r * step), gain, at(out, r * step), width, eps);
    return 0;
}

// out = silu(gate) * up. both: rows x 2 width, the gate first; out: rows x width.
int loom_gate(int level, const void *both, void *out, int64_t rows, int64_t width, int threads) {
    if (!is_known(level)) return 2;
    const int64_t step = step_of(level, width);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        gate_row[level](at(both, r * 2 * step), at(out, r * step), width);
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
int loom_largest(int level, const void *logits, int64_t rows, int64_t width, float *values,
                 int64_t *places, int threads) {
    if (!is_known(level)) return 2;
    const int64_t step = step_of(level, width);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; ++r)
        largest[level](at(logits, r * step), width, values + r, places + r);
    return 0;
}

}  // extern "C"
