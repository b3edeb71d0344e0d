/* json_get.c: json_get KEY...: reads JSON on standard input with jansson and prints the value at
 * that path of keys (of an array: numbers from 0 on); status 1 where the text is not JSON or has no such value. */
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

int main(int argc, char **argv)
{
    json_error_t error;
    json_t *root = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);
    const json_t *v = root;
    if (!root)
        fprintf(stderr, "not JSON: line %d: %s\n", error.line, error.text);
    for (int i = 1; v && i < argc; i++)
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(argv[i]))
                             : json_object_get(v, argv[i]);
    if (v && json_is_string(v))
        printf("%s\n", json_string_value(v));
    else if (v)
        json_dumpf(v, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    int bad = !v;
    json_decref(root);
    return bad;
}
