/*
 * The cluster that is planned on: hosts, what is in them and who runs there, from what the command line names. What it does not say is not
 * made up silently: each assumption is a note of the description.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/util.h"
#include "scripts/agg-topo/agg_topo.h"
#include "topology/discover.h"
#include "topology/fabric_topo.h"
#include "topology/slurm.h"

#define SERVER_REACTORS_MAX 64u /* of agg-server */

struct making {
  const struct args *args;
  struct topo from;   /* hosts, or only a machine, as they were found */
  struct topo fabric; /* of --fabric; empty otherwise */
  struct topo t;      /* what is made */
  int has_roles;      /* the hosts of `from` say who runs there */
  uint32_t *machine;  /* owned: machine of `from` -> that of t */
  uint32_t workers, servers;
};

/* ---- what is there ----------------------------------------------------------------------------------------------------------------------
 */

static int load(struct making *m, agg_error_t *err) {
  const struct args *a = m->args;
  int rc = AGG_OK;
  if (a->fabric != NULL) rc = topo_load_fabric(a->fabric, a->uplink, &m->fabric, err);
  if (rc != AGG_OK) return rc;
  if (a->cluster != NULL) {
    rc = topo_load(a->cluster, &m->from, err);
    if (rc == AGG_OK && a->fabric != NULL) rc = topo_place_on(&m->from, &m->fabric, a->fabric, err);
    m->has_roles = rc == AGG_OK && (topo_workers(&m->from) > 0 || topo_servers(&m->from) > 0);
    return rc;
  }
  if (a->xml != NULL) return discover_host(&(struct discover_options){.xml = a->xml, .root = a->root}, &m->from, err);
  topo_init(&m->from);
  return AGG_OK;
}

static int nics_known(const struct topo *t) {
  for (uint32_t i = 0; i < t->n_machines; i++) {
    if (t->machines[i].n_nics > 0) return 1;
  }
  return 0;
}

/* Where nothing says whether NICs do RDMA. An XML without NICs says that there is none. */
static int verbs_are_assumed(const struct making *m) { return m->args->transport < 0 && m->args->xml == NULL && !nics_known(&m->from); }

/* A machine with --nic as the speed of each NIC that carries and whose speed is unknown; one NIC where none is known. */
static int add_machine(struct making *m, const struct topo_machine *from, uint32_t *index, uint32_t *mended, agg_error_t *err) {
  struct topo_nic nics[TOPO_DEVICES_MAX], one = {.speed = m->args->nic, .rail = TOPO_NONE, .place = {.numa = TOPO_NONE}};
  struct topo_machine copy = *from;
  if (m->args->nic == 0) return topo_add_machine(&m->t, from, index, err);
  if (m->args->transport == FABRIC_VERBS || verbs_are_assumed(m)) {
    str_copy(one.rdma, sizeof one.rdma, "rdma0:1");
  } else {
    str_copy(one.netdev, sizeof one.netdev, "eth0");
  }
  if (from->n_nics == 0) {
    copy.nics = &one;
    copy.n_nics = 1;
    ++*mended;
  } else {
    memcpy(nics, from->nics, from->n_nics * sizeof *nics);
    copy.nics = nics;
    for (uint32_t i = 0; i < from->n_nics; i++) {
      if (nics[i].speed != 0 || !fabric_topo_carries(from, &from->nics[i])) continue;
      nics[i].speed = m->args->nic;
      ++*mended;
    }
  }
  return topo_add_machine(&m->t, &copy, index, err);
}

static int add_machines(struct making *m, agg_error_t *err) {
  static const struct topo_machine nothing;
  uint32_t mended = 0, n = m->from.n_machines;
  int rc = AGG_OK;
  m->machine = calloc(n + 1u, sizeof *m->machine);
  if (m->machine == NULL) return err_set(err, AGG_ENOMEM, "no memory for %u machines", n);
  for (uint32_t i = 0; rc == AGG_OK && i < n; i++) rc = add_machine(m, &m->from.machines[i], &m->machine[i], &mended, err);
  if (rc == AGG_OK && n == 0) rc = add_machine(m, &nothing, &m->machine[0], &mended, err);
  if (rc == AGG_OK && m->args->nic != 0 && mended == 0)
    return err_set(err, AGG_EINVAL, "--nic: the speeds of all NICs are known: leave it out, or change %s (agg-topo --dump)",
                   m->args->cluster != NULL ? m->args->cluster : "the description");
  return rc;
}

