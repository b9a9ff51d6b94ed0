/* One handshake of BearSSL: port=, name=, alpn=, suites=ecdsa|rsa, versions=1.0|1.1 (that one alone). */
#include "arguments.h"
#include <bearssl.h>

static int read_some(void *fd, unsigned char *data, size_t length) {
    ssize_t count = read(*(int *)fd, data, length);
    return count > 0 ? (int)count : -1;
}

static int write_some(void *fd, const unsigned char *data, size_t length) {
    ssize_t count = write(*(int *)fd, data, length);
    return count > 0 ? (int)count : -1;
}

int main(int argc, char **argv) {
    static const uint16_t ecdsa[] = {BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384};
    static const uint16_t rsa[] = {BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, BR_TLS_RSA_WITH_AES_128_GCM_SHA256};
    static unsigned char buffer[BR_SSL_BUFSIZE_BIDI];
    const char *alpn = argument(argc, argv, "alpn"), *suites = argument(argc, argv, "suites");
    const char *versions = argument(argc, argv, "versions");
    br_ssl_client_context client;
    br_x509_minimal_context x509;
    br_sslio_context io;
    int fd;

    if (argc == 1) return 0;
    br_ssl_client_init_full(&client, &x509, NULL, 0);
    br_ssl_engine_set_buffer(&client.eng, buffer, sizeof buffer, 1);
    if (suites) br_ssl_engine_set_suites(&client.eng, strcmp(suites, "ecdsa") ? rsa : ecdsa, 2);
    if (versions) {
        unsigned version = strcmp(versions, "1.0") ? BR_TLS11 : BR_TLS10;
        br_ssl_engine_set_versions(&client.eng, version, version);
    }
    if (alpn) br_ssl_engine_set_protocol_names(&client.eng, &alpn, 1);
    fd = connected(argc, argv);
    br_ssl_client_reset(&client, argument(argc, argv, "name"), 0);
    br_sslio_init(&io, &client.eng, read_some, &fd, write_some, &fd);
    return br_sslio_flush(&io) != 0 || br_ssl_engine_last_error(&client.eng) != 0;
}
