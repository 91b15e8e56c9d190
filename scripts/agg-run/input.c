/* Standard input on its way to rank 0. Reads ahead by one buffer at most and never blocks on rank 0. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "scripts/agg-run/job.h"

void input_start(struct job *job, int fd) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  job->input_fd = fd;
  job->input = malloc(STDIN_BUFFER);
  job->input_open = job->input != NULL;
  if (!job->input_open) input_stop(job);
}

void input_stop(struct job *job) {
  if (job->input_fd >= 0) close(job->input_fd);
  job->input_fd = -1;
  job->input_open = 0;
  free(job->input);
  job->input = NULL;
}

void input_read(struct job *job) {
  ssize_t got = read(STDIN_FILENO, job->input, STDIN_BUFFER);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got > 0) {
    job->input_off = 0;
    job->input_len = (size_t)got;
  } else {
    input_stop(job); /* the end, or a terminal that belongs to somebody else */
  }
}

void input_write(struct job *job) {
  ssize_t done = write(job->input_fd, job->input + job->input_off, job->input_len - job->input_off);
  if (done >= 0) {
    job->input_off += (size_t)done;
  } else if (errno != EAGAIN && errno != EINTR) {
    input_stop(job); /* rank 0 does not read */
  }
}
