/* Messages of the control plane between their encoded form and our structs. Every count, index, code and text from outside is checked
 * here and nowhere else; what message_unpack returned can be used as it is. */
#ifndef CONTROL_MESSAGE_H
#define CONTROL_MESSAGE_H

#include "channel.h"
#include "control.pb-c.h"

#define MESSAGE_ADDRESSES_MAX (4 * CONTROL_REACTORS_MAX)
#define MESSAGE_LANES_MAX 64u
#define MESSAGE_WINDOW_MAX 4096u
#define MESSAGE_CHUNK_MAX (16u << 20)
#define MESSAGE_SECONDS_MAX 1e9

/* Encodes; NULL: no memory (channel_send takes it and closes the channel). */
struct frame *message_pack(const Ctl__Frame *f);
/* Decodes and checks everything that can be checked without knowing the group. AGG_EPROTO names the field. Freed with message_free. */
int message_unpack(const unsigned char *bytes, size_t n, Ctl__Frame **f, agg_error_t *err);
void message_free(Ctl__Frame *f); /* takes NULL */

/* One-liners for the messages that hold little. */
void message_send(struct channel *ch, const Ctl__Frame *f);
void message_send_empty(struct channel *ch, Ctl__Frame__BodyCase body); /* RECRUITED, READY, GO, LEAVE, END */
void message_send_refused(struct channel *ch, int code, const char *text);
void message_send_fault(struct channel *ch, int code, uint32_t culprit, const char *text);
void message_send_state(struct channel *ch, const Ctl__Query *query, const struct control_state *state);

/* Nodes: the pb side borrows from the control side while it is packed; the control side owns copies. */
struct message_nodes;
struct message_nodes *message_nodes_make(const struct control_node *nodes, uint32_t n); /* NULL: no memory */
Ctl__Node **message_nodes_list(struct message_nodes *m);
void message_nodes_free(struct message_nodes *m);                                /* takes NULL */
int control_node_copy(struct control_node *to, const struct control_node *from); /* AGG_ENOMEM */
int message_node_take(const Ctl__Node *from, struct control_node *to);           /* AGG_ENOMEM */

/* Plans (message_plan.c). The pb side borrows from the plan while it is packed. */
struct message_plan;
struct message_plan *message_plan_make(const struct plan *plan); /* NULL: no memory */
Ctl__Plan *message_plan_body(struct message_plan *m);
void message_plan_free(struct message_plan *m); /* takes NULL */
/* Everything that can be said without building it. */
int message_plan_check(const Ctl__Plan *from, uint32_t workers, uint32_t servers, agg_error_t *err);
/* Of one that passed the check: builds it, which proves its map and schedules. plan_fini is the caller's. AGG_EPROTO, AGG_ENOMEM. */
int message_plan_take(const Ctl__Plan *from, struct plan *to, agg_error_t *err);

/* The whole of SETUP. coordinator: host and pid of its process. */
struct frame *message_setup_pack(const struct control_setup *s, uint32_t workers, const char *host, uint32_t pid);
int message_setup_take(const Ctl__Setup *from, struct control_setup *to, agg_error_t *err); /* AGG_EPROTO, AGG_ENOMEM */

/* Replaces control characters, so that a text from outside cannot forge log lines. */
void text_clean(char *text);

#endif
