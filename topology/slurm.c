/*
 * Reads Slurm's topology.conf (topology/tree): SwitchName= with Switches= or Nodes=. Keys are taken in any case, as Slurm does; a backslash
 * at the end of a line continues it. What Slurm would take and this does not know is an error, never skipped.
 */
#include "topology/slurm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/util.h"
#include "topology/topo_internal.h"

#define LOGICAL_MAX 65536u /* a line with those that continue it */

struct line_of_switch {
  uint32_t line;
  char *children; /* owned; NULL: none */
};

struct reader {
  struct topo_lines lines;
  struct topo t;
  agg_error_t *err;
  uint64_t uplink;
  uint32_t first_line; /* of the logical line */
  size_t length;
  char text[LOGICAL_MAX + 1];
  /* the line that is being read */
  const char *name, *children, *nodes, *speed;
  /* by index */
  struct line_of_switch *of_switch;
  uint32_t cap_of_switch;
  uint32_t *host_lines;
  uint32_t cap_host_lines;
  uint32_t empty; /* the machine that has nothing */
  uint32_t current;
};

#define FAIL_AT(r, at, ...) topo_lines_fail(&(r)->lines, (at), AGG_EINVAL, (r)->err, __VA_ARGS__)
#define FAIL(r, ...) FAIL_AT(r, (r)->first_line, __VA_ARGS__)
#define FAIL_SO(r, at, rc) topo_lines_fail(&(r)->lines, (at), (rc), (r)->err, "%s", (r)->err->text)

/* ---- lines ------------------------------------------------------------------------------------------------------------------------- */

/* The next line, with those that continue it. 1; 0 at the end; an error. */
static int next_logical(struct reader *r) {
  int more, continued = 0;
  r->length = 0;
  r->text[0] = '\0';
  while ((more = topo_lines_next(&r->lines, r->err)) > 0) {
    size_t n = strlen(r->lines.line);
    if (r->length == 0 && !continued) r->first_line = r->lines.number;
    continued = n > 0 && r->lines.line[n - 1] == '\\';
    if (continued) n--;
    if (r->length + n > LOGICAL_MAX) return FAIL(r, "the line and those that continue it have more than %u characters", LOGICAL_MAX);
    memcpy(r->text + r->length, r->lines.line, n);
    r->length += n;
    r->text[r->length] = '\0';
    if (!continued) return 1;
  }
  if (more < 0) return more;
  return continued ? FAIL(r, "the last line ends in a backslash and nothing follows: the file was cut off, or remove it") : 0;
}

static int set_key(struct reader *r, const char *key, const char *value) {
  const struct {
    const char *name;
    const char **to;
  } keys[] = {{"SwitchName", &r->name}, {"Switches", &r->children}, {"Nodes", &r->nodes}, {"LinkSpeed", &r->speed}};
  for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
    if (strcasecmp(key, keys[i].name) != 0) continue;
    if (*keys[i].to != NULL) return FAIL(r, "%s is given twice: remove one of them", keys[i].name);
    if (value[0] == '\0') return FAIL(r, "%s has no value", keys[i].name);
    *keys[i].to = value;
    return AGG_OK;
  }
  if (strcasecmp(key, "BlockName") == 0 || strcasecmp(key, "BlockSizes") == 0) {
    return FAIL(r, "%.40s belongs to topology/block: expected a tree of switches (SwitchName=), or describe the fabric in the text form",
                key);
  }
  return FAIL(r, "%.60s is not known: expected SwitchName, Switches, Nodes or LinkSpeed", key);
}

/* Slurm allows blanks around the =. */
static void join_keys(char *text) {
  char *to = text;
  for (const char *p = text; *p != '\0'; p++) {
    if (*p == '=') {
      while (to > text && to[-1] == ' ') to--;
      *to++ = *p;
      while (p[1] == ' ') p++;
    } else {
      *to++ = *p;
    }
  }
  *to = '\0';
}

