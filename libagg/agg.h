/*
 * libagg: gradient aggregation for distributed training.
 *
 * A process opens one instance (agg_open), makes communicators on it, and posts collective operations that
 * run asynchronously. All ranks of a communicator post the same operations in the same order.
 *
 * Conventions
 *   - Functions return AGG_OK (0) or a negative AGG_E* code. Outputs are written only on success.
 *   - The text of the last failure is kept in the handle (agg_error_text, agg_comm_error_text); functions that
 *     have no handle yet take an optional agg_error_t.
 *   - Threads: unless a function says otherwise it may be called from any thread at any time. Operations on one
 *     communicator are ordered by the order of the calls; callers that post from several threads must order
 *     those calls themselves, the same way on every rank.
 *   - After fork() the child must not use handles of its parent: every call on them returns AGG_EFORKED.
 *   - Memory given to an operation belongs to the library until the operation has completed.
 */
#ifndef AGG_H
#define AGG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AGG_VERSION_MAJOR 0
#define AGG_VERSION_MINOR 1
#define AGG_VERSION_PATCH 0
#define AGG_VERSION (AGG_VERSION_MAJOR * 10000 + AGG_VERSION_MINOR * 100 + AGG_VERSION_PATCH)

#if defined(__GNUC__)
#define AGG_API __attribute__((visibility("default")))
#else
#define AGG_API
#endif

/* ---- status codes ------------------------------------------------------------------------------------------ */

#define AGG_STATUS_MAP(X)                                                            \
  X(AGG_OK, 0, "success")                                                            \
  X(AGG_EINVAL, -1, "invalid argument")                                              \
  X(AGG_ENOMEM, -2, "out of memory")                                                 \
  X(AGG_ESYS, -3, "a system call failed")                                            \
  X(AGG_EPROTO, -4, "a peer sent something that the protocol does not allow")        \
  X(AGG_EMISMATCH, -5, "the ranks disagree about an operation")                      \
  X(AGG_ETIMEDOUT, -6, "the deadline passed")                                        \
  X(AGG_EPEER, -7, "a peer was lost")                                                \
  X(AGG_EAUTH, -8, "not authorised: the tokens differ")                              \
  X(AGG_EVERSION, -9, "the peers speak different protocol versions")                 \
  X(AGG_ELIMIT, -10, "a limit was reached")                                          \
  X(AGG_ENOTSUP, -11, "not supported here")                                          \
  X(AGG_EINPROGRESS, -12, "not finished yet")                                        \
  X(AGG_EFORKED, -13, "the handle was made before fork() and belongs to the parent") \
  X(AGG_ECLOSED, -14, "the handle is closed or closing")

typedef enum agg_status {
#define AGG_STATUS_ENUM_(name, value, text) name = value,
  AGG_STATUS_MAP(AGG_STATUS_ENUM_)
#undef AGG_STATUS_ENUM_
} agg_status_t;

#define AGG_ERROR_TEXT_MAX 512

/* A code and its text, for functions that fail before there is a handle. */
typedef struct agg_error {
  int code;
  char text[AGG_ERROR_TEXT_MAX];
} agg_error_t;

/* The fixed text of a status code ("unknown status" for others). Never NULL. */
AGG_API const char *agg_status_text(int status);

/* AGG_VERSION of the library that runs, which may be newer than the header that was compiled against. */
AGG_API uint32_t agg_version(void);

/* ---- types, sums, priorities --------------------------------------------------------------------------------- */

typedef enum agg_dtype {
  AGG_F16 = 0, /* IEEE binary16; summed in float32, rounded once a hop */
  AGG_BF16,    /* bfloat16; likewise */
  AGG_F32,
  AGG_F64,
  AGG_I8,
  AGG_U8,
  AGG_I32,
  AGG_U32,
  AGG_I64,
  AGG_U64,
  AGG_DTYPE_COUNT
} agg_dtype_t;

