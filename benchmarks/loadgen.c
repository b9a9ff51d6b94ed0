/*
 * loadgen: a measured load for an MQTT broker that asks for client certificates.
 *
 *   connect   COUNT full handshakes with CONNECT and CONNACK, then DISCONNECT; nothing is resumed;
 *             with --retry whoever is refused comes back after a second or two until all were let in
 *   pub       PAIRS publishers, each with one subscriber of its own
 *   fanout    one publisher, SUBS subscribers
 *   idle      COUNT connections that stay open: resident memory of the server for each
 *
 * One thread, one epoll set; OpenSSL works on memory BIOs, so that everything a connection has to
 * say in one turn of the loop leaves in one send(). A message is one TLS record, as a device would
 * send it (--coalesce gathers them).
 *
 * Publishers are closed-loop. A message leaves the window of its publisher when the subscribers have
 * it and, at QoS 1, when its PUBACK has come. The payload begins with the number of the stream, the
 * number of the message and the time of sending; every subscriber checks every message, and what
 * never came, came twice or came late is counted.
 *
 * The figure to compare is work per CPU second of the server (utime + stime of /proc/PID/stat over
 * the measured time): it holds where the machine does other work and where this program is what is
 * full. Only loopback addresses are accepted, and every run is bounded in count and time.
 *
 * Exit status: 0 all well; 1 a connection failed, or a message was lost at QoS 1, or an answer was
 * wrong; 2 the command line or a file cannot be used.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 100000
#define MAX_STREAMS 1000
#define MAX_SECONDS 120.0
#define MAX_PAYLOAD 100000
#define HEADER_BYTES 16        /* stream u32, message u32, time of sending u64 */
#define KEEP_ALIVE_S 600       /* longer than any run: no PINGREQ is needed */
#define STALL_NS 1000000000ull /* QoS 0: what has not come by then is given up */
#define DRAIN_NS 3000000000ull /* at the end: no message for so long means that no more will come */
#define SEEN_BITS 4096         /* how far back a late message is told from a repeated one */

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90, DISCONNECT = 0xe0 };

enum mode { MODE_CONNECT, MODE_PUB, MODE_FANOUT, MODE_IDLE };
static const char *const mode_names[] = {"connect", "pub", "fanout", "idle"};

static struct {
    enum mode mode;
    const char *host, *ca, *cert_dir, *sni, *tls;
    int port, mqtt, qos, server_pid;
    long count, concurrency, pairs, window, payload, subs, first;
    double seconds, warmup, hold, limit;
    bool coalesce, retry;
} opt = {
    .host = "127.0.0.1", .tls = "1.3", .port = 8883, .mqtt = 4, .count = 1000, .concurrency = 20, .pairs = 20,
    .window = 20, .payload = 100, .subs = 100, .seconds = 3, .warmup = 0.5, .hold = 1, .limit = 60,
};

struct identity {
    char name[64]; /* the file's name, the certificate's CN and the client id */
    X509 *certificate;
    EVP_PKEY *key;
};

enum phase { CLOSED, TCP, TLS, WAIT_CONNACK, WAIT_SUBACK, READY };
enum part { BYSTANDER, SENDER, RECEIVER };

/* One publisher and whoever listens to it. */
struct stream {
    struct link *sender;
    uint32_t number, receivers;
    char topic[96];
    size_t topic_len;
    uint8_t *packet; /* the PUBLISH, complete but for the three numbers below */
    size_t packet_len, id_at, header_at;
    long window;
    uint32_t sent, acked, forgiven; /* forgiven: given up at QoS 0, so that the window opens again */
    uint64_t delivered;             /* by all receivers together, each message once */
    uint64_t moved_ns;
    uint8_t *unacked;               /* by Packet Identifier */
};

struct link {
    int fd;
    enum phase phase;
    enum part part;
    const struct identity *who;
    struct stream *stream;
    SSL *ssl;
    BIO *from_net, *to_net;
    size_t to_net_off; /* of to_net, what the socket took already */
    uint8_t *rest;     /* the beginning of a packet whose end has not come */
    size_t rest_len, rest_cap;
    uint8_t *plain; /* --coalesce: packets of this turn */
    size_t plain_len, plain_cap;
    bool touched, writing;
    uint32_t expected; /* receiver: the next message */
    uint64_t got;      /* receiver: messages, each once */
    uint64_t seen[SEEN_BITS / 64];
};

static struct identity *identities;
static size_t identity_count;
static struct link *links;
static size_t link_count;
static struct stream *streams;
static size_t stream_count;
static struct link **touched;
static size_t touched_count;
static int epoll_fd;
static SSL_CTX *tls_context;
static struct sockaddr_storage server_address;
static socklen_t server_address_len;
static uint64_t now_ns;
static bool sending, broken;
static char tls_version[16], tls_cipher[64];

static struct {
    uint64_t received, duplicated, reordered, unexpected, connected, failed, resumed;
    long begun, opening; /* connections begun; of these, not yet ready */
} tally;

