# tests.mk: everything that `make check` runs (tests/steps.def). Unit tests run under AddressSanitizer and UBSan.

SHARED  ?= $(abspath ../shared)
SAN     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
S       := $(B)/san
RUN     := ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 BN_SHARED=$(SHARED)

S_RT    := $(RT_SRC:%.c=$S/rt/%.o)
S_TOK   := $S/rt/tokenize.o $S/rt/pretokenize.o $S/rt/normalize.o $S/rt/detokenize.o
JINJA_RT := jinja_run jinja_value jinja_text jinja_parts jinja_json jinja_call
S_IR    := $(IR_SRC:%.c=$S/ir/%.o) $(S_TOK) $S/rt/cpus.o
S_FE    := $(FE_SRC:%.c=$S/frontend/%.o) $S/gen/tir.tab.o $S/gen/tir.lex.o $S/gen/embedded.o
S_PS    := $(PS_SRC:%.c=$S/passes/%.o) $(CG_SRC:%.c=$S/codegen-c/%.o) $(GPU_SRC:%.c=$S/%.o)
S_CHAT  := $(CH_SRC:%.c=$S/chat/%.o) $S/gen/jinja.tab.o $S/gen/jinja.lex.o
S_CMD   := $(CMD_SRC:%.c=$S/cmd/%.o) $(DR_SRC:%.c=$S/driver/%.o) $(CK_SRC:%.c=$S/checkpoint/%.o) $(RP_SRC:%.c=$S/report/%.o) $S/jit/absent.o $S/main.o
S_BASE  := $S/ir/session.o $S/ir/out.o $S/ir/escape.o $S/ir/temps.o $S/ir/formats.o $S/ir/blocks.o $S/rt/cpus.o

$S/rt/%.o: runtime-min/%.c | $(B)/gen/unicode_tables.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(SAN) $(WARN) -pthread -Iruntime-min -I$(B)/gen $(DEPS) -c $< -o $@
$S/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CSTD) -O1 -g $(SAN) $(WARN) -Wno-sign-compare -Wno-unused-function $(INC) $(DEPS) -c $< -o $@
$S/%.o: compiler/%.c | $(B)/gen/tir.lex.c $(B)/gen/jinja.lex.c
	@mkdir -p $(@D)
	$(CC) $(CSTD) -O1 -g $(SAN) $(WARN) $(INC) $(DEPS) -c $< -o $@
# Those that have many kernels inside take half a minute longer to optimise than to run as they are.
$S/test/test_kv.o $S/test/test_kernels.o $S/test/test_t3.o $S/test/test_groups.o: SAN_O := -O0
SAN_O ?= -O1
$S/test/%.o: tests/unit/%.c | $(B)/gen/unicode_tables.h
	@mkdir -p $(@D)
	$(CC) $(CSTD) $(SAN_O) -g $(SAN) $(WARN) $(INC) -Itests/unit $(DEPS) -c $< -o $@

# ---- unit tests: name, and what each links ----

