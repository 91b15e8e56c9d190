/* What everyone gets when a group is complete: its names and its end. Owns no connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "control.h"

void control_setup_free(struct control_setup *s) {
  if (s == NULL) return;
  for (uint32_t i = 0; s->nodes != NULL && i < s->n_nodes; i++) free(s->nodes[i].addresses);
  free(s->nodes);
  plan_fini(&s->plan);
  OPENSSL_cleanse(s->secret, sizeof s->secret);
  memset(s, 0, sizeof *s);
}

const char *control_node_name(const struct control_setup *s, uint32_t node, char *buf, size_t cap) {
  uint32_t workers = s->plan.n_forests ? s->plan.workers : s->n_nodes;
  const char *kind = node < workers ? "rank" : "server";
  uint32_t number = node < workers ? node : node - workers;
  if (node < s->n_nodes && s->nodes[node].host[0] != '\0') {
    (void)snprintf(buf, cap, "%s %u (%s, pid %u)", kind, number, s->nodes[node].host, s->nodes[node].pid);
  } else {
    (void)snprintf(buf, cap, "%s %u", kind, number);
  }
  return buf;
}