static void __attribute__((noreturn, format(printf, 1, 2))) stop(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void *need(void *memory) {
    if (memory == NULL) stop("out of memory");
    return memory;
}

static uint64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- latency: counts by 1/16 of a power of two, in microseconds ---- */

static uint64_t latency[40 * 16], latency_total;

static void latency_add(uint64_t ns) {
    uint64_t us = ns / 1000 + 16;
    int power = 63 - __builtin_clzll(us);
    size_t at = (size_t)(power - 4) * 16 + ((us >> (power - 4)) & 15);
    latency[at < 640 ? at : 639]++;
    latency_total++;
}

static double latency_us(double quantile) {
    uint64_t left = (uint64_t)(quantile * (double)latency_total);
    for (size_t at = 0; at < 640; at++) {
        if (latency[at] > left) return (double)(((16 + (at & 15)) << (at / 16)) - 16);
        left -= latency[at];
    }
    return 0;
}

/* ---- what the server and this program use ---- */

static double server_cpu_s(void) {
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    if (opt.server_pid == 0) return 0;
    snprintf(path, sizeof path, "/proc/%d/stat", opt.server_pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "loadgen: the server (process %d) is gone\n", opt.server_pid);
        broken = true;
        return 0;
    }
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    const char *after_name = strrchr(text, ')'); /* the name may hold anything */
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user, &system) != 2)
        stop("%s cannot be read", path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static long server_rss_kb(void) {
    char path[64], line[128];
    long kb = 0;
    if (opt.server_pid == 0) return 0;
    snprintf(path, sizeof path, "/proc/%d/status", opt.server_pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "VmRSS: %ld", &kb) != 1) {}
    fclose(file);
    return kb;
}

static double own_cpu_s(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

struct reading {
    uint64_t at_ns, received;
    double server_cpu_s, own_cpu_s;
};

static struct reading read_meters(void) {
    return (struct reading){monotonic_ns(), tally.received, server_cpu_s(), own_cpu_s()};
}

/* ---- a link to the server ---- */

static void touch(struct link *l) {
    if (!l->touched) {
        l->touched = true;
        touched[touched_count++] = l;
    }
}

static void close_link(struct link *l) {
    if (l->phase == CLOSED) return;
    if (l->phase < READY) tally.opening--;
    SSL_free(l->ssl); /* and both BIOs */
    close(l->fd);
    l->ssl = NULL;
    l->phase = CLOSED;
    l->rest_len = l->plain_len = l->to_net_off = 0;
    l->writing = false;
}

/* Identities that come back, in the order in which they were refused. */
static struct {
    const struct identity *who;
    uint64_t due_ns;
} *again;
static size_t again_first, again_count;

static void come_back(const struct identity *who) {
    size_t at = (again_first + again_count++) % (size_t)opt.count;
    again[at].who = who;
    again[at].due_ns = now_ns + 1000000000ull + (uint64_t)(rand() % 1000) * 1000000ull;
}

static void fail_link(struct link *l, const char *what) {
    if (tally.failed++ < 3) {
        unsigned long error = ERR_peek_last_error();
        fprintf(stderr, "loadgen: %s: %s%s%s\n", l->who->name, what, error ? ": " : "",
                error ? ERR_reason_error_string(error) : "");
    }
    ERR_clear_error();
    bool refused = l->phase != CLOSED && l->phase != READY;
    close_link(l);
    if (opt.retry && refused)
        come_back(l->who);
    else if (opt.mode != MODE_CONNECT || tally.failed > 50) broken = true;
}

static void watch(struct link *l, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = l};
    if (epoll_ctl(epoll_fd, operation, l->fd, &event) != 0) stop("epoll_ctl: %s", strerror(errno));
}

