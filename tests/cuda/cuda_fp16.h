/* cuda_fp16.h: see cuda_runtime.h beside it. */
#include "half.h"
