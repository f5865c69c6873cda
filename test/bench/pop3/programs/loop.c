/*
 * The server's own speed: a window of commands and a count, in C. With TLS where it is compiled with -DWITH_TLS.
 *
 *     loop HOST PORT CA-PATH|- USER PASSWORD MESSAGES POLLS POLLS-AT-ONCE
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
static SSL_CTX *context;
#endif

enum { WINDOW = 1000, BUFFER = 1 << 16, LINE = 32 };

struct session {
  int fd;
  void *tls;
};

static char **arg;

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void put(struct session *s, const char *bytes, size_t length) {
#ifdef WITH_TLS
  if (s->tls) {
    if (SSL_write(s->tls, bytes, (int)length) != (int)length) fail("SSL_write");
    return;
  }
#endif
  if (write(s->fd, bytes, length) != (ssize_t)length) fail("write");
}

static size_t get(struct session *s, char *buffer, size_t length) {
#ifdef WITH_TLS
  ssize_t got = s->tls ? SSL_read(s->tls, buffer, (int)length) : read(s->fd, buffer, length);
#else
  ssize_t got = read(s->fd, buffer, length);
#endif
  if (got <= 0) fail("The connection ended.");
  return (size_t)got;
}

static void expect_ok(struct session *s) {
  char line[4096];
  size_t length = 0;
  do length += get(s, line + length, sizeof line - length);
  while (line[length - 1] != '\n');
  if (line[0] != '+') fail("-ERR");
}

static void command(struct session *s, const char *word, const char *argument) {
  char line[512];
  put(s, line, (size_t)snprintf(line, sizeof line, "%s%s\r\n", word, argument));
  expect_ok(s);
}

static struct session log_in(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arg[2]))};
  inet_pton(AF_INET, arg[1], &to.sin_addr);
  struct session s = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
  int on = 1;
  setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(s.fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
#ifdef WITH_TLS
  if (context) {
    s.tls = SSL_new(context);
    SSL_set_fd(s.tls, s.fd);
    if (SSL_connect(s.tls) != 1) fail("SSL_connect");
  }
#endif
  expect_ok(&s);
  command(&s, "USER ", arg[4]);
  command(&s, "PASS ", arg[5]);
  command(&s, "STAT", "");
  return s;
}

static void log_out(struct session *s) {
  command(s, "QUIT", "");
#ifdef WITH_TLS
  if (s->tls) SSL_free(s->tls);
#endif
  close(s->fd);
}

static void refill(struct session *s, long *sent, long done, long count) {
  static char lines[WINDOW * LINE];
  size_t length = 0;
  if (*sent - done > WINDOW / 2) return;
  while (*sent < count && *sent - done < WINDOW)
    length += (size_t)snprintf(lines + length, LINE, "RETR %ld\r\n", ++*sent);
  if (length > 0) put(s, lines, length);
}

static long long fetch(struct session *s, long count) {
  /* The four bytes before what is read are the last of what was read before. */
  static char space[4 + BUFFER];
  char *buffer = space + 4;
  long sent = 0, done = 0;
  long long octets = 0;
  int in_body = 0;
  memset(space, 0, 4);
  refill(s, &sent, done, count);
  while (done < count) {
    char *at = buffer, *end = buffer + get(s, buffer, BUFFER);
    /* Where the search for a terminator begins: not before the line end of the status line. */
    char *from = space;
    while (at < end) {
      if (!in_body) {
        char *lf = memchr(at, '\n', (size_t)(end - at));
        if (!lf) break;
        at = lf + 1;
        from = lf - 1;
        in_body = 1;
      }
      char *terminator = memmem(from, (size_t)(end - from), "\r\n.\r\n", 5);
      if (!terminator) {
        octets += end - at;
        break;
      }
      octets += terminator + 2 - at;
      at = from = terminator + 5;
      in_body = 0;
      done++;
    }
    memmove(space, end - 4, 4);
    refill(s, &sent, done, count);
  }
  return octets;
}

int main(int argc, char **argv) {
  if (argc != 9) fail("Eight arguments are wanted.");
  arg = argv;
  long messages = atol(argv[6]), polls = atol(argv[7]), at_once = atol(argv[8]);
  if (strcmp(argv[3], "-") != 0) {
#ifdef WITH_TLS
    context = SSL_CTX_new(TLS_client_method());
    if (SSL_CTX_load_verify_locations(context, argv[3], NULL) != 1) fail("The CA cannot be read.");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
#else
    fail("Compiled without TLS.");
#endif
  }
  if (polls == 0) {
    struct session s = log_in();
    long long octets = fetch(&s, messages);
    log_out(&s);
    printf("{\"messages\":%ld,\"octets\":%lld}", messages, octets);
    return 0;
  }
  for (long i = 0; i < at_once; i++) {
    if (fork() != 0) continue;
    for (long n = i; n < polls; n += at_once) {
      struct session s = log_in();
      log_out(&s);
    }
    _exit(0);
  }
  int status;
  while (wait(&status) > 0)
    if (status != 0) fail("A poll failed.");
  printf("{\"messages\":%ld,\"octets\":0}", polls);
  return 0;
}