static void flush(struct link *l) {
    if (l->plain_len > 0) {
        if (SSL_write(l->ssl, l->plain, (int)l->plain_len) <= 0) return fail_link(l, "SSL_write");
        l->plain_len = 0;
    }
    char *data;
    size_t have = (size_t)BIO_get_mem_data(l->to_net, &data);
    while (l->to_net_off < have) {
        ssize_t n = send(l->fd, data + l->to_net_off, have - l->to_net_off, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return fail_link(l, strerror(errno));
        if (n < 0) {
            if (!l->writing) watch(l, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            l->writing = true;
            return;
        }
        l->to_net_off += (size_t)n;
    }
    if (have > 0) (void)BIO_reset(l->to_net);
    l->to_net_off = 0;
    if (l->writing) watch(l, EPOLL_CTL_MOD, EPOLLIN);
    l->writing = false;
}

/* One packet goes out at the end of this turn of the loop. */
static void say(struct link *l, const uint8_t *packet, size_t len) {
    if (opt.coalesce) {
        if (l->plain_len + len > l->plain_cap) {
            l->plain_cap = (l->plain_len + len) * 2;
            l->plain = need(realloc(l->plain, l->plain_cap));
        }
        memcpy(l->plain + l->plain_len, packet, len);
        l->plain_len += len;
    } else if (SSL_write(l->ssl, packet, (int)len) <= 0) {
        return fail_link(l, "SSL_write");
    }
    touch(l);
}

/* Room for a packet's fixed header is five bytes; it is written right before the body. */
static size_t put_length(uint8_t *at, size_t value) {
    size_t n = 0;
    do {
        at[n] = (uint8_t)(value % 128);
        value /= 128;
        if (value > 0) at[n] |= 128;
        n++;
    } while (value > 0);
    return n;
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t len) {
    at[0] = (uint8_t)(len >> 8);
    at[1] = (uint8_t)len;
    memcpy(at + 2, text, len);
    return at + 2 + len;
}

static void say_body(struct link *l, uint8_t type, const uint8_t *body, size_t len) {
    uint8_t packet[512];
    packet[0] = type;
    size_t n = 1 + put_length(packet + 1, len);
    memcpy(packet + n, body, len);
    say(l, packet, n + len);
}

static void say_connect(struct link *l) {
    uint8_t body[256], *at = put_text(body, "MQTT", 4);
    *at++ = (uint8_t)opt.mqtt;
    *at++ = 0x02; /* Clean Session, Clean Start */
    *at++ = KEEP_ALIVE_S >> 8;
    *at++ = KEEP_ALIVE_S & 255;
    if (opt.mqtt == 5) *at++ = 0; /* no properties */
    at = put_text(at, l->who->name, strlen(l->who->name));
    say_body(l, CONNECT, body, (size_t)(at - body));
}

static void say_subscribe(struct link *l) {
    uint8_t body[256], *at = body;
    *at++ = 0;
    *at++ = 1; /* Packet Identifier */
    if (opt.mqtt == 5) *at++ = 0;
    at = put_text(at, l->stream->topic, l->stream->topic_len);
    *at++ = (uint8_t)opt.qos;
    say_body(l, SUBSCRIBE, body, (size_t)(at - body));
}

static void say_goodbye(struct link *l) {
    uint8_t packet[2] = {DISCONNECT, 0};
    say(l, packet, 2);
    if (l->phase == CLOSED) return;
    flush(l);
    if (l->phase == CLOSED) return;
    SSL_shutdown(l->ssl); /* close_notify */
    flush(l);
    close_link(l);
}

static void begin(struct link *l, const struct identity *who) {
    l->who = who;
    l->fd = socket(server_address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) stop("socket: %s", strerror(errno));
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    tally.begun++;
    tally.opening++;
    l->phase = TCP;
    l->ssl = need(SSL_new(tls_context));
    l->from_net = need(BIO_new(BIO_s_mem()));
    l->to_net = need(BIO_new(BIO_s_mem()));
    SSL_set_bio(l->ssl, l->from_net, l->to_net);
    SSL_set_connect_state(l->ssl);
    if (SSL_use_certificate(l->ssl, who->certificate) != 1 || SSL_use_PrivateKey(l->ssl, who->key) != 1)
        stop("%s: certificate and key do not fit", who->name);
    if (opt.sni != NULL) {
        SSL_set_tlsext_host_name(l->ssl, opt.sni);
        SSL_set1_host(l->ssl, opt.sni);
    } else {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(l->ssl), opt.host);
    }
    if (connect(l->fd, (struct sockaddr *)&server_address, server_address_len) != 0 && errno != EINPROGRESS)
        return fail_link(l, strerror(errno));
    watch(l, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    l->writing = true;
}

/* ---- what the server says ---- */

static void ready(struct link *l) {
    l->phase = READY;
    tally.opening--;
    tally.connected++;
    if (opt.mode == MODE_CONNECT) say_goodbye(l);
}

/* A message for a subscriber: its own stream's, whole, and is it the next one? */
static void take_publish(struct link *l, uint8_t first, const uint8_t *body, size_t len) {
    struct stream *s = l->stream;
    int qos = (first >> 1) & 3;
    size_t at = 2 + (s ? s->topic_len : 0), id_at = at;
    if (l->part != RECEIVER || qos != opt.qos || len < at || (size_t)(body[0] << 8 | body[1]) != s->topic_len ||
        memcmp(body + 2, s->topic, s->topic_len) != 0) {
        tally.unexpected++;
        return;
    }
    if (qos > 0) at += 2;
    if (opt.mqtt == 5 && at < len) { /* properties: never more than 127 bytes here */
        if (body[at] > 127) {
            tally.unexpected++;
            return;
        }
        at += 1 + (size_t)body[at];
    }
    uint32_t stream, number;
    uint64_t sent_ns;
    if (at > len || len - at != (size_t)opt.payload || (memcpy(&stream, body + at, 4), stream != s->number)) {
        tally.unexpected++;
        return;
    }
    memcpy(&number, body + at + 4, 4);
    memcpy(&sent_ns, body + at + 8, 8);
    if (qos > 0) {
        uint8_t ack[4] = {PUBACK, 2, body[id_at], body[id_at + 1]};
        say(l, ack, 4);
    }
    if (number >= s->sent) {
        tally.unexpected++;
        return;
    }
    uint64_t *word = &l->seen[number % SEEN_BITS / 64], bit = 1ull << (number % 64);
    if (number >= l->expected) {
        for (uint32_t gap = l->expected; gap < number && gap - l->expected < SEEN_BITS; gap++)
            l->seen[gap % SEEN_BITS / 64] &= ~(1ull << (gap % 64));
        l->expected = number + 1;
    } else if (l->expected - number > SEEN_BITS || (*word & bit) != 0) {
        tally.duplicated++;
        return;
    } else {
        tally.reordered++;
    }
    *word |= bit;
    l->got++;
    tally.received++;
    s->delivered++;
    s->moved_ns = now_ns;
    latency_add(now_ns - sent_ns);
}

static void take_connack(struct link *l, const uint8_t *body, size_t len) {
    if (len < 2 || body[1] != 0) {
        char what[64];
        snprintf(what, sizeof what, "CONNACK with reason %d", len < 2 ? -1 : body[1]);
        return fail_link(l, what);
    }
    /* MQTT 5: Receive Maximum (0x21) bounds the window; the properties before it are all of known size. */
    for (size_t at = 3; opt.mqtt == 5 && at + 2 < len && l->stream != NULL;) {
        uint8_t property = body[at];
        if (property == 0x21) {
            long most = body[at + 1] << 8 | body[at + 2];
            if (l->part == SENDER && most < l->stream->window) l->stream->window = most;
            break;
        } else if (property == 0x11 || property == 0x27) {
            at += 5;
        } else if (property == 0x22 || property == 0x13) {
            at += 3;
        } else if (property == 0x24 || property == 0x25 || property == 0x28 || property == 0x29 || property == 0x2a) {
            at += 2;
        } else if (property == 0x12 || property == 0x1f || property == 0x1a || property == 0x1c) {
            at += 3 + (size_t)(body[at + 1] << 8 | body[at + 2]);
        } else {
            break;
        }
    }
    if (l->part == RECEIVER) {
        l->phase = WAIT_SUBACK;
        say_subscribe(l);
    } else {
        ready(l);
    }
}

static void take_packet(struct link *l, uint8_t first, const uint8_t *body, size_t len) {
    if ((first & 0xf0) == PUBLISH && l->phase == READY) {
        take_publish(l, first, body, len);
    } else if (first == PUBACK && l->phase == READY && l->part == SENDER && len >= 2) {
        uint8_t *unacked = &l->stream->unacked[body[0] << 8 | body[1]];
        if (*unacked == 0 || (len > 2 && body[2] >= 0x80)) {
            tally.unexpected++;
            return;
        }
        *unacked = 0;
        l->stream->acked++;
        l->stream->moved_ns = now_ns;
    } else if (first == CONNACK && l->phase == WAIT_CONNACK) {
        take_connack(l, body, len);
    } else if (first == SUBACK && l->phase == WAIT_SUBACK && len >= 3) {
        if (body[len - 1] != opt.qos) return fail_link(l, "SUBACK refuses the subscription");
        ready(l);
    } else {
        char what[64];
        snprintf(what, sizeof what, "packet 0x%02x was not expected", first);
        fail_link(l, what);
    }
}

/* As many whole packets as there are; how many bytes of `data` they took. */
static size_t take_packets(struct link *l, const uint8_t *data, size_t len) {
    size_t at = 0;
    while (l->phase != CLOSED && len - at >= 2) {
        size_t length = 0, n = 1;
        bool whole = false;
        for (; n <= 4 && at + n < len && !whole; n++) {
            length |= (size_t)(data[at + n] & 127) << (7 * (n - 1));
            whole = data[at + n] < 128;
        }
        if (!whole && n > 4) {
            fail_link(l, "malformed packet");
            return len;
        }
        if (!whole || len - at - n < length) break;
        take_packet(l, data[at], data + at + n, length);
        at += n + length;
    }
    return at;
}

static void take_data(struct link *l, const uint8_t *data, size_t len) {
    if (l->rest_len > 0) {
        if (l->rest_len + len > l->rest_cap) {
            l->rest_cap = (l->rest_len + len) * 2;
            l->rest = need(realloc(l->rest, l->rest_cap));
        }
        memcpy(l->rest + l->rest_len, data, len);
        l->rest_len += len;
        size_t taken = take_packets(l, l->rest, l->rest_len);
        if (l->phase == CLOSED) return;
        memmove(l->rest, l->rest + taken, l->rest_len - taken);
        l->rest_len -= taken;
        return;
    }
    size_t taken = take_packets(l, data, len);
    if (l->phase == CLOSED || taken == len) return;
    if (len - taken > l->rest_cap) {
        l->rest_cap = (len - taken) * 2;
        l->rest = need(realloc(l->rest, l->rest_cap));
    }
    memcpy(l->rest, data + taken, len - taken);
    l->rest_len = len - taken;
}

static void shake_hands(struct link *l) {
    int result = SSL_do_handshake(l->ssl);
    if (result <= 0 && SSL_get_error(l->ssl, result) != SSL_ERROR_WANT_READ) {
        flush(l); /* the alert */
        if (l->phase != CLOSED) fail_link(l, "handshake");
        return;
    }
    touch(l);
    if (result <= 0) return;
    if (SSL_session_reused(l->ssl)) tally.resumed++;
    if (tls_version[0] == 0) {
        snprintf(tls_version, sizeof tls_version, "%s", SSL_get_version(l->ssl));
        snprintf(tls_cipher, sizeof tls_cipher, "%s", SSL_get_cipher_name(l->ssl));
    }
    l->phase = WAIT_CONNACK;
    say_connect(l);
}

static void on_event(struct link *l, uint32_t events) {
    static uint8_t wire[65536], plain[32768];
    if (l->phase == TCP) {
        int error = 0;
        if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}) != 0 || error != 0)
            return fail_link(l, strerror(error));
        if ((events & EPOLLOUT) == 0) return;
        l->phase = TLS;
        return shake_hands(l);
    }
    if (events & EPOLLOUT) touch(l);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    ssize_t n = recv(l->fd, wire, sizeof wire, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return fail_link(l, n == 0 ? "the server closed the connection" : strerror(errno));
    if (BIO_write(l->from_net, wire, (int)n) != n) stop("out of memory");
    if (l->phase == TLS) shake_hands(l);
    while (l->phase > TLS) {
        int got = SSL_read(l->ssl, plain, sizeof plain);
        if (got > 0) {
            take_data(l, plain, (size_t)got);
            continue;
        }
        switch (SSL_get_error(l->ssl, got)) {
        case SSL_ERROR_WANT_READ:
            return;
        case SSL_ERROR_ZERO_RETURN:
            return fail_link(l, "the server said goodbye");
        default:
            return fail_link(l, "SSL_read");
        }
    }
}

