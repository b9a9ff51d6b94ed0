/* What the small clients beside this file share: arguments of the form name=value, and a socket. */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* The value of `name=`, or NULL. */
static inline const char *argument(int argc, char **argv, const char *name) {
    size_t length = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=')
            return argv[i] + length + 1;
    return NULL;
}

/* A connection to 127.0.0.1 at `port=`. */
static inline int connected(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *port = argument(argc, argv, "port");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (port == NULL || fd < 0) exit(2);
    address.sin_port = htons((uint16_t)atoi(port));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) exit(2);
    return fd;
}
