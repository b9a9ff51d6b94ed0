/* One handshake of wolfSSL: port=, name=, alpn=, suites= (its own list), versions=1.1|1.2|1.3 (that one alone). */
#include "arguments.h"
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

int main(int argc, char **argv) {
    const char *name = argument(argc, argv, "name"), *alpn = argument(argc, argv, "alpn");
    const char *suites = argument(argc, argv, "suites"), *versions = argument(argc, argv, "versions");
    WOLFSSL_METHOD *method;
    WOLFSSL_CTX *context;
    WOLFSSL *ssl;

    printf("%s\n", wolfSSL_lib_version());
    if (argc == 1) return 0;
    wolfSSL_Init();
    if (versions == NULL) method = wolfSSLv23_client_method();
    else if (strcmp(versions, "1.1") == 0) method = wolfTLSv1_1_client_method();
    else if (strcmp(versions, "1.2") == 0) method = wolfTLSv1_2_client_method();
    else method = wolfTLSv1_3_client_method();
    context = wolfSSL_CTX_new(method);
    if (context == NULL) return 2;
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
    if (suites && wolfSSL_CTX_set_cipher_list(context, suites) != WOLFSSL_SUCCESS) return 2;
    ssl = wolfSSL_new(context);
    wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)strlen(name));
    if (alpn) wolfSSL_UseALPN(ssl, (char *)alpn, (unsigned)strlen(alpn), WOLFSSL_ALPN_CONTINUE_ON_MISMATCH);
    wolfSSL_set_fd(ssl, connected(argc, argv));
    return wolfSSL_connect(ssl) != WOLFSSL_SUCCESS;
}
