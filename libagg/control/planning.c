/*
 * The plan of a group: the fabric from what the nodes say of themselves and, where an operator has described it, from that description;
 * then the chooser. Decides nothing that the chooser could.
 *
 * Without a description, hosts are told apart by what their nodes say, and all hang on one switch that limits nothing. With one, every
 * host of the group must be in it: a group that is planned on half a fabric would be planned wrongly without anyone noticing.
 */
#include "planning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "coord.h"
#include "topology/choose.h"
#include "topology/explain.h"
#include "topology/fabric_topo.h"
#include "topology/slurm.h"

/* ---- the description ------------------------------------------------------------------------------------------------------------------
 */

int planning_topology_load(const char *path, struct topo **topo, agg_error_t *err) {
  struct topo *t = calloc(1, sizeof *t);
  if (t == NULL) return err_set(err, AGG_ENOMEM, "no memory for the description of the fabric");
  int rc = topo_load_fabric(path, 0, t, err);
  if (rc != AGG_OK) {
    free(t);
    return rc;
  }
  *topo = t;
  return AGG_OK;
}

void planning_topology_free(struct topo *topo) {
  if (topo == NULL) return;
  topo_fini(topo);
  free(topo);
}

/* ---- hosts ----------------------------------------------------------------------------------------------------------------------------
 */

struct planning {
  const struct group *g;
  uint32_t nodes;
  uint32_t *by_host;     /* nodes, those of a host one after the other */
  uint32_t *host_link;   /* node -> link of its host */
  uint32_t *switch_link; /* switch of the description -> link, 0: not added */
  struct fabric fabric;
};

static int has_transport(const struct control_node *n, const char *name) {
  for (uint32_t i = 0; i < n->n_addresses; i++) {
    if (strcmp(n->addresses[i].transport, name) == 0) return 1;
  }
  return 0;
}

static int compare_nodes(const void *a, const void *b, void *user) {
  const struct control_node *nodes = user;
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  int order = strcmp(nodes[x].host, nodes[y].host);
  if (order == 0) order = nodes[x].place < nodes[y].place ? -1 : nodes[x].place > nodes[y].place;
  if (order == 0) order = has_transport(&nodes[y], "shm") - has_transport(&nodes[x], "shm");
  return order != 0 ? order : x < y ? -1 : x > y;
}

/* Nodes share a host where they can share memory on it: containers may share a name, machines of one image a place. Without shared memory
 * each is by itself: its puts pass the network's stack. */
static int same_host(const struct control_node *a, const struct control_node *b) {
  return strcmp(a->host, b->host) == 0 && a->place == b->place && has_transport(a, "shm") && has_transport(b, "shm");
}

struct host_ports {
  const struct control_port *list[64];
  uint32_t n;
};

/* What a node says of a port is its part of what PCIe lets through to the ports that it uses: of several nodes' words the smallest counts.
 */
static void see_port(struct host_ports *seen, const struct control_port *port) {
  uint32_t k = 0;
  while (k < seen->n && strcmp(seen->list[k]->name, port->name) != 0) k++;
  if (k == ARRAY_LEN(seen->list)) return;
  if (k == seen->n) {
    seen->list[seen->n++] = port;
  } else if (seen->list[k]->bytes_per_s == 0 || (port->bytes_per_s != 0 && port->bytes_per_s < seen->list[k]->bytes_per_s)) {
    seen->list[k] = port;
  }
}

/* All ways out of the host that its nodes use, each once; unknown where one of them is, or where there is none. */
static struct fabric_topo_rate host_speed(const struct control_node *nodes, const uint32_t *list, uint32_t n) {
  static const struct fabric_topo_rate unknown = {.bytes_per_s = FABRIC_UNKNOWN};
  struct host_ports seen = {.n = 0};
  struct fabric_topo_rate all = {0};
  double most = 0; /* that a node has by itself: so much the host has, whatever the others' parts are */
  for (uint32_t i = 0; i < n; i++) {
    double own = 0;
    for (uint32_t p = 0; p < nodes[list[i]].n_ports; p++) {
      see_port(&seen, &nodes[list[i]].ports[p]);
      own += (double)nodes[list[i]].ports[p].bytes_per_s;
    }
    most = MAX_OF(most, own);
  }
  for (uint32_t k = 0; k < seen.n; k++) {
    if (seen.list[k]->bytes_per_s == 0) return unknown;
    all.bytes_per_s += (double)seen.list[k]->bytes_per_s;
    all.by_pcie |= seen.list[k]->by_pcie;
  }
  all.bytes_per_s = MAX_OF(all.bytes_per_s, most);
  return seen.n > 0 ? all : unknown;
}

/* What is described counts, and what it leaves out the nodes say. Links of PCIe limit whoever has seen them: most descriptions are silent
 * about them. */