static int add_switches(struct making *m, agg_error_t *err) {
  const struct topo *from = m->args->cluster != NULL ? &m->from : &m->fabric;
  int rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < from->n_switches; i++) rc = topo_add_switch(&m->t, &from->switches[i], NULL, err);
  return rc;
}

/* ---- hosts of which it is known who runs there ------------------------------------------------------------------------------------------
 */

static int check_count(const struct making *m, const char *what, uint32_t asked, uint32_t there, agg_error_t *err) {
  if (asked <= there) return AGG_OK;
  return err_set(err, AGG_EINVAL, "--%s %u: the hosts of %s have %u together: give some of them more (%s=), or ask for fewer", what, asked,
                 m->args->cluster, there, what);
}

/* The first workers and servers, as many as are asked for. */
static int take_roles(struct making *m, agg_error_t *err) {
  const struct topo *from = &m->from;
  uint32_t have_w = topo_workers(from), have_s = topo_servers(from), w, s;
  w = m->workers = m->args->workers != GIVEN_NONE ? m->args->workers : have_w;
  s = m->servers = m->args->servers != GIVEN_NONE ? m->args->servers : have_s;
  if (m->args->per_host != 0)
    return err_set(err, AGG_EINVAL, "--per-host: the hosts of %s have workers of their own: leave it out", m->args->cluster);
  int rc = check_count(m, "workers", w, have_w, err);
  if (rc == AGG_OK) rc = check_count(m, "servers", s, have_s, err);
  for (uint32_t i = 0; rc == AGG_OK && i < from->n_hosts; i++) {
    struct topo_host h = from->hosts[i];
    h.machine = m->machine[h.machine];
    h.workers = MIN_OF(h.workers, w);
    h.servers = MIN_OF(h.servers, s);
    w -= h.workers;
    s -= h.servers;
    rc = topo_add_host(&m->t, &h, NULL, err);
  }
  if (m->workers < have_w) topo_note(&m->t, "only the first %u of the %u workers described take part", m->workers, have_w);
  if (m->servers < have_s) topo_note(&m->t, "only the first %u of the %u servers described take part", m->servers, have_s);
  return rc;
}

/* ---- hosts that are given roles here ----------------------------------------------------------------------------------------------------
 */

static uint32_t workers_a_host(const struct making *m, const struct topo_machine *machine) {
  return m->args->per_host != 0 ? m->args->per_host : MAX_OF(machine->n_gpus, 1u);
}

static int too_few_hosts(const struct making *m, const char *source, uint32_t n_hosts, agg_error_t *err) {
  return err_set(err, AGG_EINVAL,
                 "%s has %u hosts, too few for %u workers and %u servers on hosts of their own: ask for fewer, or more --per-host", source,
                 n_hosts, m->workers, m->servers);
}

/* The first hosts get the workers, the next ones a server each. */
static int give_roles(struct making *m, const struct topo *hosts, const char *source, agg_error_t *err) {
  uint32_t w = m->workers, s = m->servers;
  int rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < hosts->n_hosts && w + s > 0; i++) {
    struct topo_host h = hosts->hosts[i];
    h.machine = m->args->cluster != NULL ? m->machine[h.machine] : m->machine[0];
    h.workers = MIN_OF(w, workers_a_host(m, &m->t.machines[h.machine]));
    h.servers = w == 0;
    w -= h.workers;
    s -= h.servers;
    rc = topo_add_host(&m->t, &h, NULL, err);
  }
  if (rc == AGG_OK && w + s > 0) return too_few_hosts(m, source, hosts->n_hosts, err);
  topo_note(&m->t, "%s does not say who runs where: workers are put on its first hosts%s", source,
            m->servers > 0 ? ", servers on the next" : "");
  return rc;
}

/* Hosts that nobody has named. */
static int make_hosts(struct making *m, agg_error_t *err) {
  uint32_t each = workers_a_host(m, &m->t.machines[m->machine[0]]), n = (uint32_t)div_up_u64(m->workers, each);
  int rc = AGG_OK;
  for (uint32_t i = 0; rc == AGG_OK && i < n + m->servers; i++) {
    struct topo_host h = {.machine = m->machine[0], .on = TOPO_NONE};
    (void)snprintf(h.name, sizeof h.name, i < n ? "node%u" : "server%u", i < n ? i + 1 : i - n + 1);
    h.workers = i < n ? MIN_OF(each, m->workers - i * each) : 0;
    h.servers = i >= n;
    rc = topo_add_host(&m->t, &h, NULL, err);
  }
  return rc;
}