/* Integer sums and products wrap. AGG_AVG divides the sum by the number of ranks (integers: towards zero).
 * AGG_MIN and AGG_MAX give NaN where any input is NaN. */
typedef enum agg_redop { AGG_SUM = 0, AGG_AVG, AGG_PROD, AGG_MIN, AGG_MAX, AGG_REDOP_COUNT } agg_redop_t;

/* Operations of one priority are ordered among themselves and have buffers of their own: a long normal
 * operation does not delay a high one. All ranks must give an operation the same priority. */
typedef enum agg_priority { AGG_PRIORITY_NORMAL = 0, AGG_PRIORITY_HIGH = 1, AGG_PRIORITY_COUNT } agg_priority_t;

/* Bytes of one element; 0 for an unknown type. */
AGG_API size_t agg_dtype_size(agg_dtype_t dtype);
AGG_API const char *agg_dtype_name(agg_dtype_t dtype); /* "f32"; "?" for an unknown type */
AGG_API const char *agg_redop_name(agg_redop_t op);    /* "sum"; "?" for an unknown one */

/* ---- configuration ---------------------------------------------------------------------------------------------- */

typedef enum agg_log_level { AGG_LOG_OFF = 0, AGG_LOG_ERROR, AGG_LOG_WARN, AGG_LOG_INFO, AGG_LOG_DEBUG } agg_log_level_t;

/* Called with one line without a newline, from any thread of the library; must not call the library. */
typedef void (*agg_log_fn)(void *user, agg_log_level_t level, const char *line);

#define AGG_NAME_MAX 128

/* Everything that can be set, as one struct passed once. Fill it with agg_config_init, then with
 * agg_config_from_env or by hand. The variable in brackets sets the same from the environment. */
typedef struct agg_config {
  size_t size;      /* sizeof(agg_config_t), set by agg_config_init */
  uint32_t version; /* AGG_VERSION, set by agg_config_init */

  /* who takes part */
  uint32_t rank;          /* [AGG_RANK] 0 <= rank < world */
  uint32_t world;         /* [AGG_SIZE] number of workers */
  uint32_t local_rank;    /* [AGG_LOCAL_RANK] rank within this host */
  char job[AGG_NAME_MAX]; /* [AGG_JOB] name shared by all ranks of one run; default "default" */

  /* where they meet */
  char servers[1024];    /* [AGG_SERVERS] "host:port,..." of agg-servers; empty: workers aggregate among themselves */
  char coordinator[256]; /* [AGG_COORDINATOR] "host:port" where rank 0 listens when there are no servers */
  char token[256];       /* [AGG_TOKEN] the job's secret */
  char token_file[1024]; /* [AGG_TOKEN_FILE] file that holds it; refused when others can read it */
  char bind_host[256];   /* [AGG_BIND] address or name that this process's data sockets listen on; default: chosen by route */

  /* how they exchange data */
  char transport[64];    /* [AGG_TRANSPORT] auto | shm | verbs | tcp */
  char plan[256];        /* [AGG_PLAN] auto | star | direct | ring | tree | hybrid | hier, or by size: "0-32K:tree,32K-:hybrid" */
  char reproducible[16]; /* [AGG_REPRODUCIBLE] off | strict: sums in rank order only, the same bits for any number of servers */
  char topology[1024];   /* [AGG_TOPO] file that describes hosts and fabric, or Slurm's topology.conf (docs/topology.md) */
  char cost[512];        /* [AGG_COST] constants of the planner: "hop_tcp=20us,..." (docs/planning.md) */
  char tune[16];         /* [AGG_TUNE] auto | off: whether measured times may change the plan */
  char pin[256];         /* [AGG_PIN] off | auto | cores as in "2,4-6": where the reactors' threads run */
  char memory[16];       /* [AGG_MEMORY] registered | private: what operations will mostly be on, for the planner (docs/planning.md) */
  uint32_t chunk_bytes;  /* [AGG_CHUNK] largest payload of one message; 0: chosen */
  uint32_t window;       /* [AGG_WINDOW] chunks in flight on an edge, lane and priority; 0: chosen */
  uint32_t lanes;        /* [AGG_LANES] connections per edge and priority; 0: chosen */
  uint32_t reactors;     /* [AGG_REACTORS] threads that move data; 0: 1 */
  uint32_t spin_us;      /* [AGG_SPIN_US] how long an idle wait polls before it sleeps */
  uint64_t memory_limit; /* [AGG_MEMORY_LIMIT] bytes of communication buffers this process may hold; 0: 4 GiB */

  /* over RDMA devices, where there are some: -1 and 0 leave a value to the system or to the default */
  char devices[256];     /* [AGG_DEVICES] "mlx5_0:1,mlx5_1": devices, or ports of devices, to use; empty: all that have an address */
  int32_t gid_index;     /* [AGG_GID_INDEX] in the port's GID table, 0 to 255; -1: by the address that the route chooses */
  int32_t traffic_class; /* [AGG_TRAFFIC_CLASS] 0 to 255; -1 */
  int32_t service_level; /* [AGG_SERVICE_LEVEL] 0 to 15; -1 */
  uint32_t mtu;          /* [AGG_MTU] 256 | 512 | 1024 | 2048 | 4096 bytes at most; 0: the largest that both ports have */
  uint32_t ack_timeout;  /* [AGG_ACK_TIMEOUT] 4.096 us * 2^n without an answer, 1 to 31; 0: 16 (0.27 s) */
  uint32_t retry_count;  /* [AGG_RETRY_COUNT] how often it is sent again before the peer counts as lost, 1 to 7; 0: 6 */

  /* when they give up */
  double timeout_s;      /* [AGG_TIMEOUT] deadline of an operation in seconds from its posting; 60 */
  double join_timeout_s; /* [AGG_JOIN_TIMEOUT] for all ranks to have joined a communicator; 60 */

  /* what they say */
  agg_log_level_t log_level; /* [AGG_LOG] off | error | warn | info | debug; warn */
  agg_log_fn log_fn;         /* default: standard error */
  void *log_user;
} agg_config_t;