static struct fabric_topo_rate described_speed(struct fabric_topo_rate described, struct fabric_topo_rate said) {
  if (said.bytes_per_s == FABRIC_UNKNOWN) return described;
  if (described.bytes_per_s != FABRIC_UNKNOWN) return said.by_pcie && said.bytes_per_s < described.bytes_per_s ? said : described;
  double most = described.pcie_bytes_per_s;
  return most > 0 && most < said.bytes_per_s ? (struct fabric_topo_rate){.bytes_per_s = most, .by_pcie = 1} : said;
}

static int add_switch(struct planning *p, const struct topo *t, uint32_t at, uint32_t *link, agg_error_t *err) {
  const struct topo_switch *s = &t->switches[at];
  uint32_t parent = FABRIC_CORE;
  if (s->parent == TOPO_NONE) {
    *link = FABRIC_CORE;
    return AGG_OK;
  }
  if (p->switch_link[at] == 0) {
    int rc = add_switch(p, t, s->parent, &parent, err); /* topo_check has proved that there is no cycle */
    double speed = s->up == 0 || s->down == 0 ? FABRIC_UNKNOWN : (double)MIN_OF(s->up, s->down);
    if (rc == AGG_OK) rc = fabric_add_link(&p->fabric, FABRIC_LINK_SWITCH, parent, s->name, speed, &p->switch_link[at], err);
    if (rc != AGG_OK) return rc;
  }
  *link = p->switch_link[at];
  return AGG_OK;
}

static int add_host(struct planning *p, const uint32_t *list, uint32_t n, agg_error_t *err) {
  const struct topo *t = p->g->c->topo;
  const struct control_node *nodes = p->g->setup.nodes;
  const char *name = nodes[list[0]].host;
  struct fabric_topo_rate speed = host_speed(nodes, list, n);
  uint32_t parent = FABRIC_CORE, link;
  int rc = AGG_OK;
  if (t != NULL) {
    char node[CONTROL_NODE_NAME_MAX];
    uint32_t at = topo_find_host_brief(t, name);
    if (at == TOPO_NONE)
      return err_set(err, AGG_EINVAL, "%s: it describes no host %s, where %s is: add it, or plan without the description (AGG_TOPO)",
                     p->g->c->topo_name, name, group_name(p->g, list[0], node, sizeof node));
    speed = described_speed(fabric_topo_speed(topo_machine_of(t, at)), speed);
    if (t->hosts[at].on != TOPO_NONE) rc = add_switch(p, t, t->hosts[at].on, &parent, err);
  }
  if (rc == AGG_OK) rc = fabric_add_link(&p->fabric, FABRIC_LINK_HOST, parent, name, speed.bytes_per_s, &link, err);
  if (rc != AGG_OK) return rc;
  struct fabric_link *l = &p->fabric.link[link];
  l->by_pcie = speed.by_pcie;
  l->pcie_bytes_per_s = speed.pcie_bytes_per_s;
  l->memory_bytes_per_s = FABRIC_UNKNOWN;
  for (uint32_t i = 0; i < n; i++) {
    p->host_link[list[i]] = link;
    l->cores = MAX_OF(l->cores, nodes[list[i]].cores);
    if (nodes[list[i]].copy_bytes_per_s != 0)
      l->memory_bytes_per_s = MAX_OF(l->memory_bytes_per_s, (double)nodes[list[i]].copy_bytes_per_s);
  }
  return AGG_OK;
}

static int add_hosts(struct planning *p, agg_error_t *err) {
  struct control_node *nodes = p->g->setup.nodes;
  for (uint32_t i = 0; i < p->nodes; i++) p->by_host[i] = i;
  qsort_r(p->by_host, p->nodes, sizeof *p->by_host, compare_nodes, nodes);
  for (uint32_t first = 0, next; first < p->nodes; first = next) {
    next = first + 1;
    while (next < p->nodes && same_host(&nodes[p->by_host[first]], &nodes[p->by_host[next]])) next++;
    int rc = add_host(p, p->by_host + first, next - first, err);
    if (rc != AGG_OK) return rc;
  }
  return AGG_OK;
}

static int add_nodes(struct planning *p, agg_error_t *err) {
  p->fabric.transport = FABRIC_VERBS;
  p->fabric.memory = p->g->private_memory ? FABRIC_PRIVATE : FABRIC_REGISTERED;
  for (uint32_t i = 0; i < p->nodes; i++) {
    const struct control_node *n = &p->g->setup.nodes[i];
    int rc = fabric_add_node(&p->fabric, i >= p->g->size, p->host_link[i], err);
    if (rc != AGG_OK) return rc;
    struct fabric_node *node = &p->fabric.node[i];
    if (n->sum_bytes_per_s != 0) node->sum_bytes_per_s = (double)n->sum_bytes_per_s * n->reactors;
    node->memory_bytes = n->memory_limit;
    node->threads = n->reactors;
    p->fabric.rails = MAX_OF(p->fabric.rails, n->rails);
    if (!has_transport(n, "verbs")) p->fabric.transport = FABRIC_TCP;
  }
  return AGG_OK;
}