/* ---- publishing ---- */

static void prepare_stream(struct stream *s, uint32_t number, struct link *sender, uint32_t receivers) {
    *s = (struct stream){.number = number, .sender = sender, .receivers = receivers, .window = opt.window};
    s->topic_len = (size_t)snprintf(s->topic, sizeof s->topic, "dev/%s/up/%u", sender->who->name, number);
    size_t body = 2 + s->topic_len + (opt.qos > 0 ? 2 : 0) + (opt.mqtt == 5 ? 1 : 0) + (size_t)opt.payload;
    s->packet = need(calloc(1, body + 5));
    s->unacked = need(calloc(1, 65536));
    s->packet[0] = (uint8_t)(PUBLISH | opt.qos << 1);
    uint8_t *at = s->packet + 1 + put_length(s->packet + 1, body);
    at = put_text(at, s->topic, s->topic_len);
    s->id_at = (size_t)(at - s->packet);
    if (opt.qos > 0) at += 2;
    if (opt.mqtt == 5) *at++ = 0;
    s->header_at = (size_t)(at - s->packet);
    memcpy(at, &number, 4);
    memset(at + HEADER_BYTES, 'x', (size_t)opt.payload - HEADER_BYTES);
    s->packet_len = s->header_at + (size_t)opt.payload;
}

