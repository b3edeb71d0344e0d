/* template.c: the chat template's C, which compiler/chat wrote, as LLVM IR. */
#include "jit/lower.h"

void lower_template(Lower *l, const char *text)
{
    (void)l, (void)text;
}
