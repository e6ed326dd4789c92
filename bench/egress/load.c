/*
 * The two ends of every figure of bench/egress.ts, in C so that neither is what is measured.
 *
 *   load serve CERTIFICATE KEY PORT... tls PORT...   answers until it is killed
 *   load WHAT key=value...                           one JSON line with what it saw
 *
 * WHAT: connect (new connections, each with one exchange), request (HTTP on kept connections), bulk (download),
 * hold (opens and keeps connections until standard input ends, telling the first that is cut) or lookup (DNS).
 * Keys: to=IP:PORT, via=IP:PORT of a CONNECT proxy, lanes, ms, count, first=HEX of what a client says first,
 * tls=NAME to speak TLS for, refused=1 where a refused connection is the answer, name=SUFFIX of names to look up.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DIALLING, TUNNELLING, SHAKING, WAITING, HELD };
enum { SAMPLES_MAX = 4 << 20, TEXT_MAX = 4096, EVENTS_MAX = 256, CHUNK = 1 << 18, PATIENCE_US = 20000000 };

typedef struct {
  int fd, state, is_listener, is_tls, is_bulk, is_ready, text_length;
  long started;
  SSL *ssl;
  char text[TEXT_MAX];
} Lane;

static int poller;
static SSL_CTX *tls;
static char chunk[CHUNK];

static long now_us(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000L + at.tv_nsec / 1000;
}

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void watch(Lane *lane, int operation, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = lane};
  if (epoll_ctl(poller, operation, lane->fd, &event) < 0) die("epoll_ctl");
}

/* Bytes, 0 at the end, -1 when it would block, -2 when it failed. */
static long take(Lane *lane, void *into, int size) {
  if (lane->ssl == NULL) {
    long got = recv(lane->fd, into, size, 0);
    return got >= 0 ? got : errno == EAGAIN ? -1 : -2;
  }
  int got = SSL_read(lane->ssl, into, size);
  if (got > 0) return got;
  int why = SSL_get_error(lane->ssl, got);
  ERR_clear_error();
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : why == SSL_ERROR_ZERO_RETURN ? 0 : -2;
}

static long give(Lane *lane, const void *from, int size) {
  if (lane->ssl == NULL) {
    long sent = send(lane->fd, from, size, MSG_NOSIGNAL);
    return sent >= 0 ? sent : errno == EAGAIN ? -1 : -2;
  }
  int sent = SSL_write(lane->ssl, from, size);
  if (sent > 0) return sent;
  int why = SSL_get_error(lane->ssl, sent);
  ERR_clear_error();
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : -2;
}

static void drop(Lane *lane) {
  if (lane->ssl != NULL) {
    if (lane->state != SHAKING) SSL_shutdown(lane->ssl);
    ERR_clear_error();
    SSL_free(lane->ssl);
  }
  close(lane->fd);
  lane->ssl = NULL;
  lane->fd = -1;
}

/* ---- the upstream ---- */

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

/* Bulk until the other end goes to 'b', one answer to each request head, one byte to everything else. */
static int respond(Lane *lane) {
  char text[TEXT_MAX];
  for (;;) {
    long got = take(lane, text, sizeof text);
    if (got == -1) return 1;
    if (got <= 0) return 0;
    if (text[0] == 'b') {
      lane->is_bulk = 1;
      watch(lane, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    } else if (memmem(text, got, "HTTP/1.1\r\n", 10) != NULL || lane->text_length > 0) {
      /* A head may come in pieces; its end says that it is there. */
      lane->text_length = memcmp(text + got - 4, "\r\n\r\n", 4) == 0 ? 0 : 1;
      if (lane->text_length == 0 && give(lane, answer, sizeof answer - 1) < 0) return 0;
    } else if (give(lane, "P", 1) < 0) {
      return 0;
    }
  }
}

static int pour(Lane *lane) {
  for (;;) {
    long sent = give(lane, chunk, CHUNK);
    if (sent == -1) return 1;
    if (sent < 0) return 0;
  }
}

static void accept_all(Lane *listener) {
  for (;;) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Lane *lane = calloc(1, sizeof *lane);
    lane->fd = fd;
    if (listener->is_tls) {
      lane->ssl = SSL_new(tls);
      SSL_set_fd(lane->ssl, fd);
      SSL_set_accept_state(lane->ssl);
    }
    watch(lane, EPOLL_CTL_ADD, EPOLLIN);
  }
}