static void publish(struct stream *s) {
    uint64_t done = s->delivered / s->receivers + s->forgiven;
    if (opt.qos > 0 && s->acked < done) done = s->acked;
    if (opt.qos == 0 && done < s->sent && now_ns - s->moved_ns > STALL_NS) {
        s->forgiven += (uint32_t)(s->sent - done);
        s->moved_ns = now_ns;
        done = s->sent;
    }
    for (; s->sent - done < (uint64_t)s->window && s->sender->phase == READY; s->sent++) {
        if (opt.qos > 0) {
            uint16_t id = (uint16_t)(s->sent % 65535 + 1);
            s->packet[s->id_at] = (uint8_t)(id >> 8);
            s->packet[s->id_at + 1] = (uint8_t)id;
            s->unacked[id] = 1;
        }
        memcpy(s->packet + s->header_at + 4, &s->sent, 4);
        memcpy(s->packet + s->header_at + 8, &now_ns, 8);
        say(s->sender, s->packet, s->packet_len);
    }
}

/* ---- the loop ---- */

static void turn(int timeout_ms) {
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, timeout_ms);
    now_ns = monotonic_ns();
    for (int i = 0; i < n; i++) {
        struct link *l = events[i].data.ptr;
        if (l->phase != CLOSED) on_event(l, events[i].events);
    }
    if (sending)
        for (size_t i = 0; i < stream_count; i++) publish(&streams[i]);
    for (size_t i = 0; i < touched_count; i++) {
        struct link *l = touched[i];
        l->touched = false;
        if (l->phase != CLOSED) flush(l);
    }
    touched_count = 0;
}

static uint64_t limit_ns;

static bool over_limit(void) {
    if (now_ns < limit_ns) return false;
    if (!broken) fprintf(stderr, "loadgen: not done after %.0f s\n", opt.limit);
    broken = true;
    return true;
}

static void run_for(double seconds) {
    uint64_t until = monotonic_ns() + (uint64_t)(seconds * 1e9);
    do turn(20);
    while (now_ns < until && !broken && !over_limit());
}

/* All links up; `concurrency` of them on their way at any time. */
static void open_all(size_t count) {
    for (size_t next = 0; (next < count || tally.opening > 0) && !broken && !over_limit();) {
        for (; next < count && tally.opening < opt.concurrency; next++)
            begin(&links[next], links[next].who ? links[next].who : &identities[(size_t)opt.first + next]);
        turn(50);
    }
}

static void close_all(void) {
    for (size_t i = 0; i < link_count; i++)
        if (links[i].phase == READY) say_goodbye(&links[i]);
        else close_link(&links[i]);
    touched_count = 0;
    for (size_t i = 0; i < link_count; i++) links[i].touched = false;
}

/* ---- reports: one JSON object ---- */

static void report_head(void) {
    printf("{\"mode\": \"%s\", \"mqtt\": \"%s\", \"tls\": \"%s\", \"cipher\": \"%s\"", mode_names[opt.mode],
           opt.mqtt == 5 ? "5" : "3.1.1", tls_version, tls_cipher);
}

