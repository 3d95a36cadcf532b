/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How long a short APDU takes, batch by batch.
 *
 * transmits pcsc READER BATCHES COUNT: through PC/SC, with the first reader
 * whose name contains READER. transmits usbfs NODE BATCHES COUNT: the same
 * two USB transfers, submitted and taken back: what the reader and the kernel
 * take. It has a bulk pair 01 and 82 on interface 0, and exchanges whole short
 * APDUs.
 *
 * Prints "nanoseconds N" for each batch, the mean of COUNT exchanges, and
 * "switches N", how often this process's threads slept meanwhile. Then it
 * waits for the end of its input, so that a daemon still has its thread.
 */
#include <winscard.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>

static const BYTE command[] = {0x80, 0xEC, 0, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0};

static void fail(const char *what, long code)
{
    printf("%s: %#lx\n", what, code & 0xFFFFFFFF);
    exit(1);
}

static SCARDHANDLE card;

static void connect_to(const char *part)
{
    SCARDCONTEXT context;
    DWORD length = 4096, protocol;
    char names[4096], *name;
    LONG code = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
    if (code)
        fail("establish", code);
    code = SCardListReaders(context, NULL, names, &length);
    if (code)
        fail("list", code);
    for (name = names; *name && !strstr(name, part);)
        name += strlen(name) + 1;
    code = SCardConnect(context, name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol);
    if (code)
        fail("connect", code);
}

static void transmit(void)
{
    BYTE answer[MAX_BUFFER_SIZE_EXTENDED];
    DWORD length = sizeof answer;
    LONG code = SCardTransmit(card, SCARD_PCI_T0, command, sizeof command, NULL, answer, &length);
    if (code || length != sizeof command + 2)
        fail("transmit", code);
}

static int device;

static void submit(struct usbdevfs_urb *transfer, unsigned endpoint, void *data, unsigned length)
{
    *transfer = (struct usbdevfs_urb){
        .type = USBDEVFS_URB_TYPE_BULK, .endpoint = endpoint, .buffer = data, .buffer_length = length};
    if (ioctl(device, USBDEVFS_SUBMITURB, transfer) < 0)
        fail("submit", errno);
}

/* The answer is waited for at once, whether the question is out or not, as in any driver that cares for time. */
static void message(BYTE kind, const BYTE *data, BYTE length)
{
    BYTE out[10 + 255] = {kind, length}, in[271];
    struct usbdevfs_urb answer, question, *done;
    memcpy(out + 10, data, length);
    submit(&question, 0x01, out, 10 + length);
    submit(&answer, 0x82, in, sizeof in);
    for (int i = 0; i < 2; i++)
        if (ioctl(device, USBDEVFS_REAPURB, &done) < 0 || done->status)
            fail("transfer", errno);
    if (answer.actual_length < 10 || in[7])
        fail("answer", in[7]);
}

static void open_node(const char *node)
{
    unsigned interface = 0;
    device = open(node, O_RDWR);
    if (device < 0 || ioctl(device, USBDEVFS_CLAIMINTERFACE, &interface))
        fail(node, errno);
    message(0x62, command, 0);
}

static void exchange(void)
{
    message(0x6F, command, sizeof command);
}

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    int is_pcsc = !strcmp(arguments[1], "pcsc");
    void (*once)(void) = is_pcsc ? transmit : exchange;
    long batches = atol(arguments[3]), size = atol(arguments[4]);
    (is_pcsc ? connect_to : open_node)(arguments[2]);
    for (int i = 0; i < 10; i++)
        once();
    long before = switches();
    for (long batch = 0; batch < batches; batch++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (long i = 0; i < size; i++)
            once();
        clock_gettime(CLOCK_MONOTONIC, &end);
        printf("nanoseconds %ld\n",
               ((end.tv_sec - start.tv_sec) * 1000000000L + end.tv_nsec - start.tv_nsec) / size);
    }
    printf("switches %ld\n", switches() - before);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return 0;
}
