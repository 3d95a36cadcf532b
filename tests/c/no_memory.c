/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * For LD_PRELOAD: the malloc family fails where the program asks for it.
 *
 * no_memory_from(FIRST, COUNT) starts to count requests anew. Those from number
 * FIRST on, from 1, fail, COUNT of them. no_memory_end() ends that and returns
 * how many requests there were.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static atomic_long requests, first, end;

void no_memory_from(long number, long count)
{
    requests = 0;
    end = number + count;
    first = number;
}

long no_memory_end(void)
{
    first = end = 0;
    return requests;
}

static int fails(void)
{
    long number = ++requests;
    int is_refused = first && number >= first && number < end;
    if (is_refused)
        errno = ENOMEM;
    return is_refused;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return fails() ? NULL : __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *found = fails() ? NULL : __libc_memalign(alignment, size);
    if (!found)
        return ENOMEM;
    *block = found;
    return 0;
}