static void report_rate(struct reading from, struct reading to, uint64_t work) {
    double seconds = (double)(to.at_ns - from.at_ns) / 1e9, cpu = to.server_cpu_s - from.server_cpu_s;
    printf(", \"seconds\": %.3f, \"work\": %lu, \"per_s\": %.1f, \"own_cores\": %.3f", seconds, work,
           (double)work / seconds, (to.own_cpu_s - from.own_cpu_s) / seconds);
    if (opt.server_pid != 0 && cpu > 0)
        printf(", \"server_cpu_s\": %.2f, \"server_cores\": %.3f, \"per_server_cpu_s\": %.1f", cpu, cpu / seconds,
               (double)work / cpu);
}

static int report_tail(uint64_t lost) {
    bool bad = broken || (tally.failed > 0 && !opt.retry) || (opt.mode == MODE_CONNECT && lost > 0) || tally.unexpected > 0 || tally.resumed > 0 || (opt.qos > 0 && lost > 0);
    printf(", \"lost\": %lu, \"duplicated\": %lu, \"reordered\": %lu, \"unexpected\": %lu, \"failed\": %lu, "
           "\"resumed\": %lu, \"ok\": %s}\n",
           lost, tally.duplicated, tally.reordered, tally.unexpected, tally.failed, tally.resumed,
           bad ? "false" : "true");
    return bad ? 1 : 0;
}

static int run_connect(void) {
    struct reading from = read_meters();
    long fresh = 0;
    if (opt.retry) again = need(calloc((size_t)opt.count, sizeof *again));
    while (fresh < opt.count || again_count > 0 || tally.opening > 0) {
        for (size_t i = 0; i < link_count; i++) {
            if (links[i].phase != CLOSED) continue;
            if (fresh < opt.count) {
                begin(&links[i], &identities[(size_t)(opt.first + fresh++) % identity_count]);
            } else if (again_count > 0 && again[again_first].due_ns <= now_ns) {
                const struct identity *who = again[again_first].who;
                again_first = (again_first + 1) % (size_t)opt.count;
                again_count--;
                begin(&links[i], who);
            } else {
                break;
            }
        }
        turn(50);
        if (broken || over_limit()) break;
    }
    struct reading to = read_meters();
    usleep(50000); /* the server's last closing of connections counts too */
    to.server_cpu_s = server_cpu_s();
    report_head();
    report_rate(from, to, tally.connected);
    return report_tail((uint64_t)opt.count - tally.connected);
}

static int run_streams(void) {
    open_all(link_count);
    for (size_t i = 0; i < stream_count; i++) streams[i].moved_ns = now_ns;
    sending = !broken;
    if (sending) run_for(opt.warmup);
    memset(latency, 0, sizeof latency);
    latency_total = 0;
    struct reading from = read_meters();
    if (!broken) run_for(opt.seconds);
    struct reading to = read_meters();
    double p50 = latency_us(0.5), p99 = latency_us(0.99);

    sending = false;
    uint64_t missing = 1, unacked = 0, received = tally.received, moved_ns = now_ns;
    while (!broken && (missing > 0 || unacked > 0) && now_ns - moved_ns < DRAIN_NS) {
        missing = unacked = 0;
        for (size_t i = 0; i < stream_count; i++) {
            missing += (uint64_t)streams[i].sent * streams[i].receivers - streams[i].delivered;
            if (opt.qos > 0) unacked += streams[i].sent - streams[i].acked;
        }
        if (missing == 0 && unacked == 0) break;
        turn(20);
        if (tally.received != received) moved_ns = now_ns;
        received = tally.received;
    }
    uint64_t lost = 0;
    for (size_t i = 0; i < link_count; i++)
        if (links[i].part == RECEIVER) lost += links[i].stream->sent - links[i].got;
    if (unacked > 0) {
        fprintf(stderr, "loadgen: %lu messages were never acknowledged\n", unacked);
        broken = true;
    }
    run_for(0.02); /* a repeated message would come now; the last PUBACKs leave */
    close_all();
    report_head();
    printf(", \"qos\": %d, \"window\": %ld, \"payload\": %ld, \"streams\": %zu, \"subscribers\": %u", opt.qos,
           stream_count > 0 ? streams[0].window : 0, opt.payload, stream_count,
           stream_count > 0 ? streams[0].receivers : 0);
    report_rate(from, to, to.received - from.received);
    printf(", \"latency_us\": {\"p50\": %.0f, \"p99\": %.0f}", p50, p99);
    return report_tail(lost);
}

static int run_idle(void) {
    size_t few = (size_t)opt.concurrency < link_count ? (size_t)opt.concurrency : link_count;
    open_all(few); /* what the server makes at its first connections is not counted */
    close_all();
    usleep(300000);
    tally.connected = 0;
    long before_kb = server_rss_kb();
    struct reading from = read_meters();
    open_all(link_count);
    struct reading to = read_meters();
    if (!broken) run_for(opt.hold);
    long after_kb = server_rss_kb(), alive = 0;
    struct reading held = read_meters();
    for (size_t i = 0; i < link_count; i++) alive += links[i].phase == READY;
    if (alive != opt.count) broken = true;
    close_all();
    report_head();
    report_rate(from, to, tally.connected);
    printf(", \"connections\": %ld, \"rss_before_kb\": %ld, \"rss_after_kb\": %ld", alive, before_kb, after_kb);
    printf(", \"idle_server_cores\": %.3f",
           (held.server_cpu_s - to.server_cpu_s) * 1e9 / (double)(held.at_ns - to.at_ns));
    if (alive > 0 && opt.server_pid != 0)
        printf(", \"kb_per_connection\": %.2f", (double)(after_kb - before_kb) / (double)alive);
    return report_tail(0);
}

