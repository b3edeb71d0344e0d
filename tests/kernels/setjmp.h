/* setjmp.h: cmocka wants it included before it; WASI has none, and ours needs none. */
