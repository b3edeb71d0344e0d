/* fuzz_tokenizer_json.c: any bytes as the JSON files of a checkpoint's tokenizer.
 *
 * The input is one object, tokenizer.json; what stands in it under the names of the other files is
 * those.
 */
#include "fuzz_hf.h"

static void parse(void *arg)
{
    FuzzRun *r = arg;
    const char *why, *chat;
    json_t *own = json_part(&r->s, (const char *)r->data, r->size, &why);
    if (!json_is_object(own))
        fail(&r->s, (Loc){0}, "no object");
    r->files = (HfTokenizerFiles){.dir = "fuzz",
                                  .vocab = FUZZ_VOCAB,
                                  .model = json_object_get(own, "config.json"),
                                  .own = own,
                                  .config = json_object_get(own, "tokenizer_config.json"),
                                  .map = json_object_get(own, "special_tokens_map.json"),
                                  .generation = json_object_get(own, "generation_config.json"),
                                  .added = json_object_get(own, "added_tokens.json"),
                                  .chat = json_object_get(own, "chat_template.json")};
    r->source = hf_tokenizer_read(&r->s, &r->files, NULL, &chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_run(data, size, parse);
    return 0;
}