/* ---- the beginning ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct identity *)a)->name, ((const struct identity *)b)->name);
}

static FILE *open_part(const char *name, const char *suffix) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", opt.cert_dir, name, suffix);
    FILE *file = fopen(path, "r");
    if (file == NULL) stop("%s: %s", path, strerror(errno));
    return file;
}

/* The first `wanted` of NAME.crt with NAME.key, from `first` on, in order of name. */
static void load_identities(size_t wanted) {
    DIR *dir = opendir(opt.cert_dir);
    if (dir == NULL) stop("%s: %s", opt.cert_dir, strerror(errno));
    size_t room = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len < 5 || len - 4 >= sizeof identities->name || strcmp(entry->d_name + len - 4, ".crt") != 0) continue;
        if (identity_count == room) identities = need(realloc(identities, (room = room * 2 + 64) * sizeof *identities));
        identities[identity_count] = (struct identity){0};
        memcpy(identities[identity_count++].name, entry->d_name, len - 4);
    }
    closedir(dir);
    if (identity_count == 0) stop("%s holds no NAME.crt", opt.cert_dir);
    qsort(identities, identity_count, sizeof *identities, by_name);
    if (opt.mode != MODE_CONNECT && (size_t)opt.first + wanted > identity_count)
        stop("%zu identities are needed from number %ld on, %s holds %zu", wanted, opt.first, opt.cert_dir,
             identity_count);
    if (wanted > identity_count) wanted = identity_count;
    for (size_t i = 0; i < wanted; i++) {
        struct identity *one = &identities[((size_t)opt.first + i) % identity_count];
        FILE *file = open_part(one->name, ".crt");
        one->certificate = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
        file = open_part(one->name, ".key");
        one->key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
        if (one->certificate == NULL || one->key == NULL) stop("%s/%s: cannot be read", opt.cert_dir, one->name);
    }
}

static void make_context(void) {
    tls_context = need(SSL_CTX_new(TLS_client_method()));
    int version = strcmp(opt.tls, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(tls_context, version);
    SSL_CTX_set_max_proto_version(tls_context, version);
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(tls_context, SSL_OP_NO_TICKET);
    SSL_CTX_set_read_ahead(tls_context, 1);
    if (SSL_CTX_load_verify_locations(tls_context, opt.ca, NULL) != 1) stop("%s: no CA certificates", opt.ca);
}

static void find_server(void) {
    if (strcmp(opt.host, "localhost") == 0) opt.host = "127.0.0.1";
    struct sockaddr_in *v4 = (struct sockaddr_in *)&server_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&server_address;
    if (inet_pton(AF_INET, opt.host, &v4->sin_addr) == 1 && ntohl(v4->sin_addr.s_addr) >> 24 == 127) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)opt.port);
        server_address_len = sizeof *v4;
    } else if (inet_pton(AF_INET6, opt.host, &v6->sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)opt.port);
        server_address_len = sizeof *v6;
    } else {
        stop("--host %s: only loopback addresses are put under load", opt.host);
    }
}

static const char usage[] =
    "usage: loadgen connect|pub|fanout|idle --ca FILE --cert-dir DIR [flags]\n"
    "  --host ADDR --port N      the server; loopback only (127.0.0.1, 8883)\n"
    "  --sni NAME                sent, and expected in the server's certificate (else: the address)\n"
    "  --ca FILE                 whom to trust\n"
    "  --cert-dir DIR            identities: NAME.crt with NAME.key; NAME is the CN and the client id\n"
    "  --first N                 begin with identity number N (0)\n"
    "  --tls 1.2|1.3  --mqtt 4|5 (1.3, 4)\n"
    "  --count N --concurrency N connect, idle: how many; how many at a time (1000, 20)\n"
    "  --pairs N --subs N        pub: publishers with one subscriber each; fanout: subscribers (20, 100)\n"
    "  --qos 0|1 --window N      messages of one publisher under way (0, 20)\n"
    "  --payload N               bytes (100)\n"
    "  --seconds S --warmup S    measured; before that (3, 0.5)\n"
    "  --hold S                  idle: how long before memory is read (1)\n"
    "  --retry                   connect: who is refused comes back until all were let in\n"
    "  --coalesce                packets of one turn in one TLS record\n"
    "  --server-pid PID          whose CPU time and memory to read\n"
    "  --limit S                 give up after (60)\n";

static double number(const char *flag, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != 0 || !(value >= least && value <= most))
        stop("--%s %s: a number from %g to %g is needed", flag, text, least, most);
    return value;
}

