/* Metal.h: of Metal, what the host of a model uses; fake.m is the device. */
#ifndef BN_FAKE_METAL
#define BN_FAKE_METAL

#include <Foundation/Foundation.h>

typedef struct MTLSize {
    NSUInteger width, height, depth;
} MTLSize;
static inline MTLSize MTLSizeMake(NSUInteger w, NSUInteger h, NSUInteger d)
{
    MTLSize s = {w, h, d};
    return s;
}
enum { MTLResourceStorageModeShared = 0 };
typedef NSUInteger MTLResourceOptions;
typedef enum { MTLDispatchTypeSerial, MTLDispatchTypeConcurrent } MTLDispatchType;
typedef enum { MTLBarrierScopeBuffers = 1 } MTLBarrierScope;

typedef enum { MTLCommandBufferStatusCompleted = 4, MTLCommandBufferStatusError } MTLCommandBufferStatus;

@interface MTLCompileOptions : NSObject
- (void)setFastMathEnabled:(BOOL)on;
@end
@protocol MTLBuffer
- (void *)contents;
- (NSUInteger)length;
- (id)retain;
- (void)release;
@end
@protocol MTLFunction
- (void)release;
@end
@protocol MTLLibrary
- (id<MTLFunction>)newFunctionWithName:(NSString *)name;
- (void)release;
@end
@protocol MTLComputePipelineState
- (id)retain;
- (void)release;
@end
@protocol MTLComputeCommandEncoder
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state;
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index;
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads;
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope;
- (void)endEncoding;
@end
@protocol MTLCommandBuffer
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type;
- (MTLCommandBufferStatus)status;
- (void)commit;
- (void)waitUntilCompleted;
@end
@protocol MTLCommandQueue
- (id<MTLCommandBuffer>)commandBuffer;
- (void)release;
@end
@protocol MTLDevice
- (id<MTLCommandQueue>)newCommandQueue;
- (id<MTLLibrary>)newLibraryWithURL:(NSURL *)url error:(NSError **)error;
- (id<MTLLibrary>)newLibraryWithSource:(NSString *)text options:(MTLCompileOptions *)options error:(NSError **)error;
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)data length:(NSUInteger)length options:(MTLResourceOptions)options deallocator:(id)deallocator;
- (id<MTLBuffer>)newBufferWithBytes:(const void *)data length:(NSUInteger)length options:(MTLResourceOptions)options;
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options;
- (id<MTLComputePipelineState>)newComputePipelineStateWithFunction:(id<MTLFunction>)function error:(NSError **)error;
- (void)release;
@end
id<MTLDevice> MTLCreateSystemDefaultDevice(void);
#endif