static int split_keys(struct reader *r) {
  char *save = NULL;
  join_keys(r->text);
  r->name = r->children = r->nodes = r->speed = NULL;
  for (char *word = strtok_r(r->text, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
    char *equals = strchr(word, '=');
    if (equals == NULL && strcasecmp(word, "include") == 0) return FAIL(r, "include is not followed: put the lines of that file here");
    if (equals == NULL) return FAIL(r, "\"%.60s\": expected Key=value", word);
    *equals = '\0';
    int rc = set_key(r, word, equals + 1);
    if (rc != AGG_OK) return rc;
  }
  if (r->name == NULL) return FAIL(r, "expected SwitchName= on every line");
  if (r->children != NULL && r->nodes != NULL)
    return FAIL(r, "switch %.60s has Switches and Nodes: Slurm allows only one of them", r->name);
  if (r->children == NULL && r->nodes == NULL) return FAIL(r, "switch %.60s has nothing on it: expected Switches= or Nodes=", r->name);
  return AGG_OK;
}

/* ---- switches and nodes ------------------------------------------------------------------------------------------------------------ */

/* Slurm's own numbers have no unit and no meaning; what has one is taken. */
static uint64_t uplink_of(struct reader *r) {
  uint64_t speed;
  if (r->speed == NULL) return r->uplink;
  if (r->speed[strspn(r->speed, "0123456789.")] != '\0' && topo_speed_parse(r->speed, &speed) == 0) return speed;
  topo_note(&r->t, "%.120s: a LinkSpeed without a unit of bit/s, like 400G, means nothing and was not used", r->lines.source);
  return r->uplink;
}

static int add_node(void *user, const char *name) {
  struct reader *r = user;
  struct topo_host h = {.machine = r->empty, .on = r->current};
  uint32_t there = topo_find_host(&r->t, name);
  if (there != TOPO_NONE)
    return err_set(r->err, AGG_EINVAL, "node %s is there already (line %u): a node hangs on one switch", name, r->host_lines[there]);
  str_copy(h.name, sizeof h.name, name);
  int rc = topo_grow(&r->host_lines, r->t.n_hosts, &r->cap_host_lines, sizeof *r->host_lines, r->err);
  if (rc == AGG_OK) rc = topo_add_host(&r->t, &h, NULL, r->err);
  if (rc == AGG_OK) r->host_lines[r->t.n_hosts - 1] = r->first_line;
  return rc;
}

static int read_switch(struct reader *r) {
  struct topo_switch s = {.parent = TOPO_NONE};
  int rc = split_keys(r);
  if (rc != AGG_OK) return rc;
  if (!topo_name_ok(r->name)) return FAIL(r, "SwitchName=%.80s: expected one name of letters, digits and . _ -", r->name);
  uint32_t there = topo_find_switch(&r->t, r->name);
  if (there != TOPO_NONE)
    return FAIL(r, "switch %s is there already (line %u): put all that is on it into one line", r->name, r->of_switch[there].line);
  str_copy(s.name, sizeof s.name, r->name);
  s.up = s.down = uplink_of(r);
  rc = topo_grow(&r->of_switch, r->t.n_switches, &r->cap_of_switch, sizeof *r->of_switch, r->err);
  if (rc == AGG_OK) rc = topo_add_switch(&r->t, &s, &r->current, r->err);
  if (rc != AGG_OK) return FAIL_SO(r, r->first_line, rc);
  r->of_switch[r->current] = (struct line_of_switch){.line = r->first_line};
  if (r->nodes != NULL) {
    rc = topo_names_expand(r->nodes, add_node, r, r->err);
    return rc != AGG_OK ? FAIL_SO(r, r->first_line, rc) : AGG_OK;
  }
  r->of_switch[r->current].children = strdup(r->children);
  return r->of_switch[r->current].children != NULL ? AGG_OK : err_set(r->err, AGG_ENOMEM, "%s: no memory to read it", r->lines.source);
}

static int set_parent(void *user, const char *name) {
  struct reader *r = user;
  uint32_t child = topo_find_switch(&r->t, name);
  if (child == TOPO_NONE) return err_set(r->err, AGG_EINVAL, "there is no switch %s: add a line SwitchName=%s", name, name);
  struct topo_switch *s = &r->t.switches[child];
  if (s->parent != TOPO_NONE) {
    return err_set(r->err, AGG_EINVAL, "switch %s is below switch %s already: expected a tree, so describe switches side by side as one",
                   name, r->t.switches[s->parent].name);
  }
  s->parent = r->current;
  return AGG_OK;
}

static int resolve(struct reader *r) {
  for (r->current = 0; r->current < r->t.n_switches; r->current++) {
    const struct line_of_switch *of = &r->of_switch[r->current];
    int rc = of->children != NULL ? topo_names_expand(of->children, set_parent, r, r->err) : AGG_OK;
    if (rc != AGG_OK) return FAIL_SO(r, of->line, rc);
  }
  uint32_t unknown = 0;
  for (uint32_t i = 0; i < r->t.n_switches; i++) {
    struct topo_switch *s = &r->t.switches[i];
    if (s->parent == TOPO_NONE) s->up = s->down = 0; /* there is no uplink */
    if (s->parent != TOPO_NONE && s->up == 0) unknown++;
  }
  if (unknown > 0) {
    topo_note(&r->t, "%.120s: it has no speeds: uplinks of %u switches are unknown", r->lines.source, unknown);
  }
  return AGG_OK;
}

static int read_text(struct reader *r) {
  int more, rc = topo_add_machine(&r->t, &(struct topo_machine){0}, &r->empty, r->err);
  while (rc == AGG_OK && (more = next_logical(r)) != 0)
    rc = more < 0 ? more : r->text[strspn(r->text, " ")] == '\0' ? AGG_OK : read_switch(r);
  if (rc == AGG_OK && r->t.n_switches == 0) {
    return FAIL_AT(r, 0, "no switch is described: expected lines like SwitchName=leaf1 Nodes=node[1-8]");
  }
  if (rc == AGG_OK) rc = resolve(r);
  if (rc != AGG_OK) return rc;
  struct topo_fault fault;
  rc = topo_verify(&r->t, &fault, r->err);
  if (rc == AGG_OK) return rc;
  return FAIL_SO(r, fault.sw != TOPO_NONE ? r->of_switch[fault.sw].line : 0, rc);
}

int slurm_parse(const char *text, size_t bytes, const char *source, uint64_t uplink, struct topo *t, agg_error_t *err) {
  agg_error_t own;
  if (uplink != 0 && (uplink < TOPO_SPEED_MIN || uplink > TOPO_SPEED_MAX)) {
    return err_set(err, AGG_EINVAL, "an uplink of %llu bytes a second cannot be meant: expected 1 Mbit/s to 100 Tbit/s",
                   (unsigned long long)uplink);
  }
  struct reader *r = calloc(1, sizeof *r);
  if (r == NULL) return err_set(err, AGG_ENOMEM, "%s: no memory to read it", source);
  r->err = err != NULL ? err : &own;
  r->uplink = uplink;
  topo_init(&r->t);
  topo_lines_init(&r->lines, text, bytes, source);
  int rc = read_text(r);
  for (uint32_t i = 0; i < r->t.n_switches; i++) free(r->of_switch[i].children);
  if (rc == AGG_OK) {
    *t = r->t;
  } else {
    topo_fini(&r->t);
  }
  free(r->of_switch);
  free(r->host_lines);
  free(r);
  return rc;
}

int slurm_load(const char *path, uint64_t uplink, struct topo *t, agg_error_t *err) {
  char *text;
  size_t bytes;
  int rc = topo_file_read(path, &text, &bytes, err);
  if (rc != AGG_OK) return rc;
  rc = slurm_parse(text, bytes, path, uplink, t, err);
  free(text);
  return rc;
}

/* Whether the first word, behind comments and empty lines, is ours. */
static int is_text_form(const char *text) {
  for (;;) {
    text += strspn(text, " \t\r\n");
    if (*text != '#') break;
    text += strcspn(text, "\n");
  }
  return strcspn(text, " \t\r\n") == 4 && strncmp(text, "topo", 4) == 0;
}

int topo_load_fabric(const char *path, uint64_t uplink, struct topo *t, agg_error_t *err) {
  char *text;
  size_t bytes;
  int rc = topo_file_read(path, &text, &bytes, err);
  if (rc != AGG_OK) return rc;
  if (!is_text_form(text)) {
    rc = slurm_parse(text, bytes, path, uplink, t, err);
  } else if (uplink != 0) {
    rc = err_set(err, AGG_EINVAL, "%s: a description has the speeds of its uplinks itself: write them there, uplink=400G", path);
  } else {
    rc = topo_parse(text, bytes, path, t, err);
  }
  free(text);
  return rc;
}