UNITS := $(shell awk -F'"' '/^STEP/ && $$2 ~ /^unit: / {print substr($$2, 7)}' tests/steps.def)
$S/test_runtime $S/test_sample: $S/rt/load.o $S/rt/cpus.o $S/rt/team.o $S/rt/state.o $S/rt/sample.o $S/rt/generate.o
$S/test_schedule: $S/rt/team.o $S/rt/cpus.o
$S/test_cpus: $S/rt/cpus.o
$S/test_stop: $S/rt/load.o $S/rt/cpus.o $S/rt/team.o $S/rt/state.o $S/rt/sample.o $S/rt/generate.o
$S/test_cli: $S/rt/load.o $S/rt/cpus.o $S/rt/team.o $S/rt/state.o $S/rt/sample.o $S/rt/generate.o $S/rt/cli.o
$S/test/test_chat.o: INC += -I$(B)/chat
$S/test/test_chat.o: | $(B)/chat/mistral.inc
$S/test_chat: $S/rt/chat.o $(JINJA_RT:%=$S/rt/%.o) $(S_CHAT) $(S_BASE) $S/gen/embedded.o
$S/test_chat $S/test_tokenizer $S/test_normalize $S/test_tokenizer_golden: $(S_TOK) $S/ir/vocab.o $S/ir/vocab_normal.o $S/ir/vocab_tables.o
$S/test_t3 $S/test_groups $S/test_head: $(S_IR)
$S/test_session $S/test_formats $S/test_encode: $(S_BASE)
$S/test_prefill: $(S_BASE) $S/codegen-c/targets.o
$S/test_formats $S/test_encode: $S/ir/encode.o
$S/test_gguf: $(S_BASE) $S/frontend/gguf.o $S/frontend/gguf_get.o $S/frontend/gguf_open.o
$S/test_safetensors: $(S_BASE) $S/frontend/safetensors.o $S/frontend/json.o
$S/test_ir $S/test_models: $(S_IR) $(S_FE) $(S_PS)
$S/test_quantize: $(filter-out %/main.o,$(S_CMD)) $(S_CHAT) $(S_IR) $(S_FE) $(S_PS) $(S_RT)
$(UNITS:%=$S/test_%): $S/test_%: $S/test/test_%.o $S/test/filter.o
	$(CC) $(SAN) -pthread $^ -lcmocka -lxxhash -lb2 -ljansson -ledit -ldl -lm -o $@
$S/bnc: $(S_CMD) $(S_CHAT) $(S_IR) $(S_FE) $(S_PS) $(S_RT)
	$(CC) $(SAN) -pthread $(EXPORTS) $^ -lxxhash -lb2 -ljansson -ledit -ldl -lm -o $@

# ---- end to end: each model of ../shared by each target, against the goldens ----

GOLDEN_MODELS := tales-27m-i2_s tales-27m-tq1_0 tales-27m-tq2_0 tales-27m-f16 tales-4m-i2_s tales-4m-f16 \
    synth-tiny-bitnet-i2_s synth-tiny-bitnet-b1.58-i2_s synth-tiny-llama-i2_s \
    synth-odd-bitnet-i2_s synth-odd-bitnet-b1.58-i2_s synth-odd-llama-i2_s
# Their caches hold f32, for the tightest bounds; these hold what users get, or may ask for:
GOLDEN_KV := tales-27m-i2_s.kv-f16 tales-4m-i2_s.kv-f16 synth-odd-llama-i2_s.kv-f16 \
    tales-27m-i2_s.kv-int8 tales-4m-i2_s.kv-int8
# Plain C takes ten times as long: each graph and each cache once, by the small models.
GOLDEN_ONCE := tales-27m-i2_s tales-27m-tq1_0 tales-27m-tq2_0 tales-27m-f16 tales-27m-i2_s.kv-f16 tales-27m-i2_s.kv-int8
# Other weights for C that another row compiles with -O3, or nearly so:
GOLDEN_QUICK := tales-27m-tq1_0 tales-27m-tq2_0 tales-27m-f16 tales-4m-f16 synth-tiny-bitnet-i2_s \
    synth-tiny-bitnet-b1.58-i2_s synth-tiny-llama-i2_s
# and what takes longer to compile than to run:
GOLDEN_QUICK.x86-64-v3 := synth-odd-bitnet-i2_s synth-odd-llama-i2_s tales-4m-i2_s
# Graphs of which there is no file in ../shared: random models that are committed, with the goldens
# of tests/reference beside them.
ARCH_MODELS := qwen3-i2_s qwen3-norm-in-i2_s gemma3-i2_s gemma3-norm-in-i2_s
ARCH_SO := $(foreach m,$(ARCH_MODELS),$(foreach t,x86-64 x86-64-v3,$(B)/arch-models/$m.$t.so))
GOLDEN_SO := $(foreach m,$(GOLDEN_MODELS) $(GOLDEN_KV),$(B)/models/$m.x86-64-v3.so) \
    $(foreach m,$(filter-out $(GOLDEN_ONCE),$(GOLDEN_MODELS) $(GOLDEN_KV)),$(B)/models/$m.x86-64.so)

