/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the process has, by the kernel. */
#ifndef PROCESS_H
#define PROCESS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

/* How many entries a folder has. One of them in /proc/self/fd is this function's own. */
static int entries(const char *path)
{
    DIR *folder = opendir(path);
    int count = -2;
    if (!folder)
        exit(3);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* The resident size in kB. */
static long resident(void)
{
    long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2)
        exit(3);
    fclose(file);
    return pages * 4;
}

#endif
