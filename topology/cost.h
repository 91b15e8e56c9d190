/*
 * The cost model: how long an operation takes on a forest over a fabric. Pure arithmetic.
 *
 *   time = latency of the levels + the largest load on any shared resource + what the first and the last chunk wait for at each level
 *
 * of the part of the forest that is done last; a ring goes in turns instead (cost_time.c).
 *
 * Resources: every link each way, the memory of every host, the cores of every host, and the work of every node (sums, copies, messages,
 * the bytes that TCP costs the processor). Loads are exact; they come in closed form, O(nodes + links), and from an evaluator that walks
 * every edge of every tree (cost_walk), which tests hold against it. docs/planning.md derives the formulas.
 */
#ifndef TOPOLOGY_COST_H
#define TOPOLOGY_COST_H

#include <stddef.h>
#include <stdint.h>

#include "agg.h"
#include "topology/fabric.h"
#include "topology/forest.h"
#include "wire/header.h"

/* Every constant: name, unit, default, what it is. Units: time in seconds ("20us"), rate in bytes/s ("10GB/s"), bytes ("1G"), number. */
#define COST_CONSTANTS(X)                                                                                  \
  X(hop_shm, TIME, 1e-6, "a put within a host until the peer has seen it")                                 \
  X(hop_verbs, TIME, 3e-6, "a put between hosts over verbs until the peer has seen it")                    \
  X(hop_tcp, TIME, 20e-6, "a put between hosts over TCP until the peer has seen it")                       \
  X(chunk, TIME, 0.4e-6, "what the engine and the planes add to each hop")                                 \
  X(message_shm, TIME, 0.15e-6, "processor time of a message at either end, shared memory")                \
  X(message_verbs, TIME, 0.3e-6, "processor time of a message at either end, verbs")                       \
  X(message_tcp, TIME, 4e-6, "processor time of a message at either end, TCP")                             \
  X(byte_tcp, RATE, 6e9, "bytes a core moves through TCP in a second at either end")                       \
  X(sum, RATE, 20e9, "input that a thread folds in a second")                                              \
  X(copy, RATE, 10e9, "bytes that a thread copies in a second (a put within a host)")                      \
  X(memory, RATE, 40e9, "bytes that copies and sums of a host may read in a second, where it is unknown")  \
  X(nic, RATE, 10e9, "speed of a host's NICs together, each way, where it is unknown")                     \
  X(mtu, NUMBER, 1500, "bytes of an IP packet over TCP, where it is unknown")                              \
  X(mtu_verbs, NUMBER, 4096, "payload bytes of a packet over verbs, where it is unknown")                  \
  X(header_tcp, NUMBER, 52, "IP and TCP headers in each packet")                                           \
  X(header_verbs, NUMBER, 60, "headers and checks of each packet over verbs")                              \
  X(frame, NUMBER, 38, "what a packet costs on an Ethernet line besides: header, check, gap and preamble") \
  X(incast, NUMBER, 0.04, "part by which a link slows where very many senders meet")                       \
  X(connections, NUMBER, 16384, "the most connections a node may hold: peers x lanes x priorities")        \
  X(window, BYTES, 4294967296.0, "the most memory a node may hold in windows, where no limit is given")    \
  X(margin, NUMBER, 0.03, "by how much another plan must be faster to be changed to at some size")

enum cost_unit { COST_TIME, COST_RATE, COST_BYTES, COST_NUMBER };

struct cost {
#define COST_FIELD(name, unit, value, what) double name;
  COST_CONSTANTS(COST_FIELD)
#undef COST_FIELD
};

void cost_init(struct cost *cost); /* the defaults */
/*
 * Overrides from a text: "hop_tcp=20us,sum=12GB/s,window=1G". Times need a unit (s, ms, us, ns); rates take K, M, G (of 1000) and an
 * optional "B/s"; bytes K, M, G (of 1024). AGG_EINVAL names the part, what was expected, and the nearest thing to do; *cost is then as
 * before. NULL and "" change nothing.
 */
int cost_parse(struct cost *cost, const char *text, agg_error_t *err);
/* The constants as cost_parse reads them, one a line with what they are, or in one line (compact). Returns the length it wanted, as
 * snprintf. */
size_t cost_print(const struct cost *cost, int compact, char *buf, size_t cap);

/* Share of a link's bytes that is payload. */
double cost_efficiency(const struct cost *cost, const struct fabric *f);

/* ---- loads ------------------------------------------------------------------------------------------------------------------------ */

/*
 * What an operation puts on each resource, for one byte in each block and one piece (chunk) of each block. One allocation.
 */
struct cost_loads {
  uint32_t n_links, n_nodes;
  double *up, *down;    /* [link] payload bytes */
  double *memory;       /* [link] bytes copied or folded in a host */
  double *sum;          /* [node] bytes folded */
  double *sent, *got;   /* [node] payload bytes over the network */
  double *copied;       /* [node] payload bytes that it puts within its host, or copies */
  double *messages;     /* [node] sent and received over the network */
  double *messages_shm; /* [node] sent and received within its host */
};
int cost_loads_init(struct cost_loads *l, const struct fabric *f, agg_error_t *err);
void cost_loads_fini(struct cost_loads *l); /* takes a zeroed one */

