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
typedef enum { MTLGPUFamilyApple7 = 1007 } MTLGPUFamily;
typedef enum { MTLPipelineOptionNone } MTLPipelineOption;
typedef enum { MTLIndirectCommandTypeConcurrentDispatch = 1 << 5 } MTLIndirectCommandType;
enum { MTLResourceUsageRead = 1, MTLResourceUsageWrite = 2 };
typedef NSUInteger MTLResourceUsage;

typedef enum {
    MTLCommandBufferStatusCompleted = 4,
    MTLCommandBufferStatusError
} MTLCommandBufferStatus;

@interface MTLCompileOptions : NSObject
- (void)setFastMathEnabled:(BOOL)on;
@end
@protocol MTLResource
@end
@protocol MTLBuffer <MTLResource>
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
@interface MTLComputePipelineDescriptor : NSObject {
  @public
    id<MTLFunction> function;
    BOOL indirect;
}
- (void)setComputeFunction:(id<MTLFunction>)f;
- (void)setSupportIndirectCommandBuffers:(BOOL)on;
@end
@class MTLComputePipelineReflection;
@protocol MTLIndirectComputeCommand
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state;
- (void)setKernelBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index;
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)setBarrier;
- (void)concurrentDispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads;
@end
@interface MTLIndirectCommandBufferDescriptor : NSObject {
  @public
    NSUInteger types, buffers, lengths;
    BOOL inherits[2];
}
- (void)setCommandTypes:(MTLIndirectCommandType)types;
- (void)setInheritPipelineState:(BOOL)on;
- (void)setInheritBuffers:(BOOL)on;
- (void)setMaxKernelBufferBindCount:(NSUInteger)count;
- (void)setMaxKernelThreadgroupMemoryBindCount:(NSUInteger)count;
@end
@protocol MTLIndirectCommandBuffer <MTLResource>
- (id<MTLIndirectComputeCommand>)indirectComputeCommandAtIndex:(NSUInteger)index;
- (void)release;
@end
@protocol MTLComputeCommandEncoder
- (void)useResource:(id<MTLResource>)resource usage:(MTLResourceUsage)usage;
- (void)executeCommandsInBuffer:(id<MTLIndirectCommandBuffer>)commands withRange:(NSRange)range;
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
- (id<MTLLibrary>)newLibraryWithSource:(NSString *)text
                               options:(MTLCompileOptions *)options
                                 error:(NSError **)error;
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)data
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(id)deallocator;
- (id<MTLBuffer>)newBufferWithBytes:(const void *)data
                             length:(NSUInteger)length
                            options:(MTLResourceOptions)options;
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options;
- (id<MTLComputePipelineState>)
    newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor *)descriptor
                                  options:(MTLPipelineOption)options
                               reflection:(MTLComputePipelineReflection **)reflection
                                    error:(NSError **)error;
- (BOOL)supportsFamily:(MTLGPUFamily)family;
- (id<MTLIndirectCommandBuffer>)newIndirectCommandBufferWithDescriptor:
                                    (MTLIndirectCommandBufferDescriptor *)descriptor
                                                       maxCommandCount:(NSUInteger)count
                                                               options:(MTLResourceOptions)options;
- (void)release;
@end
id<MTLDevice> MTLCreateSystemDefaultDevice(void);
#endif
