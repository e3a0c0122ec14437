// bfloat16 is the upper half of a float.
#pragma once

#include <cstdint>
#include <cstring>

#include "levels.h"

INLINE float widen(uint16_t value) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

INLINE uint16_t narrow(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    const uint32_t nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // ties to even
    return static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : nearest);
}

// Activations are bfloat16 or float, see `is_wide`.
INLINE float widen(float value) { return value; }

INLINE void put(uint16_t &place, float value) { place = narrow(value); }

INLINE void put(float &place, float value) { place = value; }