/* Writes the defaults. */
AGG_API void agg_config_init(agg_config_t *config);

/* Reads the environment over what stands in *config. Rank, size and job are taken from the first of: AGG_*;
 * torchrun (RANK and LOCAL_RANK; TORCHELASTIC_RUN_ID and _RESTART_COUNT become part of the job's name,
 * MASTER_ADDR the coordinator's host); OMPI_COMM_WORLD_*; PMI_*; SLURM_* (only with SLURM_STEP_ID).
 * AGG_EINVAL names the variable whose value cannot be used. err may be NULL. Not safe against setenv in another thread. */
AGG_API int agg_config_from_env(agg_config_t *config, agg_error_t *err);

/* ---- instance --------------------------------------------------------------------------------------------------- */

typedef struct agg agg_t;

/* Starts the threads of this process. config is copied; NULL means defaults plus environment. err may be NULL.
 * Errors: AGG_EINVAL (names the field), AGG_ENOMEM, AGG_ESYS. The handle is closed with agg_close. */
AGG_API int agg_open(const agg_config_t *config, agg_t **agg, agg_error_t *err);

/* Destroys what is left on the instance (communicators fail their unfinished operations with AGG_ECLOSED), stops
 * the threads, frees everything. Takes NULL. No other call on the instance may run or follow, nor a wait for one of its
 * requests. */
AGG_API void agg_close(agg_t *agg);

/* Text of the last failed call on this instance made by the calling thread or another; valid until the next failure. */
AGG_API const char *agg_error_text(const agg_t *agg);

/* ---- communicators ----------------------------------------------------------------------------------------------- */

typedef struct agg_comm agg_comm_t;

#define AGG_TICKET_BYTES 128

