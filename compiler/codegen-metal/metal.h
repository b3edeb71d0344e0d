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

#endif