# The committed model, for which tests/golden holds what tests/reference/make_golden.py says. By plain C only where
# no shared model of this graph is tested so: it takes a minute.
TRAINED := $(B)/trained/fables-27m-i2_s
TRAINED_SO := $(if $(wildcard $(SHARED)/golden),,$(TRAINED).x86-64.so) $(TRAINED).x86-64-v3.so $(TRAINED).kv-f16.x86-64-v3.so

define golden
$(B)/models/%$1.$2.so: $(SHARED)/models/%.gguf $(B)/bnc
	@mkdir -p $$(@D)
	$$(if $$(filter $$*,$(GOLDEN_QUICK) $(GOLDEN_QUICK.$2)),CC=$(CURDIR)/tests/quick-cc.sh )$(B)/bnc $$< --emit=so --name=m --target=$2 --kv=$(or $(1:.kv-%=%),f32) --quiet -o $$@
endef
$(foreach t,x86-64 x86-64-v3,$(foreach k,.kv-f16 .kv-int8,$(eval $(call golden,$k,$t)))$(eval $(call golden,,$t)))
define arch_model
$(B)/arch-models/%.$1.so: tests/arch-models/%.gguf $(B)/bnc
	@mkdir -p $$(@D)
	CC=$(CURDIR)/tests/quick-cc.sh $(B)/bnc $$< --emit=so --name=m --target=$1 --kv=f32 --quiet -o $$@
endef
$(foreach t,x86-64 x86-64-v3,$(eval $(call arch_model,$t)))
define trained
$(B)/trained/%$1.$2.so: examples/models/%.gguf $(B)/bnc
	@mkdir -p $$(@D)
	$(if $(filter x86-64-v3,$2),CC=$(CURDIR)/tests/quick-cc.sh )$(B)/bnc $$< --emit=so --name=m --target=$2 --kv=$(or $(1:.kv-%=%),f32) --quiet -o $$@
endef
$(eval $(call trained,.kv-f16,x86-64-v3))
$(foreach t,x86-64 x86-64-v3,$(eval $(call trained,,$t)))
$(B)/test_golden: tests/e2e/test_golden.c
	$(CC) -std=gnu11 -O2 -g $(WARN) -rdynamic -Iruntime-min $< -lcmocka -ljansson -ldl -lm -o $@

$(B)/test_hf_golden: tests/e2e/test_hf_golden.c
	$(CC) -std=gnu11 -O2 -g $(WARN) -rdynamic -Iruntime-min $< -ljansson -ldl -lm -o $@

# Makes the files of tests/run_formats.sh.
$(B)/retype: tests/e2e/retype.c $(B)/checkpoint/gguf_out.o $(LIB_OBJ) $(RT_OBJ)
	$(CC) $(CSTD) -O2 -g $(WARN) $(INC) $^ -pthread -lxxhash -ljansson -lm -o $@

# Positions and the library: 10,000 in all, most where a position takes least.
TOPK_RUNS := 6500 $(B)/models/tales-4m-i2_s.x86-64-v3.so 2500 $(B)/models/tales-27m-i2_s.x86-64-v3.so \
    1000 $(B)/models/tales-4m-f16.x86-64.so
$(B)/test_topk: tests/e2e/test_topk.c $(B)/libbnrt.a
	$(CC) -std=gnu11 -O2 -g $(WARN) -pthread -Iruntime-min $< $(B)/libbnrt.a -ldl -lm -o $@

# ---- fuzzing: seconds each, here; longer by hand with FUZZ_SECONDS=600 ----

