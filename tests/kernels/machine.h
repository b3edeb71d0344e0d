/* machine.h: the kernels of Arm and of WebAssembly for the tests, each file compiled for the
 * instruction sets it was written for, and the pragmas for that, which x86 uses too.
 *
 * HAVE_x(text) is `text` where the kernels of set x (columns.h) are here, else nothing. */
#ifndef BN_TEST_MACHINE_H
#define BN_TEST_MACHINE_H

/* What generated code has around a file: emit_isa of codegen-c/emit.c. */
#define PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define FOR(isa) PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define FOR_END PRAGMA(clang attribute pop)
#define DOTPROD_TARGET "dotprod"
#define I8MM_TARGET "dotprod,i8mm"
#else
#define FOR(isa) PRAGMA(GCC push_options) PRAGMA(GCC target(isa))
#define FOR_END PRAGMA(GCC pop_options)
#define DOTPROD_TARGET "arch=armv8.2-a+dotprod"
#define I8MM_TARGET "arch=armv8.2-a+dotprod+i8mm"
#endif

#if defined(__aarch64__)
#define HAVE_NEON_SET(...) __VA_ARGS__
#define HAVE_DOTPROD_SET(...) __VA_ARGS__
#define HAVE_I8MM_SET(...) __VA_ARGS__
#include <arm_neon.h>
#include "../../compiler/codegen-c/kernels/neon.c"
#include "../../compiler/codegen-c/kernels/neon_float.c"
#include "../../compiler/codegen-c/kernels/neon_q2.c"
#include "../../compiler/codegen-c/kernels/neon_q2g.c"
FOR(DOTPROD_TARGET)
#include "../../compiler/codegen-c/kernels/neon_dotprod.c"
#include "../../compiler/codegen-c/kernels/neon_dotprod_q2g.c"
FOR_END
FOR(I8MM_TARGET)
#include "../../compiler/codegen-c/kernels/neon_i8mm.c"
FOR_END
#else
#define HAVE_NEON_SET(...)
#define HAVE_DOTPROD_SET(...)
#define HAVE_I8MM_SET(...)
#endif

#if defined(__wasm_simd128__)
#define HAVE_SIMD128_SET(...) __VA_ARGS__
#include "../../compiler/codegen-c/kernels/wasm_simd128.c"
#include "../../compiler/codegen-c/kernels/wasm_q2g.c"
#else
#define HAVE_SIMD128_SET(...)
#endif

#endif