static void parse(int argc, char **argv) {
    enum { HOST, PORT, SNI, CA, DIRECTORY, FIRST, TLSV, MQTT, COUNT, CONCURRENCY, PAIRS, SUBS, QOS, WINDOW, PAYLOAD,
           SECONDS, WARMUP, HOLD, COALESCE, RETRY, PID, LIMIT, HELP };
    static const struct option flags[] = {
        {"host", 1, 0, HOST}, {"port", 1, 0, PORT}, {"sni", 1, 0, SNI}, {"ca", 1, 0, CA},
        {"cert-dir", 1, 0, DIRECTORY}, {"first", 1, 0, FIRST}, {"tls", 1, 0, TLSV}, {"mqtt", 1, 0, MQTT},
        {"count", 1, 0, COUNT}, {"concurrency", 1, 0, CONCURRENCY}, {"pairs", 1, 0, PAIRS}, {"subs", 1, 0, SUBS},
        {"qos", 1, 0, QOS}, {"window", 1, 0, WINDOW}, {"payload", 1, 0, PAYLOAD}, {"seconds", 1, 0, SECONDS},
        {"warmup", 1, 0, WARMUP}, {"hold", 1, 0, HOLD}, {"coalesce", 0, 0, COALESCE}, {"retry", 0, 0, RETRY},
        {"server-pid", 1, 0, PID},
        {"limit", 1, 0, LIMIT}, {"help", 0, 0, HELP}, {0, 0, 0, 0}};
    int found = -1, which = 0;
    for (int i = 0; argc > 1 && i < 4; i++)
        if (strcmp(argv[1], mode_names[i]) == 0) found = i;
    if (found < 0) {
        fputs(usage, stderr);
        exit(2);
    }
    opt.mode = (enum mode)found;
    optind = 2;
    for (int flag; (flag = getopt_long(argc, argv, "", flags, &which)) != -1;) {
#define NUMBER(least, most) number(flags[which].name, optarg, least, most)
        switch (flag) {
        case HOST: opt.host = optarg; break;
        case PORT: opt.port = (int)NUMBER(1, 65535); break;
        case SNI: opt.sni = optarg; break;
        case CA: opt.ca = optarg; break;
        case DIRECTORY: opt.cert_dir = optarg; break;
        case FIRST: opt.first = (long)NUMBER(0, MAX_CONNECTIONS); break;
        case TLSV: opt.tls = NUMBER(1.2, 1.3) < 1.25 ? "1.2" : "1.3"; break;
        case MQTT: opt.mqtt = (int)NUMBER(4, 5); break;
        case COUNT: opt.count = (long)NUMBER(1, MAX_CONNECTIONS); break;
        case CONCURRENCY: opt.concurrency = (long)NUMBER(1, 10000); break;
        case PAIRS: opt.pairs = (long)NUMBER(1, MAX_STREAMS); break;
        case SUBS: opt.subs = (long)NUMBER(1, MAX_STREAMS); break;
        case QOS: opt.qos = (int)NUMBER(0, 1); break;
        case WINDOW: opt.window = (long)NUMBER(1, 10000); break;
        case PAYLOAD: opt.payload = (long)NUMBER(HEADER_BYTES, MAX_PAYLOAD); break;
        case SECONDS: opt.seconds = NUMBER(0.1, MAX_SECONDS); break;
        case WARMUP: opt.warmup = NUMBER(0, MAX_SECONDS); break;
        case HOLD: opt.hold = NUMBER(0.1, MAX_SECONDS); break;
        case COALESCE: opt.coalesce = true; break;
        case RETRY: opt.retry = true; break;
        case PID: opt.server_pid = (int)NUMBER(1, 1 << 22); break;
        case LIMIT: opt.limit = NUMBER(1, 600); break;
        case HELP: fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
#undef NUMBER
    }
    if (optind < argc || opt.ca == NULL || opt.cert_dir == NULL || (opt.retry && opt.mode != MODE_CONNECT)) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    find_server();
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    switch (opt.mode) {
    case MODE_CONNECT: link_count = (size_t)(opt.concurrency < opt.count ? opt.concurrency : opt.count); break;
    case MODE_PUB: stream_count = (size_t)opt.pairs; link_count = 2 * stream_count; break;
    case MODE_FANOUT: stream_count = 1; link_count = 1 + (size_t)opt.subs; break;
    case MODE_IDLE: link_count = (size_t)opt.count; break;
    }
    if (link_count + 32 > files.rlim_cur) stop("%zu files must be open; ulimit -n is %lu", link_count, files.rlim_cur);
    make_context();
    load_identities(opt.mode == MODE_CONNECT ? (size_t)opt.count : link_count);
    links = need(calloc(link_count, sizeof *links));
    touched = need(calloc(link_count, sizeof *touched));
    streams = need(calloc(stream_count + 1, sizeof *streams));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    now_ns = monotonic_ns();
    limit_ns = now_ns + (uint64_t)(opt.limit * 1e9);

    /* Publishers connect first. A broker that writes message by message meets them in this order at each turn,
       and its figures depend on it: see README.md. Nothing is published before every subscriber listens. */
    size_t receivers = link_count - stream_count;
    for (size_t i = 0; i < link_count && stream_count > 0; i++) {
        struct link *l = &links[i];
        l->who = &identities[(size_t)opt.first + i];
        l->part = i < stream_count ? SENDER : RECEIVER;
        l->stream = &streams[i % stream_count];
    }
    for (size_t i = 0; i < stream_count; i++)
        prepare_stream(&streams[i], (uint32_t)i, &links[i], (uint32_t)(receivers / stream_count));

    if (opt.mode == MODE_CONNECT) return run_connect();
    if (opt.mode == MODE_IDLE) return run_idle();
    return run_streams();
}
