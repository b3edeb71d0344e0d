/* metal.h: the Metal backend: a planned module as Metal Shading Language and the Objective-C that
 * runs it. */
#ifndef BNC_CODEGEN_METAL_H
#define BNC_CODEGEN_METAL_H

#include "codegen-c/codegen.h"

const Target *metal_target(void); /* "metal" */
/* The shaders: kernels, and an entry point for each dispatch. */
void emit_metal(const Module *m, const EmitOptions *o, Out *out);
/* The host: what is dispatched in which order, host.m, and the model's descriptor. `library` is the
 * file name of the compiled shaders, or of their source. */
void emit_metal_host(const Module *m, const EmitOptions *o, const char *library, Out *out);

/* What CUDA's file of a model has in common with these two: kernels and entry points, BN_ENTRY and
 * BN_TABLE being Metal's unless they are defined; the tables, of bn_entry as BN_NAME makes them. */
const Target *cuda_target(void); /* "cuda" */
void emit_shaders(const Module *m, const EmitOptions *o, const Target *target, Out *out);
void emit_tables(const Module *m, const EmitOptions *o, const Target *target, Out *out);

#endif
