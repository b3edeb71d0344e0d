/* bn_cpu.h: what this processor can run, for the runtime and for --target=native.
 *
 * One idea: an instruction set counts where the processor has it and the system saves the
 * registers it works on. CPUID and XGETBV throughout: compilers differ in the names that
 * __builtin_cpu_supports takes.
 */
#ifndef BN_CPU_H
#define BN_CPU_H

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__) /* its header needs more than POSIX */
#include <stddef.h>
int sysctlbyname(const char *name, void *value, size_t *size, void *renew, size_t renew_size);
#endif

#include "bn_model.h"

/* Linux lends a process the tile registers when asked: arch_prctl(ARCH_REQ_XCOMP_PERM, 18). */
BN_INLINE int bn_cpu_tiles(void)
{
#if defined(__linux__) && defined(__x86_64__) && defined(__LP64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(158L), "D"(0x1023L), "S"(18L)
                     : "rcx", "r11", "memory");
    return result == 0;
#else
    return 0;
#endif
}

#if defined(__aarch64__)
/* Linux: bit HWCAP_ASIMDDP, bit HWCAP2_I8MM. Elsewhere nothing beyond NEON is known. */
BN_INLINE uint32_t bn_cpu_arm(void)
{
    uint32_t has = BN_ISA_NEON;
#if defined(__linux__)
    has |= (uint32_t)(getauxval(AT_HWCAP) >> 20 & 1) * BN_ISA_DOTPROD;
    has |= (uint32_t)(getauxval(AT_HWCAP2) >> 13 & 1) * BN_ISA_I8MM;
#elif defined(__APPLE__)
    int on = 0;
    size_t size = sizeof on;
    if (sysctlbyname("hw.optional.arm.FEAT_DotProd", &on, &size, NULL, 0) == 0 && on)
        has |= BN_ISA_DOTPROD;
    if (sysctlbyname("hw.optional.arm.FEAT_I8MM", &on, &size, NULL, 0) == 0 && on)
        has |= BN_ISA_I8MM;
#endif
    return has;
}
#endif

/* Those of the `wanted` BN_ISA_* bits that this processor has. Asks for the tile registers where
 * AMX is wanted: before the first tile of any thread. */
BN_INLINE uint32_t bn_cpu(uint32_t wanted)
{
    uint32_t has = 0;
#if defined(__x86_64__) || defined(__i386__)
    /* XCR0: 2-1 the lower halves of 256 bits, 7-5 masks and the rest of 512 bits, 18-17 tiles */
    const unsigned wide = 0x6, widest = 0xe6, tiles = 0x60000;
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    unsigned a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1) || !(c >> 28 & 1))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & wide) != wide)
        return 0;
    has |= (c >> 12 & 1) * BN_ISA_FMA | (c >> 29 & 1) * BN_ISA_F16C;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return has & wanted;
    has |= (b >> 5 & 1) * BN_ISA_AVX2 | (b >> 3 & 1) * BN_ISA_BMI;
    if ((saved & widest) == widest && (b & avx512) == avx512)
        has |=
            BN_ISA_AVX512 | (c >> 11 & 1) * BN_ISA_AVX512_VNNI | (c >> 1 & 1) * BN_ISA_AVX512_VBMI;
    if ((saved & tiles) == tiles && (d >> 24 & 3) == 3 && wanted & BN_ISA_AMX_INT8)
        has |= bn_cpu_tiles() ? (uint32_t)BN_ISA_AMX_INT8 : 0;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
        has |= (a >> 4 & 1) * BN_ISA_AVX_VNNI;
#elif defined(__aarch64__)
    has = bn_cpu_arm();
#elif defined(__wasm_simd128__)
    has = BN_ISA_SIMD128;
#endif
    return has & wanted;
}

#endif
