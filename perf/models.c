/* Gradient sizes of two networks as data: element counts of every parameter, in the order of the model. */
#include <string.h>

#include "perf/perf.h"

#define BLOCK(counts, times) \
  { (counts), sizeof(counts) / sizeof((counts)[0]), (times) }

/* ResNet-50: a convolution, then scale and shift of its batch normalisation. The first block of a stage has a fourth convolution, the
 * shortcut. */
static const uint32_t RESNET_STEM[] = {9408, 64, 64};
static const uint32_t RESNET_1_FIRST[] = {4096, 64, 64, 36864, 64, 64, 16384, 256, 256, 16384, 256, 256};
static const uint32_t RESNET_1[] = {16384, 64, 64, 36864, 64, 64, 16384, 256, 256};
static const uint32_t RESNET_2_FIRST[] = {32768, 128, 128, 147456, 128, 128, 65536, 512, 512, 131072, 512, 512};
static const uint32_t RESNET_2[] = {65536, 128, 128, 147456, 128, 128, 65536, 512, 512};
static const uint32_t RESNET_3_FIRST[] = {131072, 256, 256, 589824, 256, 256, 262144, 1024, 1024, 524288, 1024, 1024};
static const uint32_t RESNET_3[] = {262144, 256, 256, 589824, 256, 256, 262144, 1024, 1024};
static const uint32_t RESNET_4_FIRST[] = {524288, 512, 512, 2359296, 512, 512, 1048576, 2048, 2048, 2097152, 2048, 2048};
static const uint32_t RESNET_4[] = {1048576, 512, 512, 2359296, 512, 512, 1048576, 2048, 2048};
static const uint32_t RESNET_HEAD[] = {2048000, 1000};
static const struct model_block RESNET50[] = {
    BLOCK(RESNET_STEM, 1),    BLOCK(RESNET_1_FIRST, 1), BLOCK(RESNET_1, 2),       BLOCK(RESNET_2_FIRST, 1), BLOCK(RESNET_2, 3),
    BLOCK(RESNET_3_FIRST, 1), BLOCK(RESNET_3, 5),       BLOCK(RESNET_4_FIRST, 1), BLOCK(RESNET_4, 2),       BLOCK(RESNET_HEAD, 1),
};

/* BERT-large: word, position and type embeddings with their normalisation; a layer is query, key, value, output (weight, bias each),
 * normalisation, the two feed-forward matrices with biases, normalisation; then the pooler. */
static const uint32_t BERT_EMBEDDINGS[] = {31254528, 524288, 2048, 1024, 1024};
static const uint32_t BERT_LAYER[] = {1048576, 1024, 1048576, 1024, 1048576, 1024, 1048576, 1024,
                                      1024,    1024, 4194304, 4096, 4194304, 1024, 1024,    1024};
static const uint32_t BERT_POOLER[] = {1048576, 1024};
static const struct model_block BERT_LARGE[] = {BLOCK(BERT_EMBEDDINGS, 1), BLOCK(BERT_LAYER, 24), BLOCK(BERT_POOLER, 1)};

static const struct model MODELS[] = {
    {"resnet50", RESNET50, sizeof(RESNET50) / sizeof(RESNET50[0])},
    {"bert-large", BERT_LARGE, sizeof(BERT_LARGE) / sizeof(BERT_LARGE[0])},
};

const struct model *model_find(const char *name) {
  for (size_t i = 0; i < sizeof(MODELS) / sizeof(MODELS[0]); i++) {
    if (strcmp(MODELS[i].name, name) == 0) return &MODELS[i];
  }
  return NULL;
}

const char *model_names(void) { return "resnet50 or bert-large"; }

uint32_t model_tensors(const struct model *m) {
  uint32_t n = 0;
  for (uint32_t b = 0; b < m->n_blocks; b++) n += m->blocks[b].n * m->blocks[b].times;
  return n;
}

uint64_t model_elements(const struct model *m) {
  uint64_t sum = 0;
  for (uint32_t t = 0; t < model_tensors(m); t++) sum += model_count(m, t);
  return sum;
}

uint32_t model_count(const struct model *m, uint32_t tensor) {
  for (uint32_t b = 0; b < m->n_blocks; b++) {
    uint32_t here = m->blocks[b].n * m->blocks[b].times;
    if (tensor < here) return m->blocks[b].counts[tensor % m->blocks[b].n];
    tensor -= here;
  }
  return 0;
}
