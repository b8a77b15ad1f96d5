#!/bin/sh
# Make configure and Makefile.in (needed once after a checkout).
cd "$(dirname "$0")" && exec autoreconf -fi