/* Names a group that is still to be made. Made by one process, given to the others by any means; plain bytes. */
typedef struct agg_ticket {
  unsigned char bytes[AGG_TICKET_BYTES];
} agg_ticket_t;

/* Makes a ticket. With servers configured, the first of them coordinates the group; otherwise this process does,
 * and must live as long as the group. Cheap: a ticket that nobody uses costs nothing but its bytes. */
AGG_API int agg_ticket_create(agg_t *agg, agg_ticket_t *ticket);

/* Joins the group of the ticket as `rank` of `size`; returns when all have joined and are connected, or fails on all.
 * Errors: AGG_EINVAL, AGG_ETIMEDOUT (names the missing ranks), AGG_EPEER, AGG_EAUTH, AGG_EVERSION, AGG_ELIMIT. */
AGG_API int agg_comm_create(agg_t *agg, const agg_ticket_t *ticket, uint32_t rank, uint32_t size, agg_comm_t **comm);

/* The communicator of all workers, from the configuration's rank, world, job, servers and coordinator. */
AGG_API int agg_comm_create_world(agg_t *agg, agg_comm_t **comm);

/* Leaves the group. Operations that have not completed complete with AGG_ECLOSED first; requests stay valid until
 * they are waited for. Takes NULL. No other call on the communicator may run or follow. */
AGG_API void agg_comm_destroy(agg_comm_t *comm);

AGG_API uint32_t agg_comm_rank(const agg_comm_t *comm);
AGG_API uint32_t agg_comm_size(const agg_comm_t *comm);

/* AGG_OK while the communicator works; otherwise the error that ended it (every later operation returns it too). */
AGG_API int agg_comm_status(const agg_comm_t *comm);

/* Text of the error that ended the communicator, or of the last call on it that failed. */
AGG_API const char *agg_comm_error_text(const agg_comm_t *comm);

typedef struct agg_comm_info {
  size_t size; /* sizeof(agg_comm_info_t), set by the caller */
  uint32_t rank, ranks, servers;
  uint32_t lanes, window, chunk_bytes;
  char plan[256];        /* "star", or by size for allreduce: "tree to 32K, hybrid: star 60 %, direct 40 %" */
  char transport[32];    /* "shm", "verbs", "tcp", or "shm+verbs" where peers differ */
  char path[192];        /* how its first neighbour is reached: "rank 1 (node7, pid 12): verbs (mlx5_0:1 ...)" */
  uint64_t buffer_bytes; /* memory that this communicator holds for windows */
  uint64_t operations;   /* completed */
  uint64_t chunks;       /* chunks that this process has finished */
  uint64_t late_allocs;  /* times the pool of requests grew after the first operation: 0 once as many were outstanding before */
} agg_comm_info_t;

AGG_API int agg_comm_get_info(const agg_comm_t *comm, agg_comm_info_t *info);

/* What the planner thought of an allreduce of so many bytes when the communicator was made. */
typedef struct agg_prediction {
  size_t size;      /* sizeof(agg_prediction_t), set by the caller */
  double seconds;   /* predicted; 0: unknown */
  double bound_s;   /* that no plan can go below, by the speed of the workers' NICs; 0: unknown */
  char forest[128]; /* that such an operation takes now: "hybrid: star 60 %, direct 40 %" */
} agg_prediction_t;

/* Any thread. AGG_EINVAL: NULL, or another size of the struct. */
AGG_API int agg_comm_predict(agg_comm_t *comm, size_t bytes, agg_prediction_t *prediction);

/* ---- memory ------------------------------------------------------------------------------------------------------- */

/* Host memory that peers on the same host read and write in place and that NICs reach without registration at each
 * operation. Aligned to 64 bytes at least, zeroed. Freed with agg_mem_free after every operation on it has completed. */
AGG_API int agg_mem_alloc(agg_t *agg, size_t bytes, void **ptr);
AGG_API void agg_mem_free(agg_t *agg, void *ptr); /* takes NULL */