static void listen_at(int port, int is_tls) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  Lane *lane = calloc(1, sizeof *lane);
  int on = 1;
  lane->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  lane->is_listener = 1;
  lane->is_tls = is_tls;
  setsockopt(lane->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(lane->fd, (void *)&at, sizeof at) < 0 || listen(lane->fd, 4096) < 0) die("listen");
  watch(lane, EPOLL_CTL_ADD, EPOLLIN);
}

static void serve(int count, char **words) {
  tls = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(tls, 0);
  SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(tls, words[0]) != 1) die(words[0]);
  if (SSL_CTX_use_PrivateKey_file(tls, words[1], SSL_FILETYPE_PEM) != 1) die(words[1]);
  for (int index = 2, is_tls = 0; index < count; index++) {
    if (strcmp(words[index], "tls") == 0) is_tls = 1;
    else listen_at(atoi(words[index]), is_tls);
  }
  puts("ready");
  fflush(stdout);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    int seen = epoll_wait(poller, events, EVENTS_MAX, -1);
    for (int index = 0; index < seen; index++) {
      Lane *lane = events[index].data.ptr;
      if (lane->is_listener) {
        accept_all(lane);
        continue;
      }
      int stays = !(events[index].events & EPOLLIN) || respond(lane);
      if (stays && lane->is_bulk) stays = pour(lane);
      if (stays) continue;
      drop(lane);
      free(lane);
    }
  }
}

/* ---- the clients ---- */

static struct {
  const char *what, *to, *via, *tls, *name;
  int lanes, ms, count, refused, first_length;
  char first[TEXT_MAX];
} want = {.lanes = 1, .ms = 1000};

static struct {
  long count, failed, bytes, open, ready, dialled, deadline;
  unsigned *samples;
} seen;

static struct sockaddr_in endpoint(const char *text) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  char host[64];
  const char *colon = strchr(text, ':');
  snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
  inet_pton(AF_INET, host, &at.sin_addr);
  at.sin_port = htons(atoi(colon + 1));
  return at;
}

static int is(const char *what) { return strcmp(want.what, what) == 0; }

static void sample(Lane *lane) {
  if (seen.count < SAMPLES_MAX) seen.samples[seen.count] = now_us() - lane->started;
  seen.count++;
}

