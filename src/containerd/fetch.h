/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.h - `locum-containerd fetch`: layers of lazily pulled images, as containerd wants them.
 *
 * containerd has neither downloaded nor unpacked them, but exports, pushes and converts what is in
 * its content store only. Each missing blob is written there from the daemon, which has it from the
 * registry that the image came from; containerd compares the digest. Layer: containerd.
 */
#ifndef LCM_CONTAINERD_FETCH_H
#define LCM_CONTAINERD_FETCH_H

#include "src/containerd/caller.h"

/**
 * fetch_images - have every layer of these images in containerd's content store; says on stdout
 * what it did
 * @names: as containerd has them, the last is NULL
 * Return: 0; -errno, with the image's name in the text: -ENOENT (no such image, or no image of the
 * daemon's has the layer), -EBUSY (somebody else is writing it), what the registry said.
 */
LCM_MUST_USE int fetch_images(const struct lcm_caller *c, char *const *names, struct lcm_err *err);

#endif
