/* cuda.h: the CUDA backend: a planned module as one file of CUDA C++, kernels, host and descriptor.
 */
#ifndef BNC_CODEGEN_CUDA_H
#define BNC_CODEGEN_CUDA_H

#include "codegen-gpu/gpu.h"

extern const GpuDialect cuda_dialect;

#endif
