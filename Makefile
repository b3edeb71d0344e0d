# bnc. `make` builds and installs nothing: it names what is missing, and `make deps` gets that. `make demo` tells a
# story, `make check` runs every test; both get what they miss (tools/packages.sh). `make install` is told by
# docs/install.md. `make JIT=1` puts LLVM inside (docs/jit.md).
# Lists are explicit; everything built stands in build/.

CC      ?= cc
CFLAGS  ?= -O3 -g
B       := build
CSTD    := -std=c11 -D_POSIX_C_SOURCE=200809L -pthread
WARN    := -Wall -Wextra -Werror
INC     := -Icompiler -Iruntime-min -I$(B)/gen
DEPS     = -MMD -MP
RT_CFLAGS ?= -O2
# No name of a folder above this one may reach an object (tests/run_install.sh). cc believes PWD.
CSTD    += -ffile-prefix-map=$(CURDIR)=.
export PWD := $(CURDIR)

# ---- what is built from what ----

RT_SRC  := load.c cpus.c team.c state.c sample.c generate.c tokenize.c pretokenize.c normalize.c detokenize.c chat.c jinja_run.c jinja_value.c jinja_text.c jinja_parts.c jinja_json.c jinja_call.c cli.c profile.c
RT_HDR  := bn.h bn_model.h bn_template.h jinja.h bn_cpu.h bn_vocab.h internal.h cli.h cli_options.h bn_profile.h
IR_SRC  := session.c out.c escape.c temps.c formats.c encode.c build.c infer.c print.c verify.c groups.c layouts.c weights.c vocab.c vocab_normal.c vocab_tables.c lowbit.c journal.c diff.c blocks.c
FE_SRC  := gguf.c gguf_get.c gguf_open.c i2s.c json.c safetensors.c parse.c bind.c keys.c rope.c
PS_SRC  := run.c report.c quant.c canon.c fold.c fuse.c specialize.c lm_head.c tuning.c select.c pack.c plan.c
CH_SRC  := tree.c program.c express.c write.c guard.c list.c builtin.c
CG_SRC  := targets.c chunks.c call.c fields.c record.c probes.c function.c emit.c
# The GPU backends: what they share, then a folder a dialect.
GPU_SRC := codegen-gpu/grid.c codegen-gpu/operands.c codegen-gpu/dispatch.c codegen-gpu/tables.c codegen-metal/metal.c \
           codegen-cuda/cuda.c codegen-cuda/shards.c codegen-cuda/persistent.c codegen-cuda/weight_tiles.c
SHADERS := gpu/common.metal gpu/ternary.metal gpu/attention.metal metal/tile.metal \
           cuda/dialect.cuh cuda/tensor_parallel.cu cuda/norm.cu cuda/attention.cu cuda/mma_tile.cu \
           cuda/persistent.cu cuda/topk.cu
CK_SRC  := config.c rope.c tokens.c normalizer.c tokenizer.c sentencepiece.c gguf_out.c convert.c
DR_SRC  := options.c input.c compile.c depfile.c build.c cache.c gpu.c jit.c inproc.c machine.c profile.c
CMD_SRC := commands.c help.c man.c completions.c compile.c run.c cache.c chat.c quality.c embed.c report.c tune.c synth.c diff.c convert.c template.c tokenize.c profile.c bench.c baseline.c \
           inspect/inspect.c inspect/check.c inspect/vocab.c inspect/bnw.c quantize/quantize.c quantize/auto.c quantize/requantize.c
ARCH    := bitnet-b1.58.tir bitnet.tir llama.tir qwen3.tir gemma3.tir minicpm.tir hunyuan-dense.tir
CHATS   := chatml llama3 bitnet-2b4t falcon3 plain
KERNELS := scalar.c scalar_q2g.c scalar_t3.c scalar_kv.c scalar_head.c avx2.c avx2_linear.c avx2_head.c avx2_kv.c avx2_q2.c \
           avx2_q2g.c avx2_t3.c avx2_fr4.c avx2_fr3.c avxvnni.c avxvnni_q2g.c avx512.c avx512_q2g.c amx.c \
           neon.c neon_float.c neon_q2.c neon_q2g.c neon_dotprod.c neon_dotprod_q2g.c neon_i8mm.c wasm_simd128.c wasm_q2g.c

# What generated code calls, for models that bnc loads into itself (compiler/driver/inproc.c):
EXPORTS := -Wl,--export-dynamic-symbol=bn_barrier -Wl,--export-dynamic-symbol=bn_ticket