FUZZ_SECONDS ?= 20
FUZZERS := gguf safetensors tir tokenizer tokenizer_json tokenizer_model jinja chat tuning baseline bnw
FUZZ_CC := clang $(CSTD) -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
           -Wno-sign-compare -Wno-unused-function $(INC)
TOK_C   := $(patsubst $S/rt/%.o,runtime-min/%.c,$(S_TOK))
$(B)/fuzz_gguf: tests/fuzz/fuzz_gguf.c compiler/frontend/gguf.c compiler/frontend/gguf_get.c \
    compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c compiler/ir/formats.c compiler/ir/blocks.c runtime-min/cpus.c
	$(FUZZ_CC) $^ -lxxhash -lm -o $@
$(B)/fuzz_safetensors: tests/fuzz/fuzz_safetensors.c compiler/frontend/safetensors.c compiler/frontend/json.c \
    compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c runtime-min/cpus.c
	$(FUZZ_CC) $^ -ljansson -lm -o $@
$(B)/fuzz_baseline: tests/fuzz/fuzz_baseline.c compiler/cmd/baseline.c compiler/frontend/json.c \
    compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c runtime-min/cpus.c
	$(FUZZ_CC) $^ -ljansson -lm -o $@
$(B)/fuzz_tuning: tests/fuzz/fuzz_tuning.c compiler/passes/tuning.c compiler/ir/groups.c compiler/ir/formats.c compiler/ir/blocks.c compiler/ir/build.c \
    compiler/ir/infer.c compiler/ir/print.c compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c runtime-min/cpus.c
	$(FUZZ_CC) $^ -lm -o $@
$(B)/fuzz_bnw: tests/fuzz/fuzz_bnw.c runtime-min/load.c $(TOK_C) \
    compiler/ir/vocab.c compiler/ir/vocab_normal.c compiler/ir/vocab_tables.c | $(B)/gen/unicode_tables.h
	$(FUZZ_CC) $^ -lxxhash -lm -o $@
$(B)/fuzz_tokenizer: tests/fuzz/fuzz_tokenizer.c $(TOK_C) \
    compiler/ir/vocab.c compiler/ir/vocab_normal.c compiler/ir/vocab_tables.c | $(B)/gen/unicode_tables.h
	$(FUZZ_CC) $^ -lm -o $@
$(B)/fuzz_tokenizer_json $(B)/fuzz_tokenizer_model: $(B)/fuzz_%: tests/fuzz/fuzz_%.c $(TOK_C) compiler/checkpoint/tokenizer.c \
    compiler/checkpoint/tokens.c compiler/checkpoint/normalizer.c compiler/checkpoint/sentencepiece.c compiler/checkpoint/gguf_out.c compiler/frontend/json.c \
    compiler/frontend/gguf.c compiler/frontend/gguf_get.c compiler/frontend/gguf_open.c compiler/ir/formats.c compiler/ir/blocks.c \
    compiler/ir/vocab.c compiler/ir/vocab_normal.c compiler/ir/vocab_tables.c compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c runtime-min/cpus.c | $(B)/gen/unicode_tables.h
	$(FUZZ_CC) $^ -ljansson -lxxhash -lm -o $@
$(B)/fuzz_tir: tests/fuzz/fuzz_tir.c $(TOK_C) $(IR_SRC:%=compiler/ir/%) $(FE_SRC:%=compiler/frontend/%) $(PS_SRC:%=compiler/passes/%) \
    $(CG_SRC:%=compiler/codegen-c/%) $(B)/gen/tir.tab.c $(B)/gen/tir.lex.c $(B)/gen/embedded.c runtime-min/cpus.c
	$(FUZZ_CC) $^ -lxxhash -ljansson -lm -o $@

