/* chat_row.c: the helpers of compiled chat templates as bitcode, each to be found by its name. */
#include "bn_model.h"
#include <string.h>
#define static
#include "../chat/text.c"
#include "../chat/lists.c"