RT_OBJ  := $(RT_SRC:%.c=$(B)/rt/%.o)
LIB_OBJ := $(IR_SRC:%.c=$(B)/ir/%.o) $(FE_SRC:%.c=$(B)/frontend/%.o) $(B)/gen/tir.tab.o $(B)/gen/tir.lex.o \
           $(PS_SRC:%.c=$(B)/passes/%.o) $(CG_SRC:%.c=$(B)/codegen-c/%.o) $(GPU_SRC:%.c=$(B)/%.o) $(B)/gen/embedded.o \
           $(CH_SRC:%.c=$(B)/chat/%.o) $(B)/gen/jinja.tab.o $(B)/gen/jinja.lex.o
RP_SRC  := tables.c graph.c figures.c page.c
CMD_OBJ := $(CMD_SRC:%.c=$(B)/cmd/%.o) $(DR_SRC:%.c=$(B)/driver/%.o) $(CK_SRC:%.c=$(B)/checkpoint/%.o) $(RP_SRC:%.c=$(B)/report/%.o) $(B)/main.o
EMBED   := $(foreach a,$(ARCH),arch/$a=compiler/frontend/arch/$a) \
           $(foreach k,$(KERNELS),kernels/$k=compiler/codegen-c/kernels/$k) \
           $(foreach k,$(SHADERS),$k=compiler/codegen-$(dir $k)kernels/$(notdir $k)) \
           metal/host.m=compiler/codegen-metal/host.m cuda/host.cu=compiler/codegen-cuda/host.cu \
           tune_bench.c=compiler/cmd/tune_bench.c \
           report/page.css=compiler/report/page.css \
           $(foreach t,$(CHATS),chat/$t.jinja=compiler/chat/templates/$t.jinja) \
           $(foreach f,$(RT_SRC) $(RT_HDR),$f=runtime-min/$f) unicode_tables.h=$(B)/gen/unicode_tables.h

.PHONY: all deps demo check bench bench-peers floors clean
all: $(B)/bnc $(B)/libbnrt.a

include packaging/install.mk
include compiler/jit/jit.mk
include tests/tests.mk

# ---- what the machine must have ----

PURPOSES := build$(if $(filter 1,$(JIT)), jit)
deps:
	@sh tools/packages.sh install $(PURPOSES)
$(B)/.tools: tools/packages.sh
	@sh tools/packages.sh need build
	@mkdir -p $(B)
	@touch $@

# ---- generated sources ----

$(B)/gen/unicode: tools/unicode.c | $(B)/.tools
	@mkdir -p $(B)/gen
	$(CC) $(CSTD) $(CFLAGS) $(WARN) $< -o $@
UNICODE := /usr/share/unicode
$(B)/gen/unicode_tables.h: $(B)/gen/unicode
	$< $(UNICODE) $@ $(B)/gen/unicode_normal.h
$(B)/gen/unicode_normal.h: $(B)/gen/unicode_tables.h ;
$(B)/gen/embed: tools/embed.c | $(B)/.tools
	@mkdir -p $(B)/gen
	$(CC) $(CSTD) $(CFLAGS) $(WARN) $< -o $@
$(B)/gen/embedded.c: $(B)/gen/embed Makefile $(foreach e,$(EMBED),$(lastword $(subst =, ,$e)))
	$< $@ $(EMBED)
$(B)/gen/tir.tab.c: compiler/frontend/tir.y | $(B)/.tools
	@mkdir -p $(B)/gen
	bison -Werror -o $@ --defines=$(B)/gen/tir.tab.h $<
$(B)/gen/tir.lex.c: compiler/frontend/tir.l $(B)/gen/tir.tab.c
	flex -o $@ --header-file=$(B)/gen/tir.lex.h $<

$(B)/gen/jinja.tab.c: compiler/chat/jinja.y | $(B)/.tools
	@mkdir -p $(B)/gen
	bison -Werror -o $@ --defines=$(B)/gen/jinja.tab.h $<
$(B)/gen/jinja.lex.c: compiler/chat/jinja.l $(B)/gen/jinja.tab.c
	flex -o $@ --header-file=$(B)/gen/jinja.lex.h $<

# ---- objects ----

$(B)/gen/tir.lex.o $(B)/gen/jinja.lex.o: WARN += -Wno-sign-compare -Wno-unused-function
# A grammar ends with the function that calls lexer and parser, and includes the lexer's header.
$(B)/gen/tir.tab.o $(B)/san/gen/tir.tab.o: $(B)/gen/tir.lex.c
$(B)/gen/jinja.tab.o $(B)/san/gen/jinja.tab.o: $(B)/gen/jinja.lex.c
$(B)/rt/pretokenize.o $(B)/rt/tokenize.o: | $(B)/gen/unicode_tables.h
$(B)/ir/vocab_normal.o: | $(B)/gen/unicode_normal.h