/* ---- the plan -------------------------------------------------------------------------------------------------------------------------
 */

static int make_fabric(struct planning *p, agg_error_t *err) {
  uint32_t switches = p->g->c->topo != NULL ? p->g->c->topo->n_switches : 0;
  p->by_host = calloc(p->nodes, sizeof *p->by_host);
  p->host_link = calloc(p->nodes, sizeof *p->host_link);
  p->switch_link = calloc(switches + 1u, sizeof *p->switch_link);
  if (p->by_host == NULL || p->host_link == NULL || p->switch_link == NULL)
    return err_set(err, AGG_ENOMEM, "the coordinator is out of memory for planning %u nodes", p->nodes);
  int rc = fabric_init(&p->fabric, err);
  if (rc == AGG_OK) rc = add_hosts(p, err);
  return rc == AGG_OK ? add_nodes(p, err) : rc;
}

/* Why it is so, for one size. Explaining is for people: a failure of it is none of the group's. */
static void say_why(const struct group *g, const struct plan_request *r) {
  struct explain e = {0};
  if (g->c->log == NULL || g->c->log->level < AGG_LOG_INFO) return;
  if (explain_make(r, &g->setup.plan, OP_ALLREDUCE, 16u << 20, &e, NULL) != AGG_OK) return;
  LOG_INFO(g->c->log, "control: comm %u: plan for an allreduce of 16 MiB in %s memory: %s%s%s", g->setup.comm, fabric_memory_name(e.memory),
           e.reason, e.assumed[0] ? "; " : "", e.assumed);
  explain_fini(&e);
}

/* Seconds a byte that no plan can go below: each host with workers sends and receives it once at the least. Among workers alone, whose
 * trees span n hosts, 2 (n - 1) times together; with servers, these share in it. 0 where a speed is not known, or one host has all
 * workers. */
static double bound(const struct planning *p, double efficiency) {
  const struct fabric *f = &p->fabric;
  double slowest = INFINITY, sum = 0, n = 0;
  for (uint32_t i = 0; i < p->nodes; i++) {
    uint32_t node = p->by_host[i], host = p->host_link[node];
    /* the first of a host is a worker where it has one */
    if (node >= f->workers || (i > 0 && p->host_link[p->by_host[i - 1]] == host)) continue;
    double speed = f->link[host].bytes_per_s;
    if (speed <= 0) return 0;
    slowest = MIN_OF(slowest, speed);
    sum += speed;
    n++;
  }
  if (n < 2) return 0;
  double once = 1 / (slowest * efficiency);
  return f->servers != 0 ? once : MAX_OF(once, 2 * (n - 1) / (sum * efficiency));
}

/* What each forest is predicted to take, so that the ranks can hold their times against it; only an automatic plan changes by them. */
static int predict(struct group *g, const struct planning *p, agg_error_t *err) {
  struct plan *plan = &g->setup.plan;
  struct fabric known;
  int rc = fabric_copy(&known, &p->fabric, err), automatic = g->plan[0] == '\0' || strcmp(g->plan, "auto") == 0;
  if (rc != AGG_OK) return rc;
  fabric_assume(&known, &g->c->cost);
  fabric_limit_threads(&known, plan->lanes);
  for (uint32_t f = 0; rc == AGG_OK && f < plan->n_forests; f++) {
    struct cost_setting setting = {.lanes = plan->lanes, .window = plan_window(plan, f), .chunk_bytes = plan->chunk_bytes};
    struct cost_profile profile;
    rc = cost_profile(&g->c->cost, &known, &plan->forest[f], OP_ALLREDUCE, &profile, err);
    for (uint32_t s = 0; rc == AGG_OK && s < PLAN_SIZES; s++)
      plan->predicted[s][f] = (float)cost_predict(&profile, &setting, plan_size_bytes(s)).seconds;
  }
  plan->tunable = rc == AGG_OK && g->tune && plan->n_forests > 1 && automatic;
  plan->bound = bound(p, cost_efficiency(&g->c->cost, &known));
  fabric_fini(&known);
  return rc;
}

int planning_make(struct group *g, agg_error_t *err) {
  struct planning p = {.g = g, .nodes = g->setup.n_nodes};
  int rc = make_fabric(&p, err);
  struct plan_request r = {.plan = g->plan,
                           .fabric = &p.fabric,
                           .cost = &g->c->cost,
                           .lanes = g->lanes,
                           .window = g->window,
                           .chunk_bytes = g->chunk_bytes,
                           .strict = g->strict};
  if (rc == AGG_OK) rc = plan_make(&r, &g->setup.plan, err);
  if (rc == AGG_OK) rc = predict(g, &p, err);
  if (rc == AGG_OK) say_why(g, &r);
  fabric_fini(&p.fabric);
  free(p.by_host);
  free(p.host_link);
  free(p.switch_link);
  return rc;
}
