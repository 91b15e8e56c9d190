/* The control thread: one event loop a process, and how other threads hand it work. */
#ifndef CONTROL_LOOP_H
#define CONTROL_LOOP_H

#include "channel.h"
#include "coordinator.h"

/* Runs fn(arg) on the control thread, in the order of the calls. AGG_ENOMEM. From any thread. */
int control_post(struct control *c, void (*fn)(void *arg), void *arg);
/* The same, and waits until it has run. Not from the control thread. */
void control_call(struct control *c, void (*fn)(void *arg), void *arg);

/* For what runs on the control thread. */
struct channel_set *control_channels(struct control *c);
const struct tls *control_tls(const struct control *c);
const struct log *control_log(const struct control *c);
int control_has_token(const struct control *c);

#endif