enum cost_resource {
  COST_HOPS = 0, /* nothing but latency */
  COST_FILL,     /* what the first chunks wait for, level by level */
  COST_TURNS,    /* what a ring's turns take beyond the load, and what is beside it waits for them */
  COST_LINK_UP,
  COST_LINK_DOWN,
  COST_MEMORY, /* of a host */
  COST_CORES,  /* of a host */
  COST_SUM,    /* a node's sums */
  COST_WORK,   /* a node's messages and copies */
  COST_WINDOW, /* an edge's window is smaller than depth x hop x bandwidth */
  COST_RESOURCES
};

/* A resource's time for an operation: `byte` seconds for each byte of a block and `piece` seconds for each chunk of a block. */
struct cost_line {
  double byte, piece;
  uint32_t at; /* link or node */
  uint8_t what;
};
#define COST_LINES_MAX 9

/* How long the busiest resource of each sort works, for each byte of a block and each of its chunks. */
struct cost_busy {
  double bytes; /* links and memory */
  struct cost_line node, cores;
};

/* What a part of a forest takes for its share of the chunks, were it alone. */
struct cost_part {
  uint8_t turns;           /* a ring: all chunks that are under way go up together, then all come down */
  uint32_t trees, depth;   /* trees that carry something; 0: the part is not used */
  double share;            /* of the chunks */
  double trip_share;       /* chunks of its busiest edge, of all chunks */
  double hops;             /* latency of all levels, up and down, seconds */
  double above_workers;    /* beside another part: how long the busiest link above a worker works, for each byte of a block */
  struct cost_busy busy;   /* the same */
  struct cost_busy way[2]; /* of all levels one after the other: down, up */
  struct cost_line first;  /* the levels one after the other, each with its busiest resource */
  struct cost_line one;    /* the same for one chunk alone in its first tree, for each of the chunk's bytes */
};

/* All that predictions of one forest and kind need, whatever the bytes, chunk, lanes and window. */
struct cost_profile {
  uint8_t kind;
  uint32_t blocks; /* 1, or one a rank */
  uint32_t places; /* trees that chunks go to side by side: a round is a chunk for each */
  uint32_t period; /* places of the schedule: chunks are cut so that a turn of it is whole */
  uint8_t spread;  /* chunks are dealt to trees, so that few chunks use few trees */
  uint32_t depth;
  double hops; /* latency of all levels, up and down, seconds: of the deepest part */
  uint32_t n_lines;
  struct cost_line line[COST_LINES_MAX]; /* the resources that can limit at some size */
  struct cost_line first;                /* the levels one after the other, each with its busiest resource: of the slowest part */
  struct cost_line one;                  /* the same for one chunk alone in the first tree, for each of its bytes */
  uint32_t n_parts;
  struct cost_part part[FOREST_PARTS_MAX];
  double crowd;            /* links in: factor for senders that meet */
  double nic_up, nic_down; /* the most payload bytes through any host's NICs, of one byte a block */
};

/* Closed forms. The fabric is checked and nothing in it is unknown. AGG_ENOMEM. Rooted kinds: a root that stands for most. */
int cost_profile(const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind, struct cost_profile *p,
                 agg_error_t *err);
/* The same from a walk over all edges of all trees: time and memory O(trees x nodes). */
int cost_walk(const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind, struct cost_profile *p,
              agg_error_t *err);
/* The loads behind them, into a zeroed or an initialised one. walk: by the walk. */
int cost_loads_of(const struct cost *cost, const struct fabric *f, const struct forest *forest, unsigned kind, int walk,
                  struct cost_loads *l, agg_error_t *err);

/* ---- time ------------------------------------------------------------------------------------------------------------------------- */

struct cost_setting {
  uint32_t lanes, window, chunk_bytes;
};

struct cost_time {
  double seconds;
  double hops, load, fill; /* its parts */
  uint8_t turns;           /* fill is that of a ring's turns */
  uint8_t what;            /* enum cost_resource: the largest of them */
  uint32_t at;             /* link or node */
};

/* Of an operation with so many bytes in a block. */
struct cost_time cost_predict(const struct cost_profile *p, const struct cost_setting *s, uint64_t bytes);
/* From 4 to 256: twice the window with which no edge would wait for it if trips took no longer than empty ones. */
uint32_t cost_window_wanted(const struct cost_profile *p, uint32_t lanes, uint32_t chunk_bytes);
/* "uplink of rack1", "NIC of node3, out", "PCIe of node3, in", "sum on server 1", "hops". Returns buf. */
const char *cost_bottleneck(const struct fabric *f, const struct cost_time *t, char *buf, size_t cap);

/* ---- what a forest needs of its nodes ---------------------------------------------------------------------------------------------- */

struct cost_needs {
  uint32_t *children; /* [node] distinct children over all trees; owned */
  uint32_t *peers;    /* [node] distinct neighbours, within the same allocation */
};
/*
 * O(nodes) for every shape. The forests of a plan are united: equal parts count once, and what different parts add up to is at most all
 * other workers, so it is exact for one forest and an upper bound for several. AGG_ENOMEM.
 */
int cost_needs(const struct forest *const *forests, uint32_t n, struct cost_needs *needs, agg_error_t *err);
void cost_needs_fini(struct cost_needs *needs);

#endif