FUZZ_LIMITS := -O2 '-DBN_JINJA_STEPS=((int64_t)6000)' '-DBN_JINJA_BYTES=((size_t)1<<16)'
$(B)/fuzz_jinja: tests/fuzz/fuzz_jinja.c runtime-min/chat.c $(JINJA_RT:%=runtime-min/%.c) \
    $(TOK_C) $(CH_SRC:%=compiler/chat/%) $(B)/gen/jinja.tab.c $(B)/gen/jinja.lex.c \
    compiler/ir/session.c compiler/ir/out.c compiler/ir/escape.c compiler/ir/temps.c runtime-min/cpus.c $(B)/gen/embedded.c | $(B)/gen/unicode_tables.h
	$(FUZZ_CC) $(FUZZ_LIMITS) $^ -lm -o $@
# Compiled templates for tests, whose special tokens are <s> and </s>, as bytes in C:
$(B)/chat/%.inc: tests/chat/templates/%.jinja $(B)/bnc
	@mkdir -p $(@D)
	$(B)/bnc template $< --bos='<s>' --eos='</s>' -o $(@:.inc=.bnt)
	od -An -v -tu1 $(@:.inc=.bnt) | sed 's/\([0-9]\)\( \|$$\)/\1,\2/g' >$@
# The limits of a run are lower here, so that what comes near them is seen soon.
$(B)/fuzz_chat: tests/fuzz/fuzz_chat.c runtime-min/chat.c $(JINJA_RT:%=runtime-min/%.c) \
    $(TOK_C) | $(B)/gen/unicode_tables.h $(B)/chat/corners.inc
	$(FUZZ_CC) -I$(B)/chat $(FUZZ_LIMITS) $^ -lm -o $@

.PHONY: golden-build golden-run trained-build trained-run arch-build arch-run topk-run fuzz-build jit-build
golden-build: $(GOLDEN_SO) $(B)/test_golden $(B)/test_topk
golden-run: golden-build
	@$(B)/test_golden $(SHARED)/golden $(GOLDEN_SO)
trained-build: $(TRAINED_SO) $(B)/test_golden
trained-run: trained-build
	@$(B)/test_golden tests/golden $(TRAINED_SO)
arch-build: $(ARCH_SO) $(B)/test_golden
arch-run: arch-build
	@$(B)/test_golden tests/arch-models $(ARCH_SO)
topk-run: golden-build
	@$(B)/test_topk $(TOPK_RUNS)
fuzz-build: $(FUZZERS:%=$(B)/fuzz_%)
# Of the rows of x86 those that most machines run; the others are compiled from the same sources.
jit-build: $(B)/bnc
	$(MAKE) -s JIT=1 $(if $(filter x86_64,$(shell uname -m)),JIT_ROWS="x86-64 x86-64-v3") $(B)/jit/bnc

.PHONY: check-install-chroot
check-install-chroot:
	@sh tests/run_chroot.sh

check:
	@ONLY='$(ONLY)' sh tests/check.sh "$(MAKE)" "$(SHARED)"
# The whole in a fresh Debian 12, of a clone and nothing beside it, as root and as an ordinary user; by hand, it
# takes the network and an hour.
.PHONY: check check-public format format-check
check-public:
	@sh tests/public.sh

# ---- the form of sources: .clang-format over all C and what looks like it, but for tables (.def) ----

FORMATTED = $(shell git ls-files '*.c' '*.h' '*.cc' '*.cu' '*.cuh' '*.m' '*.metal')
# Those that were never formatted, until they are: with this list goes its use here.
UNFORMATTED = $(shell cat tests/unformatted)
format:
	@clang-format -i $(FORMATTED)
format-check:
	@clang-format --dry-run -Werror $(filter-out $(UNFORMATTED),$(FORMATTED)) && echo "format: clean"

# For editors and clang-tidy: how each object of bnc and its unit tests is compiled.
.PHONY: compile_commands.json
compile_commands.json: all
	@$(MAKE) -nB $(CMD_OBJ) $(LIB_OBJ) $(RT_OBJ) $(UNITS:%=$S/test/test_%.o) | python3 tools/compile_commands.py >$@
