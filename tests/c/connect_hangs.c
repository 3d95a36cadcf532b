/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* For LD_PRELOAD: a connection with the socket HANGING_SOCKET, a file's name, is never made. The file HANGING_FILE
 * says that one was asked for. A thread that receives a single byte, as the one that ends a command by a signal,
 * continues late. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    const char *name = getenv("HANGING_SOCKET"), *file = getenv("HANGING_FILE");

    if (address->sa_family == AF_UNIX && name && file) {
        const char *path = ((const struct sockaddr_un *)address)->sun_path;
        const char *last = strrchr(path, '/');

        if (last && strcmp(last + 1, name) == 0) {
            close(open(file, O_CREAT | O_WRONLY, 0600));
            for (;;)
                pause();
        }
    }
    return real(fd, address, size);
}

ssize_t recv(int fd, void *bytes, size_t count, int flags)
{
    ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
    ssize_t received = real(fd, bytes, count, flags);

    if (count == 1 && received == 1)
        usleep(500000);
    return received;
}
