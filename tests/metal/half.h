/* half.h: the f16 of Metal and of CUDA, for C++ on any machine. */
#ifndef BN_HALF_H
#define BN_HALF_H

#include <cmath>
#include <cstdint>
#include <cstring>

/* IEEE binary16, to nearest, halves to even. */
struct half {
    uint16_t bits;
    half() = default;
    half(float f)
    {
        uint32_t x, sign, a;
        memcpy(&x, &f, sizeof x);
        sign = x >> 16 & 0x8000u;
        a = x & 0x7fffffffu;
        if (a > 0x7f800000u)
            bits = uint16_t(sign | 0x7e00u);
        else if (a >= 0x477ff000u)
            bits = uint16_t(sign | 0x7c00u);
        else if (a < 0x38800000u) { /* below 2^-14 */
            float s;
            a = (x & 0x7fffffffu);
            memcpy(&s, &a, sizeof s);
            bits = uint16_t(sign | uint32_t(rintf(s * 16777216.0f)));
        } else
            bits = uint16_t(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13));
    }
    operator float() const
    {
        uint32_t e = bits >> 10 & 31u, m = bits & 1023u, x = uint32_t(bits & 0x8000u) << 16;
        float f;
        if (e == 0) {
            f = float(m) / 16777216.0f;
            return x ? -f : f;
        }
        x |= e == 31 ? 0x7f800000u | m << 13 : (e + 112) << 23 | m << 13;
        memcpy(&f, &x, sizeof f);
        return f;
    }
};

#endif