define compile
@mkdir -p $(@D)
$(CC) $(CSTD) $(CPPFLAGS) $(CFLAGS) $(WARN) $(INC) $(DEPS) -c $< -o $@
endef
$(B)/rt/%.o: runtime-min/%.c | $(B)/.tools $(B)/gen/unicode_tables.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CPPFLAGS) $(RT_CFLAGS) -ffile-prefix-map=$(CURDIR)=. $(WARN) -fPIC -pthread -Iruntime-min -I$(B)/gen $(DEPS) -c $< -o $@
$(B)/ir/%.o: compiler/ir/%.c | $(B)/.tools
	$(compile)
$(B)/frontend/%.o: compiler/frontend/%.c | $(B)/gen/tir.lex.c
	$(compile)
$(B)/passes/%.o: compiler/passes/%.c | $(B)/.tools
	$(compile)
$(B)/codegen-c/%.o: compiler/codegen-c/%.c | $(B)/.tools
	$(compile)
$(B)/codegen-gpu/%.o: compiler/codegen-gpu/%.c | $(B)/.tools
	$(compile)
$(B)/codegen-cuda/%.o: compiler/codegen-cuda/%.c | $(B)/.tools
	$(compile)
$(B)/codegen-metal/%.o: compiler/codegen-metal/%.c | $(B)/.tools
	$(compile)
$(B)/chat/%.o: compiler/chat/%.c | $(B)/gen/jinja.lex.c
	$(compile)
$(B)/report/%.o: compiler/report/%.c | $(B)/.tools
	$(compile)
$(B)/checkpoint/%.o: compiler/checkpoint/%.c | $(B)/.tools
	$(compile)
$(B)/driver/%.o: compiler/driver/%.c | $(B)/.tools
	$(compile)
$(B)/cmd/%.o: compiler/cmd/%.c | $(B)/.tools
	$(compile)
$(B)/gen/%.o: $(B)/gen/%.c
	$(compile)
$(B)/main.o: compiler/main.c | $(B)/.tools
	$(compile)

$(B)/libbnrt.a: $(RT_OBJ)
	@rm -f $@
	ar rcsD $@ $^
# Whoever goes from JIT=1 to none, or back, gets another bnc.
$(B)/.jit-$(JIT):
	@mkdir -p $(B)
	@rm -f $(B)/.jit-*
	@touch $@
ifeq ($(JIT),1)
$(B)/bnc: $(B)/jit/bnc $(B)/.jit-$(JIT)
	cp $< $@
else
$(B)/bnc: $(CMD_OBJ) $(LIB_OBJ) $(RT_OBJ) $(B)/jit/absent.o $(B)/.jit-$(JIT)
	$(CC) $(CFLAGS) $(LDFLAGS) -pthread $(EXPORTS) $(filter %.o,$^) -lxxhash -lb2 -ljansson -ledit -ldl -lm -o $@
endif

# ---- for people ----

MODEL := examples/models/fables-27m-i2_s.gguf
demo: deps
	$(MAKE) --no-print-directory all
	$(MAKE) -C examples/story BNC=../../$(B)/bnc RUNTIME=../../runtime-min LIB=../../$(B)/libbnrt.a MODEL=../../$(MODEL) OUT=../../$(B)/story
	$(B)/story/story

# JSON=1 prints JSON, BENCH_SMALL=1 leaves out the 2B4T shape; bench/*.sh name the rest.
bench: all
	@sh bench/bench.sh $(if $(JSON),--json) $(B)/bnc
# Beside other engines' programs that the environment names (IK_LLAMA_BENCH=... IK_LLAMA_MODEL=...).
bench-peers: all
	@sh bench/peers.sh $(if $(JSON),--json) $(B)/bnc

# Without a JIT, and again with its objects in place of absent.o where `make JIT=1` made them.
FLOOR_OBJ := $(CMD_OBJ) $(LIB_OBJ) $(RT_OBJ)
FLOOR_JIT := $(wildcard $(JIT_SRC:%.c=$(B)/jit/%.o))
floors: $(FLOOR_OBJ) $(B)/jit/absent.o
	@python3 tests/floors.py $(FLOOR_OBJ) $(B)/jit/absent.o
	@$(if $(FLOOR_JIT),python3 tests/floors.py $(FLOOR_OBJ) $(FLOOR_JIT))

clean:
	rm -rf $(B)

# Whole trees and examples stand in these, with depfiles of their own.
-include $(shell find $(B) \( -path $(B)/deb -o -path $(B)/install -o -path $(B)/doc \) -prune -o -type f -name '*.d' -print 2>/dev/null)
