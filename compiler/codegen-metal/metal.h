/* metal.h: the Metal backend: a planned module as Metal Shading Language and the Objective-C that
 * runs it. */
#ifndef BNC_CODEGEN_METAL_H
#define BNC_CODEGEN_METAL_H

#include "codegen-gpu/gpu.h"

extern const GpuDialect metal_dialect;

#endif