static int ask_roles(struct making *m, agg_error_t *err) {
  m->workers = m->args->workers;
  m->servers = m->args->servers != GIVEN_NONE ? m->args->servers : 0;
  if (m->workers == GIVEN_NONE)
    return err_set(err, AGG_EINVAL, "%s: no host has workers: add workers=N to hosts, or say --workers N", m->args->cluster);
  if ((uint64_t)m->workers + m->servers > FOREST_MAX_NODES)
    return err_set(err, AGG_EINVAL, "%u workers and %u servers are more than %u nodes", m->workers, m->servers, FOREST_MAX_NODES);
  if (m->args->cluster != NULL) return give_roles(m, &m->from, m->args->cluster, err);
  if (m->args->fabric != NULL) return give_roles(m, &m->fabric, m->args->fabric, err);
  return make_hosts(m, err);
}

/* ---- the fabric -------------------------------------------------------------------------------------------------------------------------
 */

static void take_notes(struct topo *t, const struct topo *from) {
  static const char one_host_only[] = "no switch is described"; /* said again of what is made, where it holds */
  for (uint32_t i = 0; i < from->n_notes; i++) {
    if (strncmp(from->notes[i], one_host_only, sizeof one_host_only - 1) != 0) topo_note(t, "%s", from->notes[i]);
  }
}

/* Servers have a reactor for each core of theirs, as agg-server starts them; workers have one. */
static void set_threads(struct making *m, struct fabric *f) {
  int known = 0;
  for (uint32_t i = f->workers; i < fabric_nodes(f); i++) {
    const char *name = f->link[f->node[i].host].name;
    uint32_t at = topo_find_host(&m->t, name), cores = f->link[f->node[i].host].cores;
    if (at == TOPO_NONE || cores == 0) continue;
    f->node[i].threads = MIN_OF(MAX_OF(cores / m->t.hosts[at].servers, 1u), SERVER_REACTORS_MAX);
    known = 1;
  }
  if (known) topo_note(&m->t, "servers are assumed to have a reactor for each core");
}

static int make_fabric(struct making *m, struct fabric *fabric, agg_error_t *err) {
  int rc = topo_assume_switch(&m->t, err);
  if (rc == AGG_OK) rc = topo_check(&m->t, err);
  if (rc == AGG_OK) rc = fabric_from_topo(fabric, &m->t, err);
  if (rc != AGG_OK) return rc;
  set_threads(m, fabric);
  fabric->memory = m->args->memory;
  if (m->args->transport >= 0) {
    fabric->transport = (uint8_t)m->args->transport;
  } else if (verbs_are_assumed(m)) {
    fabric->transport = FABRIC_VERBS;
    topo_note(&m->t, "nothing is known of the NICs: they are assumed to do RDMA (else --transport tcp)");
  } else if (fabric->transport == FABRIC_TCP) {
    topo_note(&m->t, "not every host has an RDMA port: over TCP (else --transport verbs)");
  }
  return AGG_OK;
}

int cluster_find(const struct args *args, struct cluster *c, agg_error_t *err) {
  struct making m = {.args = args};
  *c = (struct cluster){0};
  topo_init(&m.t);
  int rc = load(&m, err);
  if (rc == AGG_OK) rc = add_machines(&m, err);
  if (rc == AGG_OK) rc = add_switches(&m, err);
  if (rc == AGG_OK) rc = m.has_roles ? take_roles(&m, err) : ask_roles(&m, err);
  if (rc == AGG_OK) {
    take_notes(&m.t, &m.from);
    if (args->cluster == NULL) take_notes(&m.t, &m.fabric);
    rc = make_fabric(&m, &c->fabric, err);
  }
  free(m.machine);
  topo_fini(&m.from);
  topo_fini(&m.fabric);
  if (rc != AGG_OK) {
    topo_fini(&m.t);
    return rc;
  }
  c->topo = m.t;
  return AGG_OK;
}

void cluster_drop(struct cluster *c) {
  fabric_fini(&c->fabric);
  topo_fini(&c->topo);
}
