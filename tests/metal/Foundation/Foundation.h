/* Foundation.h: of Foundation, what the host of a Metal model uses, for clang with the GNU runtime. */
#ifndef BN_FAKE_FOUNDATION
#define BN_FAKE_FOUNDATION

#include <objc/objc.h>
#include <stddef.h>

typedef unsigned long NSUInteger;
typedef NSUInteger NSStringEncoding;
typedef struct NSRange {
    NSUInteger location, length;
} NSRange;
static inline NSRange NSMakeRange(NSUInteger location, NSUInteger length)
{
    NSRange r = {location, length};
    return r;
}
enum { NSUTF8StringEncoding = 4 };

/* Counted references; the count stands behind an object's own memory. */
__attribute__((objc_root_class))
@interface NSObject {
    Class isa;
}
+ (id)alloc;
- (id)init;
- (id)retain;
- (void)release;
- (id)autorelease;
- (BOOL)respondsToSelector:(SEL)selector;
- (void)dealloc;
@end
@interface NSAutoreleasePool : NSObject {
    unsigned base;
}
- (void)drain;
@end
@class NSError;
@interface NSString : NSObject {
    char *bytes;
    unsigned length;
}
+ (NSString *)stringWithUTF8String:(const char *)text;
+ (NSString *)stringWithContentsOfFile:(NSString *)path
                              encoding:(NSStringEncoding)encoding
                                 error:(NSError **)error;
- (NSString *)stringByDeletingPathExtension;
- (NSString *)stringByAppendingPathExtension:(NSString *)extension;
- (const char *)UTF8String;
@end
@interface NSConstantString : NSString /* as the compiler lays out @"..." */
@end
@interface NSURL : NSObject {
    NSString *path;
}
+ (NSURL *)fileURLWithPath:(NSString *)path;
@end
#endif
