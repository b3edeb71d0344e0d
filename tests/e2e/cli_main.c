/* cli_main.c: the program around a model `m` that was compiled as an object or a library. */
#include "bn_model.h"

int bn_cli(const bn_model *model, int argc, char **argv);
extern const bn_model m_model;

int main(int argc, char **argv)
{
    return bn_cli(&m_model, argc, argv);
}
