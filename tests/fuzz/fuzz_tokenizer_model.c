/* fuzz_tokenizer_model.c: any bytes as a checkpoint's tokenizer.model, SentencePiece's protobuf. */
#include "fuzz_hf.h"

static void parse(void *arg)
{
    FuzzRun *r = arg;
    const char *chat;
    r->files = (HfTokenizerFiles){
        .dir = "fuzz", .vocab = FUZZ_VOCAB, .spm = r->data, .spm_bytes = r->size};
    r->source = hf_tokenizer_read(&r->s, &r->files, NULL, &chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_run(data, size, parse);
    return 0;
}
