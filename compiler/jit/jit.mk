# jit.mk: `make JIT=1`: LLVM 14 to 19, found by llvm-config (LLVM_CONFIG names another), and the kernels
# that the JIT calls (machine code) and specialises (bitcode), a row for each target. Without JIT=1
# bnc is linked with absent.c and knows nothing of this.

J         := $(B)/jit
JIT_SRC   := lower.c constants.c debug.c llvm.c load.c rows.c
# `deps` gets the LLVM that the rest wants; `demo` calls it first.
ifeq ($(if $(filter deps demo,$(MAKECMDGOALS)),,$(JIT)),1)
LLVM_CONFIG ?= $(shell sh tools/llvm.sh)
ifeq ($(LLVM_CONFIG),)
$(error JIT=1 needs LLVM 14 to 19 with its headers and clang: `make deps JIT=1`, or name an llvm-config \
    by LLVM_CONFIG)
endif
LLVM_BIN  := $(shell $(LLVM_CONFIG) --bindir)
LLVM_LIBS  = -L$(shell $(LLVM_CONFIG) --libdir) $(shell $(LLVM_CONFIG) --libs --link-shared)
JIT_CLANG ?= $(LLVM_BIN)/clang
# Rows: of this machine, as machine code and bitcode; of others, NAME:TARGET:CLANG'S TRIPLE, as bitcode.
ifneq ($(filter x86_64 amd64,$(shell uname -m)),)
JIT_ROWS  ?= x86-64 x86-64-v3 x86-64-vnni x86-64-v4 x86-64-amx
else ifneq ($(filter aarch64 arm64,$(shell uname -m)),)
JIT_ROWS  ?= arm64 arm64-dotprod arm64-i8mm
else
JIT_ROWS  ?= generic
endif
# JIT_OTHER= leaves them out, and the headers of their C libraries.
JIT_OTHER ?= aarch64-linux-gnu:arm64 riscv64-linux-gnu:generic wasm32:wasm32-simd128
JIT_TRIPLE_wasm32 := wasm32-wasi
OTHER_ROWS := $(foreach r,$(JIT_OTHER),$(firstword $(subst :, ,$r)))
JIT_OBJ   := $(JIT_SRC:%.c=$J/%.o) $(JIT_ROWS:%=$J/row_%.o)
# What both forms of a kernel are compiled with.
JIT_FLAGS := -std=c11 -O3 -fPIC -ffp-contract=off -Wall -Wextra -Werror -Wno-unknown-warning-option -Icompiler -Iruntime-min
CONTRACT  := $(RT_HDR:%=runtime-min/%)

$J/%.o: INC += -isystem $(shell $(LLVM_CONFIG) --includedir) -I$J -DJIT_FOLDER='"$J"'
$J/rows.o: $J/jit_rows.def $(JIT_ROWS:%=$J/%.bc) $(OTHER_ROWS:%=$J/%.bc)
$J/rows: tools/rows.c $(wildcard compiler/codegen-c/*.def) compiler/codegen-c/columns.h | $(B)/.tools
	@mkdir -p $J
	$(CC) $(CSTD) $(WARN) $(INC) $< -o $@
$J/jit_rows.def: Makefile compiler/jit/jit.mk | $J/rows
	@{ $(foreach r,$(JIT_ROWS),echo 'ROW_HERE($(subst -,_,$r), "$r")';) \
	   $(foreach r,$(OTHER_ROWS),echo 'ROW_ELSEWHERE($(subst -,_,$r), "$r")';) } >$@
KERNEL_FILES := $(KERNELS:%=compiler/codegen-c/kernels/%) compiler/jit/row.h $(CONTRACT)
define row # ROW TARGET FLAGS
$J/$1.c: $J/rows $(KERNEL_FILES)
	$J/rows $2 $J/$1.c $J/$1.flags
$J/$1.bc: $J/$1.c
	$(JIT_CLANG) $3 $(JIT_FLAGS) $$$$(cat $J/$1.flags) -DROW=ROW -Xclang -disable-llvm-passes -emit-llvm -c $J/$1.c -o $J/$1.bc
$J/row_$1.o: $J/$1.c
	$(JIT_CLANG) $3 $(JIT_FLAGS) $$$$(cat $J/$1.flags) -DROW=row_$(subst -,_,$1) -c $J/$1.c -o $J/row_$1.o
endef
other_target = --target=$(or $(JIT_TRIPLE_$(firstword $(subst :, ,$1))),$(firstword $(subst :, ,$1)))
$(foreach r,$(JIT_ROWS),$(eval $(call row,$r,$r,)))
$(foreach r,$(JIT_OTHER),$(eval $(call row,$(firstword $(subst :, ,$r)),$(lastword $(subst :, ,$r)),$(call other_target,$r))))
$J/bnc: $(CMD_OBJ) $(LIB_OBJ) $(RT_OBJ) $(JIT_OBJ)
	$(CC) $(CFLAGS) -pthread $(EXPORTS) $^ $(LLVM_LIBS) -lxxhash -lb2 -ljansson -ledit -ldl -lm -o $@
# Another LLVM gets other objects.
JIT_STAMP := $J/.$(notdir $(LLVM_CONFIG))
$(JIT_STAMP):
	@mkdir -p $J
	@sh tools/packages.sh need jit
	@rm -f $J/.llvm-* $J/*.bc $J/*.o
	@touch $@
$(JIT_OBJ) $(JIT_ROWS:%=$J/%.bc) $(OTHER_ROWS:%=$J/%.bc): | $(JIT_STAMP)
endif
$J/%.o: compiler/jit/%.c | $(B)/.tools
	$(compile)