static void dial(Lane *lane) {
  /* One of many sources, so that ports that wait for their end are not what is measured. */
  struct sockaddr_in from = {.sin_family = AF_INET};
  struct sockaddr_in to = endpoint(want.via != NULL ? want.via : want.to);
  int on = 1;
  from.sin_addr.s_addr = htonl(0x7f000002 + seen.dialled++ % 250);
  lane->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (lane->fd < 0) die("socket");
  setsockopt(lane->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  setsockopt(lane->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bind(lane->fd, (void *)&from, sizeof from);
  lane->state = DIALLING;
  lane->text_length = 0;
  lane->started = now_us();
  if (connect(lane->fd, (void *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
    if (want.refused && errno == ECONNREFUSED) sample(lane);
    else seen.failed++;
    close(lane->fd);
    lane->fd = -1;
    return;
  }
  watch(lane, EPOLL_CTL_ADD, EPOLLOUT);
}

static void redial(Lane *lane) {
  /* A refusal comes at once, so the next attempt is this loop's and not its own caller's. */
  do dial(lane);
  while (lane->fd < 0 && now_us() < seen.deadline);
}

static void again(Lane *lane) {
  watch(lane, EPOLL_CTL_DEL, 0);
  drop(lane);
  redial(lane);
}

static void say_first(Lane *lane) {
  lane->state = WAITING;
  lane->text_length = 0;
  if (!lane->is_ready) seen.ready++;
  lane->is_ready = 1;
  if (is("request")) lane->started = now_us();
  give(lane, want.first, want.first_length);
}

static int shake(Lane *lane) {
  int done = SSL_do_handshake(lane->ssl);
  if (done == 1) {
    say_first(lane);
    return 1;
  }
  int why = SSL_get_error(lane->ssl, done);
  ERR_clear_error();
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static int begin(Lane *lane) {
  if (want.tls == NULL) {
    say_first(lane);
    return 1;
  }
  lane->state = SHAKING;
  lane->ssl = SSL_new(tls);
  SSL_set_fd(lane->ssl, lane->fd);
  SSL_set_tlsext_host_name(lane->ssl, want.tls);
  SSL_set_connect_state(lane->ssl);
  return shake(lane);
}

/* 1 once a whole response was read, 0 while it was not, -1 when there will be none. */
static int whole_response(Lane *lane) {
  long got = take(lane, lane->text + lane->text_length, TEXT_MAX - 1 - lane->text_length);
  if (got == -1) return 0;
  if (got <= 0) return -1;
  lane->text_length += got;
  lane->text[lane->text_length] = 0;
  char *end = strstr(lane->text, "\r\n\r\n");
  if (end == NULL) return 0;
  char *length = strcasestr(lane->text, "content-length:");
  return lane->text_length >= end + 4 - lane->text + (length == NULL ? 0 : atoi(length + 15));
}

static int tunnelled(Lane *lane) {
  int whole = whole_response(lane);
  if (whole <= 0) return whole == 0;
  return strncmp(lane->text + 8, " 200", 4) == 0 && begin(lane);
}

/* The first bytes of an answer, a whole answer or all there is, as `what` has it; false where that fails. */
static int waited(Lane *lane) {
  if (is("bulk")) {
    for (;;) {
      long got = take(lane, chunk, CHUNK);
      if (got == -1) return 1;
      if (got <= 0) return 0;
      seen.bytes += got;
    }
  }
  int whole = whole_response(lane);
  if (is("request")) {
    if (whole == 1) {
      sample(lane);
      say_first(lane);
    }
    return whole >= 0;
  }
  if (lane->text_length == 0) return whole == 0;
  sample(lane);
  lane->state = HELD;
  if (is("hold")) {
    seen.open++;
    return 1;
  }
  again(lane);
  return 1;
}

static int step(Lane *lane) {
  switch (lane->state) {
    case DIALLING: {
      int problem = 0;
      socklen_t size = sizeof problem;
      getsockopt(lane->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
      if (problem == ECONNREFUSED && want.refused) {
        sample(lane);
        again(lane);
        return 1;
      }
      if (problem != 0) return 0;
      watch(lane, EPOLL_CTL_MOD, EPOLLIN);
      if (want.via == NULL) return begin(lane);
      lane->state = TUNNELLING;
      char head[256];
      int length = snprintf(head, sizeof head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", want.to, want.to);
      return give(lane, head, length) == length;
    }
    case TUNNELLING: return tunnelled(lane);
    case SHAKING: return shake(lane);
    case WAITING: return waited(lane);
    default: {
      char byte;
      long got = take(lane, &byte, 1);
      if (got == -1 || got > 0) return 1;
      printf("{\"cut\":%ld}\n", now_us());
      fflush(stdout);
      return 0;
    }
  }
}

static void fail(Lane *lane) {
  int was_held = lane->state == HELD;
  watch(lane, EPOLL_CTL_DEL, 0);
  drop(lane);
  if (was_held) return;
  seen.failed++;
  if (!is("hold")) redial(lane);
}

/* Until the deadline, or until `ready` lanes have got through. */
static void run(int ready) {
  struct epoll_event events[EVENTS_MAX];
  while (now_us() < seen.deadline && seen.ready < ready) {
    int count = epoll_wait(poller, events, EVENTS_MAX, 10);
    for (int index = 0; index < count; index++)
      if (!step(events[index].data.ptr)) fail(events[index].data.ptr);
  }
}

static int by_size(const void *a, const void *b) {
  return *(const unsigned *)a < *(const unsigned *)b ? -1 : *(const unsigned *)a > *(const unsigned *)b;
}

static void report(double seconds) {
  long kept = seen.count < SAMPLES_MAX ? seen.count : SAMPLES_MAX;
  qsort(seen.samples, kept, sizeof *seen.samples, by_size);
  unsigned p50 = kept == 0 ? 0 : seen.samples[kept / 2], p99 = kept == 0 ? 0 : seen.samples[kept * 99 / 100];
  printf("{\"count\":%ld,\"failed\":%ld,\"bytes\":%ld,\"seconds\":%f,\"p50us\":%u,\"p99us\":%u}\n", seen.count,
         seen.failed, seen.bytes, seconds, p50, p99);
  fflush(stdout);
}

/* What kept connections carry is counted once all of them are there. */
static void drive(void) {
  Lane *lanes = calloc(want.lanes, sizeof *lanes);
  int is_kept = !is("connect");
  seen.deadline = now_us() + (is_kept ? PATIENCE_US : want.ms * 1000L);
  long started = now_us();
  for (int index = 0; index < want.lanes; index++) redial(&lanes[index]);
  if (is_kept) {
    run(want.lanes);
    started = now_us();
    seen.count = seen.failed = seen.bytes = 0;
    seen.deadline = started + want.ms * 1000L;
  }
  run(INT_MAX);
  report((now_us() - started) / 1e6);
}

/* A few at a time, so that no backlog overflows; then for as long as standard input is open. */
static void hold(void) {
  Lane *lanes = calloc(want.count, sizeof *lanes), input = {.fd = 0, .is_listener = 1};
  struct epoll_event events[EVENTS_MAX];
  long started = now_us();
  int dialled = 0, told = 0;
  fcntl(0, F_SETFL, O_NONBLOCK);
  watch(&input, EPOLL_CTL_ADD, EPOLLIN);
  for (;;) {
    while (dialled < want.count && dialled - seen.open - seen.failed < want.lanes) dial(&lanes[dialled++]);
    if (!told && seen.open + seen.failed >= want.count) {
      report((now_us() - started) / 1e6);
      told = 1;
    }
    int ready = epoll_wait(poller, events, EVENTS_MAX, 1000);
    for (int index = 0; index < ready; index++) {
      Lane *lane = events[index].data.ptr;
      if (lane->is_listener) return;
      if (!step(lane)) fail(lane);
    }
  }
}

static void lookup(void) {
  struct sockaddr_in to = endpoint(want.to);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct timeval patience = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (void *)&to, sizeof to) < 0) die("connect");
  long started = now_us();
  seen.deadline = started + want.ms * 1000L;
  while (now_us() < seen.deadline && (want.count == 0 || seen.count + seen.failed < want.count)) {
    unsigned char query[TEXT_MAX] = {seen.count >> 8, seen.count, 1, 0, 0, 1};
    char name[256];
    int length = 12;
    if (want.name[0] == '.') snprintf(name, sizeof name, "n%ld%s", seen.count, want.name);
    else snprintf(name, sizeof name, "%s", want.name);
    for (char *label = strtok(name, "."); label != NULL; label = strtok(NULL, ".")) {
      query[length++] = strlen(label);
      memcpy(query + length, label, strlen(label));
      length += strlen(label);
    }
    memcpy(query + length, "\0\0\1\0\1", 5);
    Lane lane = {.started = now_us()};
    if (send(fd, query, length + 5, 0) > 0 && recv(fd, chunk, CHUNK, 0) > 0) sample(&lane);
    else seen.failed++;
  }
  report((now_us() - started) / 1e6);
}

static void understand(const char *word) {
  const char *value = strchr(word, '=');
  if (value == NULL) die(word);
  value++;
#define KEY(key) (strncmp(word, key "=", sizeof key) == 0)
  if (KEY("to")) want.to = value;
  else if (KEY("via")) want.via = value;
  else if (KEY("tls")) want.tls = value;
  else if (KEY("name")) want.name = value;
  else if (KEY("lanes")) want.lanes = atoi(value);
  else if (KEY("ms")) want.ms = atoi(value);
  else if (KEY("count")) want.count = atoi(value);
  else if (KEY("refused")) want.refused = 1;
  else if (KEY("first"))
    for (; sscanf(value, "%2hhx", (unsigned char *)&want.first[want.first_length]) == 1; value += 2)
      want.first_length++;
  else die(word);
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  poller = epoll_create1(0);
  if (count < 3) return 2;
  if (strcmp(words[1], "serve") == 0) serve(count - 2, words + 2);
  want.what = words[1];
  for (int index = 2; index < count; index++) understand(words[index]);
  seen.samples = malloc(SAMPLES_MAX * sizeof *seen.samples);
  tls = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  if (is("lookup")) lookup();
  else if (is("hold")) hold();
  else drive();
  return 0;
}