/* Announces memory of the caller's, so that operations on it need no set-up each time. The memory must stay mapped until it
 * is deregistered. Registered ranges may not overlap (AGG_EINVAL). */
AGG_API int agg_mem_register(agg_t *agg, void *ptr, size_t bytes);
AGG_API int agg_mem_deregister(agg_t *agg, void *ptr);

/* ---- operations --------------------------------------------------------------------------------------------------- */

typedef struct agg_request agg_request_t;

/* Called once when the operation has completed, on a thread that never moves data: it may block and may post. */
typedef void (*agg_callback_fn)(void *user, int status);

/* Optional settings of one operation; NULL for all defaults. */
typedef struct agg_op_options {
  size_t size; /* sizeof(agg_op_options_t) */
  agg_priority_t priority;
  double timeout_s;         /* 0: the communicator's */
  agg_callback_fn callback; /* NULL: none */
  void *user;
} agg_op_options_t;

/*
 * Every operation below returns at once. On AGG_OK, *request is to be given to agg_wait or agg_test; request may be NULL when
 * a callback is set. counts are in elements, n is the communicator's size. Zero counts are allowed everywhere.
 * send == recv means in place (per-rank forms: the place of this rank's block in the larger buffer); other overlap is AGG_EINVAL.
 * Errors at once: AGG_EINVAL (the text names the argument), AGG_ELIMIT (too many outstanding), or the error that ended the
 * communicator. Errors from wait: AGG_EMISMATCH, AGG_ETIMEDOUT, AGG_EPEER, AGG_EPROTO, AGG_ECLOSED; each ends the communicator.
 */

/* recv[i] = op over ranks of send[i]; send and recv hold count elements. */
AGG_API int agg_allreduce(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, agg_redop_t op,
                          const agg_op_options_t *options, agg_request_t **request);

/* The same, with the result at root only; recv is ignored (may be NULL) elsewhere. */
AGG_API int agg_reduce(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, agg_redop_t op, uint32_t root,
                       const agg_op_options_t *options, agg_request_t **request);

/* recv = root's send on all ranks; send is ignored (may be NULL) elsewhere. */
AGG_API int agg_broadcast(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, uint32_t root,
                          const agg_op_options_t *options, agg_request_t **request);

/* send holds n blocks of count; recv = op over ranks of block `rank`. In place: recv == send + rank * count. */
AGG_API int agg_reduce_scatter(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, agg_redop_t op,
                               const agg_op_options_t *options, agg_request_t **request);

/* send holds count; recv holds n blocks of count in rank order. In place: send == recv + rank * count. */
AGG_API int agg_allgather(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, const agg_op_options_t *options,
                          agg_request_t **request);

/* As allgather, with the result at root only; recv is ignored (may be NULL) elsewhere. */
AGG_API int agg_gather(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, uint32_t root,
                       const agg_op_options_t *options, agg_request_t **request);

/* root's send holds n blocks of count; recv = block `rank`; send is ignored elsewhere. In place at root: recv == send + rank * count. */
AGG_API int agg_scatter(agg_comm_t *comm, const void *send, void *recv, size_t count, agg_dtype_t dtype, uint32_t root,
                        const agg_op_options_t *options, agg_request_t **request);

/* Completes when all ranks have called it. */
AGG_API int agg_barrier(agg_comm_t *comm, const agg_op_options_t *options, agg_request_t **request);

/* Waits until the operation has completed and returns its status; the request is then freed and *request set to NULL.
 * timeout_s < 0 waits for the operation's own deadline. AGG_EINPROGRESS when timeout_s passed first: the request stays. */
AGG_API int agg_wait(agg_request_t **request, double timeout_s);

/* As agg_wait with no waiting, but makes progress: AGG_EINPROGRESS while it runs. */
AGG_API int agg_test(agg_request_t **request);

#ifdef __cplusplus
}
#endif

#endif
